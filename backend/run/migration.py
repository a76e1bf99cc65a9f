"""One migration, from the operator's confirm to the verdict.

It belongs to the engine and outlives every client. The hosts do the work (peer-to-peer); this
watches it, carries the operator's controls, and asks both ends at the end. Whatever the migrate
call returns or raises only ends the watching: the verdict comes from `settle`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from backend.errors import BadInput, FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import migrate, stats
from backend.hypervisor.connection import Lane
from backend.hypervisor.events import EventKind, VmEvent
from backend.hypervisor.migrate import MigrationOrder
from backend.model import Control, Migration, Now, Outcome, Phase, Sample, Tuning
from backend.plan.post_copy import stalled_ms
from backend.plan.running import Prior
from backend.run import conclude
from backend.run.again import CUT_SILENT_S, SecondAttempt, link_lost, lost_its_link
from backend.run.changed import ChangedParameters
from backend.run.cleaning import clean
from backend.run.contest import Contest
from backend.run.controls import Controls, available
from backend.run.departure import Departure
from backend.run.halves import Halves, never_returned
from backend.run.handover import Handover
from backend.run.helm import Helm
from backend.run.hold import HOLD_PAUSE_MS
from backend.run.link_wait import LinkWait
from backend.run.meanwhile import Meanwhile
from backend.run.mirrors import Mirrors, each_bytes_s
from backend.run.new_volumes import NewVolumes
from backend.run.old_images import OldImages
from backend.run.onlooker import Onlooker, Seen
from backend.run.operated import Operated
from backend.run.post_copy import Aftermath, begin_again
from backend.run.preparing import MakingReady, TargetReady
from backend.run.publish import Publisher
from backend.run.settle import RECHECK_S, SILENT_S, settle
from backend.run.told import Told
from backend.run.verdict import Before, Judgement, found_elsewhere
from backend.run.watching import SAMPLE_EVERY_S, Watching

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Undertaking:
    """All that one migration is begun with."""

    state: Migration
    order: MigrationOrder
    before: Before
    tuning: Tuning
    prior: Prior
    confirmed: float
    """`time.monotonic()` of the operator's confirm."""
    now: Now
    ready: MakingReady | None = None
    link: LinkWait | None = None
    """Before its first byte."""


class MigrationRun(Operated):
    """Runs one migration; all that is known of it is in `state` and `samples`."""

    def __init__(
        self,
        begun: Undertaking,
        source: HostWatch,
        target: HostWatch,
        onlooker: Onlooker,
        publisher: Publisher,
        elsewhere: Callable[[str], str | None],
    ) -> None:
        """`elsewhere(uuid)`: a third host of the fleet on which that VM runs, if there is one."""
        self.begun = begun
        state = begun.state
        self._told = Told(state, publisher, begun.confirmed, begun.now, available)
        self._order = begun.order
        self._before = begun.before
        self._source = source
        self._target = target
        self._onlooker = onlooker
        self._elsewhere = elsewhere
        self._changed = ChangedParameters(source, self._told)
        self._watching = Watching(self._told, source, publisher, begun.prior)
        self._controls = Controls(self._told, source, self._changed)
        self._helm = Helm(self._told, self._controls, self._watching, begun.tuning, begun.prior)
        self._departure = Departure(self._told, begun.link)
        self._contest = Contest(self._told, source)
        self._aftermath = Aftermath(
            self._told, begun.order, source, target, self._look, lambda: self._watching.samples
        )
        self._mirrors = Mirrors(self._told)
        self._new_volumes = NewVolumes(self._told, target)
        self._ready = TargetReady(self._told, target, begun.ready)
        self._old_images = OldImages(self._told, begun.before, source, target)
        self.second = SecondAttempt(self._told, source, target)
        self._called: float | None = None
        self._returned: float | None = None
        self._halves = Halves(self._told, source, target)
        self._handover = Handover()
        self._meanwhile = Meanwhile(self._told, self._suspended_by_us)
        self._call_error = ""
        self._completed: stats.CompletedJob | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample so far (of very long migrations, the older half thinned)."""
        return tuple(self._watching.account.samples)

    @property
    def begun_s(self) -> float:
        """When its deadline began, by `time.monotonic()`: with the memory, of the migrate call or
        after its disks; before them the confirm."""
        return (self._called or self.begun.confirmed) + self._helm.disks_s

    @property
    def by_hand(self) -> bool:
        """An operator has steered it: it says nothing of the forecast."""
        return any(decision.by == "operator" for decision in self.state.decisions)

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        ends = (self._source, self._target)
        listeners = [(end, partial(self._on_event, end.name)) for end in ends]
        for end, listener in listeners:
            end.listeners.add(listener)
        try:
            await self._move()
        except FerryError as error:
            self._call_error = str(error)
            self._told.note("note", error.sentence)
        except Exception as error:
            log.exception("migration %s", self.state.id)
            self._call_error = f"The engine met a fault of its own: {error!r}."
        try:
            await self._verify()
        except Exception:
            log.exception("verdict of %s", self.state.id)
            await self._conclude(conclude.fault_of_our_own(self._before))
        finally:
            for end, listener in listeners:
                end.listeners.discard(listener)
            await self._onlooker.close()
            await self._watching.close()

    # -- controls ------------------------------------------------------------------------------

    async def operate(self, control: Control) -> None:
        """A control without a value. Raises FerryError."""
        if control is Control.RECOVER and self.state.running:
            self._aftermath.ask_recovery()
        else:
            await super().operate(control)

    async def abort(self) -> None:
        """Ask the hosts to leave the VM at the source; asked again until they could be. Raises
        FerryError when it is too late or refused."""
        if self.second.wanted:
            self.second.call_off()
            return
        if self.state.running and self._returned is not None and not self._call_error:
            raise BadInput(f"{self.state.vm}: too late to abort, the hosts have finished.")
        await super().abort()
        self._departure.wake()

    # -- the phases ----------------------------------------------------------------------------

    async def _move(self) -> None:
        self._told.enter(Phase.PREPARE)
        if not await self._departure.wait():
            return
        await self._contest.must_be_free()
        self._order = await self._ready.make(self._order)
        looking = asyncio.create_task(self._onlooker.begin())
        await self._prepare()
        await self._new_volumes.create()
        lane = await self._source.open_lane(f"migration {self.state.id}")
        await looking
        try:
            if not await self._departure.link_free():
                return
            order = await self._final_order(lane)
            if self.state.abort_asked:
                return
            self._told.update(called_at=self._told.now())
            await self._told.kept()
            self._called = self._told.zero = time.monotonic()
            self._told.update(called_at=self._told.now())
            first = Phase.DISK if order.copy_disks else Phase.MEMORY
            self._told.enter(first, skipped=() if order.copy_disks else (Phase.DISK,))
            call = asyncio.create_task(
                lane.call(lambda conn: migrate.run(conn, order), timeout_s=None, what="migrate")
            )
            call.add_done_callback(self._note_return)
            await self._watch_until(call)
        finally:
            self._returned = self._returned or time.monotonic()
            await lane.close()

    async def _final_order(self, lane: Lane) -> MigrationOrder:
        """With what the VM is to be at the target, made of what it is right now."""
        planned = self._order
        share = each_bytes_s(planned.bandwidth_bytes_s, len(planned.copy_disks))
        made = await lane.call(
            lambda conn: migrate.with_documents(conn, planned), 15.0, "tell its definition"
        )
        return replace(made, bandwidth_bytes_s=share)

    def _note_return(self, _call: asyncio.Task[None]) -> None:
        """At once: the look that is under way may last, as a source that ends answers late."""
        self._returned = time.monotonic()

    async def _prepare(self) -> None:
        if self.state.bandwidth_bytes_s is not None:
            await self._changed.set_bandwidth(self.state.bandwidth_bytes_s)
        pause_ms = HOLD_PAUSE_MS if self.state.hold else self.begun.tuning.pause_limit_ms
        await self._changed.set_pause_limit(pause_ms)
        self._told.update(pause_limit_ms=pause_ms)
        self._told.note("pause-limit", conclude.opening(self.state))

    async def _watch_until(self, call: asyncio.Task[None]) -> None:
        """Sample until the call returned; remember what it said."""
        while not call.done():
            await self._look(call)
            if await self._halves.apart(self._watching.samples) and not call.done():
                call.cancel()
                self._call_error = never_returned(self.state.source)
                return
        try:
            call.result()
        except FerryError as error:
            log.info("migrate call of %s: %s", self.state.id, error)
            meant = await self._contest.understood(error, self._watching.others)
            self._call_error = meant.sentence

    async def _look(self, call: asyncio.Task[Any] | None = None) -> None:
        """One sample, what follows from it, and the rest of the sample's time."""
        begun = time.monotonic()
        pass_ended = await self._watching.sample()
        await self._mirrors.look(self._watching.lane)
        if self._mirrors.begin_memory(bool(self._watching.samples)):
            await self._lift_share()
        await self._helm.steer(pass_ended)
        with contextlib.suppress(FerryError):
            if not self._watching.others:
                await self._controls.deliver_abort()
        self._onlooker.tell(self._told)
        self._aftermath.tell_stall()
        left_s = max(0.01, SAMPLE_EVERY_S - (time.monotonic() - begun))
        if call is None:
            await asyncio.sleep(left_s)
        else:
            await asyncio.wait({call}, timeout=left_s)

    async def _lift_share(self) -> None:
        """Several mirrors shared the bandwidth; the memory has it alone."""
        limit = self.state.bandwidth_bytes_s
        if limit is not None and len(self._order.copy_disks) > 1:
            with contextlib.suppress(FerryError):
                await self._changed.set_bandwidth(limit)

    def _on_event(self, host: str, event: VmEvent) -> None:
        if event.uuid != self.state.uuid or not self.state.running:
            return
        if event.kind is EventKind.LIFECYCLE:
            self._on_lifecycle(host, event.detail)
            self._meanwhile.take(host, event.detail)
        if event.kind is EventKind.JOB_COMPLETED and event.stats and self._completed is None:
            self._completed = stats.completed(event.stats)

    def _on_lifecycle(self, host: str, detail: str) -> None:
        self._handover.take(detail)
        if (host, detail) == (self._target.name, "resumed migrated"):
            self._told.update(runs_there=True)
        stopped = detail in ("suspended migrated", "suspended post-copy")
        if stopped:
            self._mirrors.begin_memory(True)
        if stopped and self.state.phase is Phase.MEMORY:
            self._told.enter(Phase.SWITCHOVER)
        if detail == "suspended post-copy" and not self.state.post_copy:
            self._told.update(post_copy=True)

    def _suspended_by_us(self) -> bool:
        return self._controls.suspended_s is not None or self.state.suspended

    # -- the verdict ---------------------------------------------------------------------------

    async def _verify(self) -> None:
        """To a verdict; an `unknown` one is published, and asked again until it is known."""
        while True:
            judgement = await self._settled()
            if judgement.outcome is Outcome.LOST:
                judgement = found_elsewhere(judgement, self._elsewhere(self.state.uuid))
            await self._conclude(judgement)
            if judgement.outcome is not Outcome.UNKNOWN or judgement.owner is not None:
                return
            await asyncio.sleep(RECHECK_S)

    async def _settled(self) -> Judgement:
        """What both ends say once they are through with it."""
        if (lost := await self._contest.judged(self._before)) is not None:
            return lost
        if self.state.running and self.state.post_copy and self._call_error:
            await self._follow()
        while True:
            if self.state.running:
                self._told.enter(Phase.VERIFY)
            cut = link_lost(self._watching.samples, self._call_error)
            patience_s = CUT_SILENT_S if cut and not self.state.post_copy else SILENT_S
            judgement, through = await settle(
                self._before_now, self.state.uuid, self._source, self._target, patience_s
            )
            if through and not await self._controls.wake(judgement.outcome):
                return judgement
            if not through:
                await self._follow()

    @property
    def _before_now(self) -> Before:
        """With where its guest shut down."""
        return replace(self._before, shut_down_at=self._meanwhile.shut_down_at)

    async def _follow(self) -> None:
        """Our call has ended, the migration has not: go on watching and steering it."""
        why = f" ({self._call_error.rstrip('.')})" if self._call_error else ""
        note = f"our call ended{why}; the hosts go on: watching until both say where it runs"
        begin_again(self._told, note)
        await self._aftermath.follow()
        self._returned = time.monotonic()
        if self._aftermath.recovered:
            self._call_error = ""

    async def _conclude(self, judgement: Judgement) -> None:
        was = self.state.verdict
        if was is not None and was.outcome is judgement.outcome is Outcome.UNKNOWN:
            return
        moved = judgement.outcome is Outcome.MOVED and judgement.owner == self._target.name
        if moved:
            ends = (self._source, self._target)
            judgement = await clean(judgement, self._before_now, self._told, *ends)
        leftovers = list(judgement.leftovers)
        if judgement.outcome is Outcome.STAYED:
            leftovers += await self._changed.put_back(contested=self._contest.lost)
            leftovers += [*await self._new_volumes.remove(), *await self._ready.undo()]
        elif not moved:
            leftovers += (*self._new_volumes.undecided(), *self._ready.undecided())
        if moved:
            self._ready.keep()
            leftovers += await conclude.carry_autostart(
                self._target, self.state.uuid, self._before.autostart
            )
            at_target = await conclude.completed_at(self._target, self.state.uuid)
            self._completed = at_target or self._completed
            leftovers += await self._old_images.finish()
        if befell := self._meanwhile.said(judgement):
            judgement = replace(judgement, reason=f"{judgement.reason} {befell}")
        known = judgement.outcome is not Outcome.UNKNOWN or judgement.owner is not None
        seen = await self._onlooker.finish(self._target, moved) if known else Seen()
        lost = lost_its_link(judgement, self._watching.samples, self._call_error)
        again = self.second.allowed(self.state.abort_asked, self.begun_s)
        verdict = conclude.verdict(
            self.state,
            judgement,
            call_error=self._call_error if again else self.second.withheld(self._call_error, lost),
            given_up=self._controls.abort_reason,
            lost_link=lost if again else "",
            completed=self._completed,
            passes=self._watching.account.passes(self._completed),
            total_s=self._total_s(),
            wall_s=time.monotonic() - self.begun.confirmed,
            own_pause_ms=self._handover.pause_ms(self._controls.suspended_s, self.state.post_copy),
            stall_ms=stalled_ms(self._watching.samples) if self.state.post_copy else None,
            seen=seen,
            leftovers=tuple(leftovers),
            samples=self._watching.samples,
        )
        verdict = replace(verdict, disks=self._old_images.sentences, kept=self._old_images.kept)
        self._told.update(
            verdict=verdict,
            phases=self._told.ended_phases(judgement.outcome),
            outlook=conclude.last_word(verdict),
        )

    def _total_s(self) -> float:
        """The migrate call to its return; 0 where it was not made."""
        if self._called is None or self._returned is None:
            return 0.0
        return self._returned - self._called
