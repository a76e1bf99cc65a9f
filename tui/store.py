"""All the console knows: fleet, migrations and samples, folded from what the engine says.

The one truth every screen draws from. It keeps what must not fall: a migration's progress and
a pass's progress are clamped here, so that no screen ever shows either run backwards.
"""

from dataclasses import dataclass, field, replace

from backend.model import Advising, Evacuation, FleetSnapshot, Migration, Outcome, Roll, Sample, Vm
from backend.service.client import fold
from backend.service.protocol import (
    AdviceChanged,
    Change,
    DecisionMade,
    EvacuationChanged,
    FleetChanged,
    MigrationChanged,
    RollChanged,
    SampleArrived,
    TroubleSaid,
)
from tui.render.migration_lines import MigrationView
from tui.render.roll_view import RollView
from tui.render.vm_rows import VmRow
from tui.steady import Steady

MOST_SAMPLES = 20_000
"""Over an hour at five a second; beyond it the older half is thinned."""
NEARLY = 0.99
UNFORESEEN = 0.9
"""The most that is shown of a migration whose end is not foreseen yet."""


@dataclass(slots=True)
class Track:
    """One migration as the screens see it."""

    migration: Migration
    samples: list[Sample] = field(default_factory=list)
    progress: float = 0.0
    pass_progress: float = 0.0
    pass_number: int = 0
    pass_began_with: int = 0

    def add(self, sample: Sample) -> None:
        """One more sample; an older one than the last is dropped."""
        if self.samples and sample.t_s <= self.samples[-1].t_s:
            return
        self.samples.append(sample)
        if len(self.samples) > MOST_SAMPLES:
            half = MOST_SAMPLES // 2
            self.samples[:half] = self.samples[:half:2]
        self._advance(sample)

    def history(self, samples: tuple[Sample, ...]) -> None:
        """The whole chart, from the engine's memory; what came meanwhile is kept."""
        newer = [s for s in self.samples if not samples or s.t_s > samples[-1].t_s]
        self.samples = []
        for sample in (*samples, *newer):
            self.add(sample)

    def renew(self, migration: Migration) -> None:
        """The newest state of it."""
        self.migration = migration
        if migration.verdict and migration.verdict.outcome is Outcome.MOVED:
            self.progress = self.pass_progress = 1.0

    def _advance(self, sample: Sample) -> None:
        outlook = self.migration.outlook
        expected = outlook.expected_sent_bytes if outlook else None
        left = sample.remaining_bytes + sample.disk_remaining_bytes
        whole = max(expected or 0, sample.sent_bytes + left, 1)
        most = NEARLY if expected else UNFORESEEN
        self.progress = max(self.progress, min(sample.sent_bytes / whole, most))
        if sample.pass_number != self.pass_number:
            self.pass_number, self.pass_progress = sample.pass_number, 0.0
            self.pass_began_with = max(sample.remaining_bytes, 1)
        # While only disks are copied there is no pass yet, nor memory that it began with.
        done = 1 - sample.remaining_bytes / max(self.pass_began_with, 1)
        self.pass_progress = max(self.pass_progress, min(done, 1.0))


@dataclass(slots=True)
class Link:
    """Whether there is an engine at the other end."""

    up: bool = False
    sentence: str = ""
    remedy: str = ""
    retry_at: float | None = None


class Store:
    """What is known now; `version` grows with every change of it."""

    def __init__(self) -> None:
        self.version = 0
        self.filled = False
        """True from the first whole fleet on."""
        self.fleet = FleetSnapshot()
        self._measured = FleetSnapshot()
        self._steady = Steady()
        self.tracks: dict[str, Track] = {}
        self.link = Link()
        self.evacuations: dict[str, Evacuation] = {}
        self.rolls: dict[str, Roll] = {}
        self.advising = Advising()
        """What the fleet's rules say."""
        self.asked: set[str] = set()
        """Keys of the advice that the operator was asked about here."""
        self.trouble = ""
        """What ails the engine itself; empty: nothing."""
        self._jobs: dict[tuple[str, str], float] = {}

    def take(self, change: Change) -> None:
        """Fold one published change in."""
        self.version += 1
        if isinstance(change, FleetChanged):
            self._measured = fold(self._measured, change)
            self.fleet = self._steady.fleet(self._measured)
            self.filled = self.filled or change.whole
            self._note_jobs()
        elif isinstance(change, MigrationChanged):
            self.renew(change.migration)
        elif isinstance(change, SampleArrived):
            if track := self.tracks.get(change.id):
                track.add(change.sample)
        elif isinstance(change, DecisionMade):
            self._decided(change)
        elif isinstance(change, EvacuationChanged):
            self.renew_run(change.evacuation)
        elif isinstance(change, RollChanged):
            self.rolls[change.roll.id] = change.roll
        elif isinstance(change, AdviceChanged):
            self.advising = change.advising
        elif isinstance(change, TroubleSaid):
            self.trouble = change.sentence

    def renew(self, migration: Migration) -> None:
        """A migration as the engine has it now."""
        self.version += 1
        if track := self.tracks.get(migration.id):
            track.renew(migration)
        else:
            self.tracks[migration.id] = Track(migration)
            self.tracks[migration.id].renew(migration)

    def renew_run(self, run: Evacuation) -> None:
        """An evacuation, or a return, as the engine has it now."""
        self.version += 1
        self.evacuations[run.id] = run

    def open_run(self, host: str | None = None) -> Evacuation | None:
        """The newest run that has not ended, of one host or of any."""
        runs = [run for run in self.evacuations.values() if run.state.open]
        return next((run for run in reversed(runs) if host in (None, run.host)), None)

    def roll_that_stands(self) -> Roll | None:
        """One that goes on only when somebody says so."""
        return next((one for one in self.rolls.values() if one.state.open and one.trouble), None)

    def newest_roll(self) -> Roll | None:
        """The open one; without one the newest that ended."""
        newest = list(reversed(self.rolls.values()))
        return next((one for one in newest if one.state.open), newest[0] if newest else None)

    def roll_of(self, run: str) -> Roll | None:
        """The roll that an evacuation or a return belongs to."""
        return next((one for one in self.rolls.values() if one.host_of(run)), None)

    def roll_view(self, roll: Roll, now: float) -> RollView:
        """A roll for its lines and rows."""
        return RollView(roll, now, self.fleet, self.evacuations)

    def forget_running_but(self, ids: set[str]) -> None:
        """After a new engine came: what it does not know of, nobody runs any more."""
        lost = [id for id, t in self.tracks.items() if t.migration.running and id not in ids]
        for id in lost:
            del self.tracks[id]

    def history(self, id: str, samples: tuple[Sample, ...]) -> None:
        """The samples a migration had before this console watched it."""
        self.version += 1
        self.tracks[id].history(samples)

    def set_link(self, link: Link) -> None:
        """The engine came, or went."""
        self.version += 1
        self.link = link

    @property
    def rows_known(self) -> tuple[object, ...]:
        """What a screen should not wait for its pace to show: hosts by state, how many VMs, and
        every alarm."""
        states = tuple((host.name, host.state) for host in self.fleet.hosts)
        return self.filled, states, len(self.fleet.vms), self.fleet.alarms

    @property
    def running(self) -> list[Migration]:
        """Migrations without a verdict, oldest first."""
        return [m for m in self.migrations if m.running]

    @property
    def migrations(self) -> list[Migration]:
        """All that are known, in the order in which they began: clocks may jump."""
        return [track.migration for track in self.tracks.values()]

    def newest_of(self, vm: Vm) -> Migration | None:
        """The last migration of a VM."""
        own = [one for one in reversed(self.migrations) if one.uuid == vm.uuid]
        return next((one for one in own if one.running), own[0] if own else None)

    def view(self, id: str, now: float) -> MigrationView | None:
        """A migration for its screen."""
        track = self.tracks.get(id)
        if track is None:
            return None
        samples = tuple(track.samples)
        migration = track.migration
        return MigrationView(migration, now, samples, track.progress, track.pass_progress)

    def vm_rows(self, now: float) -> list[VmRow]:
        """Every VM with its host's state and its migration."""
        up = {host.name for host in self.fleet.hosts if host.state == "up"}
        return [self._vm_row(vm, vm.host in up, now) for vm in self.fleet.vms]

    def _vm_row(self, vm: Vm, host_up: bool, now: float) -> VmRow:
        migration = self.newest_of(vm)
        progress = self.tracks[migration.id].progress if migration else 0.0
        job = self._jobs.get((vm.uuid, vm.host))
        return VmRow(vm, now, host_up, migration, progress, job)

    def _note_jobs(self) -> None:
        before, self._jobs = self._jobs, {}
        for vm in self.fleet.vms:
            if vm.job and vm.job.progress_percent is not None:
                key = (vm.uuid, vm.host)
                self._jobs[key] = max(before.get(key, 0.0), vm.job.progress_percent / 100)

    def _decided(self, made: DecisionMade) -> None:
        track = self.tracks.get(made.id)
        if track and made.decision not in track.migration.decisions:
            decisions = (*track.migration.decisions, made.decision)
            track.migration = replace(track.migration, decisions=decisions)
