"""Running migrations as lines: text for people, JSON objects for programs."""

import sys
from collections.abc import AsyncIterator, Iterable

from backend.model import (
    Decision,
    DiskProgress,
    Migration,
    Outcome,
    Outlook,
    Phase,
    PhaseState,
    Sample,
    Verdict,
)
from backend.service.protocol import (
    Change,
    DecisionMade,
    MigrationChanged,
    SampleArrived,
    TroubleSaid,
)
from tui.commands.session import clean, plain, print_json
from tui.render import units
from tui.render.disks import disks_further
from tui.render.forecasts import compared, course_text, forecast_text, record_text
from tui.render.migration_lines import no_outage

_EXIT = {Outcome.MOVED: 0, Outcome.STAYED: 1}
_EXIT_NEEDS_YOU = 3
_TEXT_SAMPLE_EVERY_S = 2.0
_OUTLOOK_EVERY_S = 1.0


class Follower:
    """Prints what happens to some migrations until each has its verdict."""

    def __init__(self, migrations: Iterable[Migration], *, as_json: bool) -> None:
        self._as_json = as_json
        self._vms = {migration.id: migration.vm for migration in migrations}
        self._phases: dict[str, dict[Phase, PhaseState]] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._tried: set[str] = set()
        """Those whose second attempt is there: it is followed instead."""
        self._last_text: dict[str, float] = {}
        self._outlooks: dict[str, Outlook] = {}
        self._disks: dict[str, tuple[DiskProgress, ...]] = {}
        self._told: dict[str, tuple[Outlook, float, int]] = {}
        """The outlook that was printed last, when, and in which pass."""

    def follow_too(self, migration: Migration) -> None:
        """One more."""
        self._vms.setdefault(migration.id, migration.vm)

    @property
    def first(self) -> str:
        """The id of the first one that still runs, or of the first."""
        return next(iter((*self.open_ids, *self._vms)))

    @property
    def open_ids(self) -> tuple[str, ...]:
        """Those without a verdict, or whose second attempt is still to come."""
        return tuple(
            key
            for key in self._vms
            if key not in self._verdicts or (self._verdicts[key].again and key not in self._tried)
        )

    def foretell(self, migrations: Iterable[Migration]) -> None:
        """What is forecast of each, before anything happens; a program has it in the verdict."""
        for m in migrations:
            if self._as_json or m.forecast is None:
                continue
            self._text(m.id, f"forecast: {forecast_text(m.forecast)[0]}")
            for said in (course_text(m.forecast), m.forecast.basis):
                self._text(m.id, f"          {said}") if said else None
            self._text(m.id, f"          forecasts so far: {record_text(m.record)}")

    async def run(self, changes: AsyncIterator[Change]) -> int:
        """Print until all have ended; the exit code of the worst."""
        async for change in changes:
            self.take(change)
            if not self.open_ids:
                break
        return self.exit_code

    @property
    def exit_code(self) -> int:
        """0 moved, 1 stayed, 3 needs the operator: the highest of all last attempts."""
        last = [v for key, v in self._verdicts.items() if key not in self._tried]
        return max(_EXIT.get(verdict.outcome, _EXIT_NEEDS_YOU) for verdict in last)

    def take(self, change: Change) -> None:
        """Print one change, if it is about one of ours."""
        match change:
            case SampleArrived(id=key, sample=sample) if key in self._vms:
                self._sample(key, sample)
            case DecisionMade(id=key, decision=decision) if key in self._vms:
                self._decision(key, decision)
            case MigrationChanged(migration=migration) if self._is_ours(migration):
                self._migration(migration)
            case TroubleSaid(sentence=sentence) if sentence:
                print(f"virt-ferry: {clean(sentence)}", file=sys.stderr)

    def _is_ours(self, migration: Migration) -> bool:
        """Also the second attempt of one of ours, as soon as it is there."""
        if migration.after in self._vms and migration.after not in self._tried:
            self._tried.add(migration.after)
            self._vms[migration.id] = migration.vm
        return migration.id in self._vms

    def _migration(self, migration: Migration) -> None:
        seen = self._phases.setdefault(migration.id, {})
        for phase, state in migration.phases.items():
            if state is not seen.get(phase, PhaseState.WAITING):
                seen[phase] = state
                self._phase(migration.id, phase, state)
        self._disks_further(migration)
        if migration.outlook is not None and migration.verdict is None:
            self._outlooks[migration.id] = migration.outlook
            newest = migration.sample
            self._outlook(migration.id, newest) if newest else None
        if migration.verdict is not None:
            told = migration.id in self._verdicts
            self._verdicts[migration.id] = migration.verdict
            if not told:
                self._verdict(migration, migration.verdict)

    def _phase(self, key: str, phase: Phase, state: PhaseState) -> None:
        if self._as_json:
            self._event("phase", key, {"phase": phase.value, "state": state.value})
        elif state in (PhaseState.ACTIVE, PhaseState.FAILED):
            self._text(key, f"{phase.value} {'' if state is PhaseState.ACTIVE else 'failed'}")

    def _disks_further(self, migration: Migration) -> None:
        """Each disk that has got further; people read it in the samples."""
        was = self._disks.get(migration.id, ())
        self._disks[migration.id] = migration.disks
        for disk in migration.disks if self._as_json else ():
            if disk not in was:
                fields = {"disk": disk.target, **plain(disk)}
                del fields["target"]
                self._event("disk", migration.id, fields)

    def _sample(self, key: str, sample: Sample) -> None:
        if self._as_json:
            self._event("sample", key, plain(sample))
            self._outlook(key, sample)
            return
        if sample.t_s - self._last_text.get(key, -9.0) >= _TEXT_SAMPLE_EVERY_S:
            self._last_text[key] = sample.t_s
            if not sample.pass_number:
                self._text(key, disks_further(self._disks.get(key, ()), sample))
                return
            dirty = units.rate(sample.dirty_bytes_s)
            self._text(
                key,
                f"pass {sample.pass_number}  {units.size(sample.remaining_bytes)} left"
                f"  sends {units.rate(sample.rate_bytes_s)}  writes {dirty}",
            )

    def _outlook(self, key: str, sample: Sample) -> None:
        """Once a second at most, and when a pass has ended; only where it changed."""
        now = self._outlooks.get(key)
        if not self._as_json or now is None:
            return
        was, at_s, in_pass = self._told.get(key, (None, -_OUTLOOK_EVERY_S, 0))
        due = sample.t_s - at_s >= _OUTLOOK_EVERY_S or sample.pass_number != in_pass
        if now == was or not due:
            return
        self._told[key] = (now, sample.t_s, sample.pass_number)
        self._event("outlook", key, {"t_s": sample.t_s, **plain(now)})

    def _decision(self, key: str, decision: Decision) -> None:
        if self._as_json:
            self._event("decision", key, plain(decision))
        else:
            self._text(key, decision.reason)

    def _verdict(self, migration: Migration, verdict: Verdict) -> None:
        if self._as_json:
            print_json({"event": "verdict", **plain(verdict)})
            return
        pause = "" if verdict.pause_ms is None else f", pause {verdict.pause_ms} ms"
        outage = "" if verdict.outage_ms is None else f", outage {verdict.outage_ms} ms"
        self._text(
            verdict.id,
            f"{verdict.outcome.value.upper()}  {verdict.reason}  ({verdict.total_s:.1f} s{pause}"
            f"{outage}, {units.size(verdict.sent_bytes)} {_how_often(verdict)})",
        )
        probed = verdict.mode.copies_memory
        said = [no_outage(migration)] * (verdict.outage_ms is None and probed)
        said += [verdict.network] * bool(verdict.network)
        if verdict.forecast is not None:
            said += [*compared(verdict), f"forecasts so far: {record_text(verdict.record)}"]
        said += [*verdict.disks, *verdict.kept]
        for sentence in (*said, *(f"left over: {leftover}" for leftover in verdict.leftovers)):
            self._text(verdict.id, sentence)

    def _event(self, event: str, key: str, fields: dict[str, object]) -> None:
        print_json({"event": event, "id": key, "vm": self._vms[key], **fields})

    def _text(self, key: str, text: str) -> None:
        print(clean(f"{self._vms[key]}  {text}").rstrip(), flush=True)


def _how_often(verdict: Verdict) -> str:
    """A copy of disks alone has no passes."""
    return f"sent, {verdict.passes} passes" if verdict.mode.copies_memory else "copied"
