"""A recorded real migration as an engine link, played by a clock the test holds.

A recording is JSON lines, packed by gzip. `{"t": seconds, "change": Change}` is what the engine
published then; `{"t": seconds, "plans": [Plan, ...]}` a reply to MakePlan, `{"t": seconds, "reply":
Reply}` one to something else; the first line holds the whole fleet and may carry `"epoch"`, the
wall clock at t = 0.
"""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from backend.model import Control, Migration, Phase, Plan, Sample, past_of
from backend.plan.policy import BUILT_IN
from backend.service.client import FerryError
from backend.service.protocol import (
    Change,
    Done,
    EvacuationReply,
    Examine,
    Examined,
    FleetChanged,
    GetMigration,
    ListMigrations,
    ListPast,
    ListPolicies,
    MakePlan,
    MigrationChanged,
    MigrationReply,
    MigrationsReply,
    PastReply,
    PlanEvacuation,
    PlanReply,
    PoliciesReply,
    Reply,
    Request,
    SampleArrived,
    Start,
    Started,
)
from tui.app import FerryApp
from tui.recording import SHIPPED, read

R = TypeVar("R", bound=Reply)
RECORDINGS = Path(os.environ.get("FERRY_RECORDINGS") or Path(__file__).parents[1] / "recordings")

PACKED = ".jsonl.gz"


class Entry(msgspec.Struct, frozen=True):
    """One line of a recording."""

    t: float
    change: Change | None = None
    plans: tuple[Plan, ...] = ()
    reply: Reply | None = None
    epoch: float | None = None


def names() -> list[str]:
    """Every recording's."""
    return sorted(path.name.removesuffix(PACKED) for path in RECORDINGS.glob(f"*{PACKED}"))


def load(name: str) -> list[Entry]:
    """The recording called `name`, in order."""
    if name == SHIPPED.stem:
        return [_controllable(entry) for entry in _shipped()]
    decode = msgspec.json.Decoder(Entry).decode
    lines = gzip.decompress((RECORDINGS / f"{name}{PACKED}").read_bytes()).splitlines()
    return [_controllable(decode(line)) for line in lines if line]


def _shipped() -> list[Entry]:
    """What `replay` plays without a file, as the engine told it then; without its fleet."""
    (one,) = read(SHIPPED)
    m = one.migration
    called_s = (m.called_at or m.started) - m.started
    entries = [Entry(0.0, FleetChanged(whole=True), epoch=m.started)]
    for sample in one.samples:
        t = called_s + sample.t_s
        entries.append(Entry(t, MigrationChanged(one.view(t).migration)))
        entries.append(Entry(t, SampleArrived(m.id, sample)))
    return [*entries, Entry(one.length_s, MigrationChanged(m))]


def _controllable(entry: Entry) -> Entry:
    """With the controls every running migration has, where a recording does not name any."""
    change = entry.change
    if not isinstance(change, MigrationChanged) or change.migration.controls:
        return entry
    m = change.migration
    if not m.running or m.phase is Phase.VERIFY:
        return entry
    limits = (Control.BANDWIDTH, Control.PAUSE_LIMIT, Control.SUSPEND)
    asked = () if m.abort_asked else (Control.ABORT,)
    controls = (*(limits if m.called_at else ()), *asked)
    whole = MigrationChanged(replace(m, controls=controls))
    return msgspec.structs.replace(entry, change=whole)


@dataclass(frozen=True)
class Seen:
    """A migration and when it is first seen."""

    t: float
    migration: Migration


def begun(entries: list[Entry]) -> dict[str, Seen]:
    """By id; not those that the engine had ended before, which it tells of at the start."""
    first: dict[str, Seen] = {}
    for entry in entries:
        if isinstance(entry.change, MigrationChanged):
            m = entry.change.migration
            first.setdefault(m.id, Seen(entry.t, m))
    return {id: seen for id, seen in first.items() if seen.migration.running}


def when(entries: list[Entry], wanted: Callable[[Migration], bool]) -> float:
    """When a migration begun in the recording is first seen like that."""
    own = begun(entries)
    return next(
        entry.t
        for entry in entries
        if isinstance(entry.change, MigrationChanged)
        and entry.change.migration.id in own
        and wanted(entry.change.migration)
    )


@dataclass
class FakeClock:
    """Epoch seconds that stand still until told otherwise."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class RecordedLink:
    """An `EngineLink` that publishes a recording up to the time asked for."""

    entries: list[Entry]
    clock: FakeClock = field(default_factory=FakeClock)
    calls: list[Request] = field(default_factory=list)
    failing: FerryError | None = None
    """Raised by the next calls, when set."""
    answers: dict[type[Request], Reply | FerryError] = field(default_factory=dict)
    """Given instead of the recorded ones."""
    held: asyncio.Event | None = None
    """While it is not set, plans are not answered."""
    t: float = -1.0
    _next: int = 0
    _watched: asyncio.Event = field(default_factory=asyncio.Event)
    _queue: "asyncio.Queue[Change | FerryError]" = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.epoch = self.entries[0].epoch or self._guessed_epoch()
        self.clock.now = self.epoch

    def _guessed_epoch(self) -> float:
        for entry in self.entries:
            if isinstance(entry.change, MigrationChanged):
                return entry.change.migration.started - entry.t
        return self.clock.now

    async def connect(self) -> "RecordedLink":
        """For the app's constructor."""
        if self.failing is not None:
            raise self.failing
        return self

    async def play_to(self, t: float) -> None:
        """Publish everything up to `t` and wait until the console has taken it."""
        while self._next < len(self.entries) and self.entries[self._next].t <= t:
            if change := self.entries[self._next].change:
                self._queue.put_nowait(change)
            self._next += 1
        self.t, self.clock.now = t, self.epoch + t
        await self._queue.join()

    async def publish(self, change: Change) -> None:
        """One change that was not recorded."""
        self._queue.put_nowait(change)
        await self._queue.join()

    async def lose(self, error: FerryError) -> None:
        """The engine is gone, and stays so until `failing` is taken away."""
        self.failing = error
        self._watched.clear()
        self._queue.put_nowait(error)
        await self._queue.join()

    def skip_to(self, t: float) -> None:
        """As if nobody had watched until `t`: only the newest fleet is published then."""
        self.rewind()
        while self._next < len(self.entries) and self.entries[self._next].t <= t:
            self._next += 1
        first = self.entries[0].change
        assert first is not None
        self._queue.put_nowait(first)

    def rewind(self) -> None:
        """From the start again."""
        self._next, self.t = 0, -1.0

    async def watched(self) -> None:
        """Wait until somebody listens (again)."""
        await self._watched.wait()

    @property
    def length(self) -> float:
        """Seconds of recording."""
        return self.entries[-1].t

    def migrations(self) -> dict[str, "Seen"]:
        """By id, when each migration that began in this recording is first seen."""
        return begun(self.entries)

    def when(self, wanted: Callable[[Migration], bool]) -> float:
        """When one of them is first seen like that."""
        return when(self.entries, wanted)

    # -- the link -------------------------------------------------------------------------

    async def call(self, request: Request) -> Reply:
        """What the engine answered, or would have."""
        self.calls.append(request)
        if self.held is not None and isinstance(request, MakePlan):
            await self.held.wait()
        answer = self.failing or self.answers.get(type(request))
        if isinstance(answer, FerryError):
            raise answer
        return answer or self._recorded(request)

    def _recorded(self, request: Request) -> Reply:
        if isinstance(request, ListMigrations):
            return MigrationsReply(tuple(self._known().values()))
        if isinstance(request, GetMigration):
            return MigrationReply(self._known()[request.id], self._samples(request.id))
        if isinstance(request, ListPast):
            past = (past_of(migration) for migration in self._known().values())
            return PastReply(tuple(one for one in past if one))
        if isinstance(request, MakePlan):
            return PlanReply(self._plans(request.vms))
        if isinstance(request, PlanEvacuation):
            return self._replied(EvacuationReply, lambda r: r.evacuation.host == request.wish.host)
        if isinstance(request, Examine):
            return self._replied(Examined, lambda _: True)
        if isinstance(request, ListPolicies):
            return PoliciesReply(BUILT_IN)
        if isinstance(request, Start):
            return Started(self._started(request))
        return Done()

    async def changes(self) -> AsyncIterator[Change]:
        """The recording, as far as it was played."""
        self._watched.set()
        while True:
            item = await self._queue.get()
            try:
                if isinstance(item, FerryError):
                    raise item
                yield item
            finally:
                self._queue.task_done()

    async def close(self) -> None:
        """Nothing to hang up."""

    def _played(self) -> list[Entry]:
        return self.entries[: self._next]

    def _known(self) -> dict[str, Migration]:
        changes = [e.change for e in self._played()]
        return {c.migration.id: c.migration for c in changes if isinstance(c, MigrationChanged)}

    def _samples(self, id: str) -> tuple[Sample, ...]:
        changes = [e.change for e in self._played()]
        return tuple(c.sample for c in changes if isinstance(c, SampleArrived) and c.id == id)

    def _replied(self, kind: type[R], fits: Callable[[R], bool]) -> R | Done:
        """The last such reply by then; the first one later, if there was none yet; Done, if none
        was recorded at all."""
        fitting = [
            (e.t, e.reply) for e in self.entries if isinstance(e.reply, kind) and fits(e.reply)
        ]
        past = [reply for t, reply in fitting if t <= self.t]
        return past[-1] if past else fitting[0][1] if fitting else Done()

    def _plans(self, vms: tuple[str, ...]) -> tuple[Plan, ...]:
        """As last planned by then; what was planned only later, if nothing was yet."""
        found: dict[tuple[str, str], tuple[float, Plan]] = {}
        for entry in self.entries:
            for plan in entry.plans:
                key = (plan.vm, plan.target)
                if (plan.vm in vms or plan.uuid in vms) and (key not in found or entry.t <= self.t):
                    found[key] = (entry.t, plan)
        plans = [plan for _, plan in found.values()]
        return tuple(sorted(plans, key=lambda p: [p.vm in vms and vms.index(p.vm), p.target]))

    def _started(self, request: Start) -> tuple[Migration, ...]:
        first: dict[str, Migration] = {}
        for entry in self.entries[self._next :]:
            change = entry.change
            if isinstance(change, MigrationChanged):
                migration = change.migration
                if migration.vm in request.vms or migration.uuid in request.vms:
                    first.setdefault(migration.vm, migration)
        return tuple(first.values())


async def answered(app: FerryApp) -> None:
    """Wait until the console has heard the engine's answer to whatever it asked."""
    # An empty list would mean all workers, and the one that listens never ends.
    if asked := [worker for worker in app.workers if worker.group == "engine"]:
        await app.workers.wait_for_complete(asked)


async def play_live(link: RecordedLink, speed: float = 1.0) -> None:
    """Play in real time, in small steps, to the end."""
    loop = asyncio.get_running_loop()
    start, began_at = loop.time(), max(link.t, 0.0)
    while link.t < link.length:
        await asyncio.sleep(0.05)
        await link.play_to(began_at + (loop.time() - start) * speed)
