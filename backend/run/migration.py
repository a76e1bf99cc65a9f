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

from backend.errors import BadInput, FerryError, HostUnreachable
from backend.fleet.host import HostWatch
from backend.hypervisor import migrate, stats
from backend.hypervisor.events import EventKind, VmEvent
from backend.hypervisor.migrate import MigrationOrder
from backend.model import Migration, Outcome, Phase, Sample
from backend.run import conclude
from backend.run.changed import ChangedParameters
from backend.run.publish import Publisher
from backend.run.settle import RECHECK_S, SILENT_S, settle
from backend.run.told import Told
from backend.run.verdict import Before, Judgement, found_elsewhere
from backend.run.watching import SAMPLE_EVERY_S, Watching, job_kind

log = logging.getLogger(__name__)


class MigrationRun:
    """Runs one migration; all that is known of it is in `state` and `samples`."""

    def __init__(
        self,
        state: Migration,
        order: MigrationOrder,
        before: Before,
        source: HostWatch,
        target: HostWatch,
        publisher: Publisher,
        confirmed: float,
        elsewhere: Callable[[str], str | None],
    ) -> None:
        """`elsewhere(uuid)`: a third host of the fleet on which that VM runs, if there is one."""
        self._told = Told(state, publisher, confirmed)
        self._order = order
        self._before = before
        self._source = source
        self._target = target
        self._elsewhere = elsewhere
        self._changed = ChangedParameters(source, state.uuid)
        self._watching = Watching(self._told, source, publisher)
        self._confirmed = confirmed
        self._called: float | None = None
        self._returned: float | None = None
        self._call_error = ""
        self._abort_delivered = False
        self._completed: stats.CompletedJob | None = None

    @property
    def state(self) -> Migration:
        """All but the samples."""
        return self._told.state

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample so far (of very long migrations, the older half thinned)."""
        return tuple(self._watching.account.samples)

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        self._source.listeners.add(self._on_event)
        self._target.listeners.add(self._on_event)
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
            self._source.listeners.discard(self._on_event)
            self._target.listeners.discard(self._on_event)
            await self._watching.close()

    # -- controls ------------------------------------------------------------------------------

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the rate from now on; None lifts the limit. Raises FerryError."""
        self._must_run()
        await self._changed.set_bandwidth(rate_bytes_s)
        self._told.update(bandwidth_bytes_s=rate_bytes_s)
        limit = "no limit" if rate_bytes_s is None else f"{rate_bytes_s / 1e6:.1f} MB/s"
        self._told.note("bandwidth", f"bandwidth: {limit}", by="operator")

    async def set_pause_limit(self, pause_ms: int) -> None:
        """Allow another pause from now on. Raises FerryError."""
        self._must_run()
        was = self.state.pause_limit_ms
        await self._changed.set_pause_limit(pause_ms)
        self._told.update(pause_limit_ms=pause_ms)
        before = "" if was is None else f"{was} → "
        self._told.note("pause-limit", f"pause limit {before}{pause_ms} ms", by="operator")

    async def abort(self) -> None:
        """Ask the hosts to leave the VM at the source; asked again until they could be. Raises
        FerryError when it is too late or refused."""
        self._must_run()
        if self._returned is not None and not self._call_error:
            raise BadInput(f"{self.state.vm}: too late to abort, the hosts have finished.")
        if not self.state.abort_asked:
            self._told.update(abort_asked=True)
            self._told.note("abort", "abort asked for", by="operator")
        try:
            await self._deliver_abort()
        except HostUnreachable as error:
            self._told.note("abort", f"{error.sentence} The abort is delivered once it answers.")

    async def _deliver_abort(self) -> None:
        """Until libvirt had a job to abort: it has none yet right after the call began."""
        if self._called is None or self._abort_delivered or not self.state.abort_asked:
            return
        uuid = self.state.uuid
        self._abort_delivered = await self._source.call(
            lambda conn: migrate.abort(conn, uuid), timeout_s=15.0, what="abort the migration"
        )

    def _must_run(self) -> None:
        if not self.state.running:
            raise BadInput(f"Migration {self.state.id} of {self.state.vm} has ended.")

    # -- the phases ----------------------------------------------------------------------------

    async def _move(self) -> None:
        self._told.enter(Phase.PREPARE)
        await self._prepare()
        lane = await self._source.open_lane(f"migration {self.state.id}")
        try:
            if self.state.abort_asked:
                return
            self._called = self._told.zero = time.monotonic()
            self._told.update(called_at=time.time())
            self._told.enter(Phase.MEMORY, skipped=(Phase.DISK,))
            order = self._order
            call = asyncio.create_task(
                lane.call(lambda conn: migrate.run(conn, order), timeout_s=None, what="migrate")
            )
            await self._watch_until(call)
        finally:
            self._returned = time.monotonic()
            await lane.close()

    async def _prepare(self) -> None:
        if self.state.bandwidth_bytes_s is not None:
            await self._changed.set_bandwidth(self.state.bandwidth_bytes_s)
        pause_ms = self.state.policy.pause_ms
        await self._changed.set_pause_limit(pause_ms)
        self._told.update(pause_limit_ms=pause_ms)
        self._told.note("pause-limit", f"pause limit {pause_ms} ms, as agreed")

    async def _watch_until(self, call: asyncio.Task[None]) -> None:
        """Sample until the call returned; remember what it said."""
        while not call.done():
            await self._look(call)
        try:
            call.result()
        except FerryError as error:
            self._call_error = error.sentence
            log.info("migrate call of %s: %s", self.state.id, error)

    async def _look(self, call: asyncio.Task[None] | None = None) -> None:
        """One sample, one try to deliver an abort, and the rest of the sample's time."""
        begun = time.monotonic()
        await self._watching.sample()
        with contextlib.suppress(FerryError):
            await self._deliver_abort()
        left_s = max(0.01, SAMPLE_EVERY_S - (time.monotonic() - begun))
        if call is None:
            await asyncio.sleep(left_s)
        else:
            await asyncio.wait({call}, timeout=left_s)

    def _on_event(self, event: VmEvent) -> None:
        if event.uuid != self.state.uuid or not self.state.running:
            return
        switching = event.kind is EventKind.LIFECYCLE and event.detail == "suspended migrated"
        if switching and self.state.phase is Phase.MEMORY:
            self._told.enter(Phase.SWITCHOVER)
        if event.kind is EventKind.JOB_COMPLETED and event.stats and self._completed is None:
            self._completed = stats.completed(event.stats)

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
        while True:
            if self.state.running:
                self._told.enter(Phase.VERIFY)
            judgement, at_source = await settle(
                self._before, self.state.uuid, self._source, self._target
            )
            if at_source is None or at_source.job != "migration out":
                return judgement
            await self._watch_orphan()

    async def _watch_orphan(self) -> None:
        """Our call broke, the migration did not: go on watching and steering it."""
        self._told.update(verdict=None)
        self._told.enter(Phase.MEMORY)
        self._told.note("note", "our connection broke, the hosts go on; watching again")
        while await job_kind(self._source, self.state.uuid) in ("migration out", "?"):
            await self._look()
            if self._watching.silent_s > SILENT_S:
                return
        self._returned = time.monotonic()

    async def _conclude(self, judgement: Judgement) -> None:
        was = self.state.verdict
        if was is not None and was.outcome is judgement.outcome is Outcome.UNKNOWN:
            return
        leftovers = list(judgement.leftovers)
        if judgement.outcome is Outcome.STAYED:
            leftovers += await self._changed.put_back()
        if judgement.outcome is Outcome.MOVED and judgement.owner == self._target.name:
            leftovers += await conclude.carry_autostart(
                self._target, self.state.uuid, self._before.autostart
            )
            at_target = await conclude.completed_at(self._target, self.state.uuid)
            self._completed = at_target or self._completed
        ran = self._called is not None and self._returned is not None
        verdict = conclude.verdict(
            self.state,
            judgement,
            call_error=self._call_error,
            completed=self._completed,
            passes=self._watching.account.passes(self._completed),
            total_s=(self._returned or 0.0) - (self._called or 0.0) if ran else 0.0,
            wall_s=time.monotonic() - self._confirmed,
            leftovers=tuple(leftovers),
        )
        self._told.update(
            verdict=verdict,
            phases=self._told.ended_phases(judgement.outcome),
            outlook=conclude.last_word(verdict),
        )
