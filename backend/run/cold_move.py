"""One move of a VM that does not run, or that is shut down for it: from the confirm to the verdict.

Unlike a live one it is the engine's own work, in steps; each leaves the source whole until the
target has been shown to be equal. What an engine that dies leaves is in a file (`open_moves`).
"""

import asyncio
import logging
import time
from dataclasses import dataclass

from backend.errors import BadInput, FerryError, HostUnreachable
from backend.fleet.host import HostWatch
from backend.hypervisor import definitions
from backend.hypervisor.definitions import WholeVm
from backend.hypervisor.migrate import MigrationOrder
from backend.model import CopyRoute, Migration, Mode, Now, Phase, Tuning, VmState
from backend.plan.running import NOTHING
from backend.remote.hold import Hold
from backend.run.cold_disks import ColdDisks
from backend.run.cold_end import ColdEnd
from backend.run.cold_state import SmallState
from backend.run.cold_target import ColdTarget
from backend.run.copy_run import CopyRun
from backend.run.idle_source import (
    CALL_LIMIT_S,
    locked,
    must_be_locked,
    must_be_off,
    stop_if_asked,
)
from backend.run.migration import Undertaking
from backend.run.new_volumes import NewVolumes
from backend.run.old_images import OldImages
from backend.run.open_moves import OpenMoves
from backend.run.ordering import ColdOrder
from backend.run.preparing import Ledger, TargetReady, resumed
from backend.run.publish import Publisher
from backend.run.settle import reached
from backend.run.shutdown import Shutdown
from backend.run.steps import to_its_end
from backend.run.told import as_monotonic
from backend.run.verdict import Before

log = logging.getLogger(__name__)
START_LIMIT_S = 60.0


@dataclass(slots=True)
class Progress:
    """How far it is: what a failure has to undo."""

    handed_over: bool = False
    """The source has begun to let go: from here it goes forward."""
    stopped_s: float | None = None
    """`time.monotonic()` when the VM that is to be restarted had ended."""
    started_s: float | None = None
    error: str = ""
    given_back: bool = False


class ColdRun(CopyRun):
    """Runs one; all that is known of it is in `state`."""

    def __init__(
        self,
        begun: Undertaking,
        order: ColdOrder,
        source: HostWatch,
        target: HostWatch,
        publisher: Publisher,
        open_moves: OpenMoves,
    ) -> None:
        super().__init__(begun, publisher, open_moves)
        self._order = order
        self._source = source
        self._target = target
        self._open = open_moves
        self._progress = Progress()
        self._volumes = NewVolumes(self._told, target)
        self._disks = ColdDisks(
            self._told,
            source,
            target,
            order.route,
            order.address,
            self._volumes,
            self._samples,
            self._link_free,
        )
        self._ready = TargetReady(self._told, target, begun.ready)
        self._small = SmallState(self._told, source, target)
        self._definition = ColdTarget(self._told, source, target, begun.before.autostart)
        self._shutdown = Shutdown(self._told, source)
        self._end = ColdEnd(
            self._told,
            begun,
            self._progress,
            self._definition,
            self._volumes,
            self._ready,
            self._small,
            OldImages(self._told, begun.before, source, target),
            lambda: self._disks.sentences,
        )
        self._whole: WholeVm | None = None
        self._tidying: asyncio.Task[bool] | None = None

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        self._progress.error = await self._worked()
        await self._to_the_end()

    async def settle_open(self) -> None:
        """Of one that an engine before this one has left: undo it, or finish it."""
        await reached(self._source, self._target)
        self._progress.error = "The engine ended while it moved."
        await self._to_the_end(after_crash=True)

    @property
    def tidying(self) -> bool:
        """It has its verdict; only what a host still holds is being removed."""
        return self._tidying is not None and not self._tidying.done()

    def leave_be(self) -> None:
        """Tidy up no further: its VM moves again."""
        if self._tidying is not None:
            self._tidying.cancel()

    async def _to_the_end(self, after_crash: bool = False) -> None:
        await self._end.conclude(after_crash)
        self._tidying = asyncio.create_task(self._end.tidy())
        try:
            await asyncio.wait({self._tidying})
        finally:
            self._tidying.cancel()
        if self._tidying.cancelled() or self._tidying.result():
            self._open.forget(self.state.id)

    def _too_late(self) -> BadInput | None:
        if not self._progress.handed_over:
            return None
        return BadInput(
            f"{self.state.vm}: too late to abort, {self._source.name} has let go of it.",
            "It can be moved back once this has ended.",
        )

    def _stop(self) -> None:
        if not self._shutdown.asked_only:
            super()._stop()

    # -- the steps -----------------------------------------------------------------------------

    async def _move(self) -> None:
        self._told.enter(Phase.PREPARE, skipped=self._skipped)
        await to_its_end(self._ready.make(self._begun.order))
        stop_if_asked(self.state)
        if self.state.mode is Mode.RESTART:
            await self._link_free()  # rather than while it is down
            await self._shutdown.down(self._order.shutdown_s)
            self._progress.stopped_s = time.monotonic()
            stop_if_asked(self.state)
        async with locked(self._source, self._order.images) as lock:
            await self._copy_and_hand_over(lock)
        if self.state.mode is Mode.RESTART:
            await self._start_there()

    async def _link_free(self) -> None:
        if self._begun.link is not None:
            await self._begun.link.over(self._told)

    @property
    def _skipped(self) -> tuple[Phase, ...]:
        return (Phase.MEMORY,) if self._order.copies else (Phase.DISK, Phase.MEMORY)

    async def _copy_and_hand_over(self, lock: Hold | None) -> None:
        uuid = self.state.uuid
        await must_be_off(self._source, self.state)
        whole = await self._source.call(
            lambda conn: definitions.read_whole(conn, uuid), CALL_LIMIT_S, "tell its definition"
        )
        self._whole = whole
        if self._order.copies:
            self._told.enter(Phase.DISK)
            await self._disks.copy()
        self._told.enter(Phase.SWITCHOVER)
        await to_its_end(self._small.carry(whole))
        await to_its_end(self._definition.define(whole, self._begun.order.changes))
        await must_be_off(self._source, self.state)
        must_be_locked(lock, self._source.name)
        stop_if_asked(self.state)
        self._progress.handed_over = True
        await to_its_end(self._definition.hand_over())

    async def _start_there(self) -> None:
        uuid = self.state.uuid
        self._told.note("start", f"starting it on {self._target.name}")
        try:
            await self._target.call(
                lambda conn: definitions.start(conn, uuid), START_LIMIT_S, "start the VM"
            )
            self._progress.started_s = time.monotonic()
        except HostUnreachable:
            raise  # it may start there yet: there is no way back that is safe
        except FerryError as error:
            await self._way_back(error)

    async def _way_back(self, why: FerryError) -> None:
        """The target refused to start it: the source gets it again."""
        self._told.note("note", f"{why.sentence} Going back to {self._source.name}.")
        assert self._whole is not None
        await self._definition.give_back(self._whole)
        self._progress.given_back = True
        raise why


def taken_up(
    state: Migration,
    source: HostWatch,
    target: HostWatch,
    publisher: Publisher,
    open_moves: OpenMoves,
    ledger: Ledger,
    now: Now,
) -> ColdRun:
    """A move that an engine which died has left as `state`; `settle_open` brings it to its end."""
    order = MigrationOrder(
        uuid=state.uuid,
        vm=state.vm,
        target_uri=target.migrate_uri,
        persistent=True,
        tls=state.encrypted is not False,
    )
    before = Before(
        state.vm, state.source, state.target, True, VmState.SHUT_OFF, state.autostart, state.uuid
    )
    confirmed = as_monotonic(state.started, now())
    ready = resumed(ledger, state)
    begun = Undertaking(state, order, before, Tuning(0), NOTHING, confirmed, now, ready)
    nothing = ColdOrder(CopyRoute.DIRECT, "", (), 0)
    return ColdRun(begun, nothing, source, target, publisher, open_moves)
