"""Disks of a VM that is shut off, moved to other pools of its host, from confirm to verdict.

Copied as for a move to another host (image lock held, temporary name, flush, hash, qemu-img check,
rename), then the stored definition names all new images at once. Until that one call everything
can be undone; after it nothing has to be.
"""

import logging
import time

from backend.errors import BadInput
from backend.fleet.host import HostWatch
from backend.hypervisor import block_copy
from backend.model import CopyRoute, Phase
from backend.run.cold_disks import ColdDisks
from backend.run.copy_run import CopyRun
from backend.run.idle_source import locked, must_be_locked, must_be_off, stop_if_asked
from backend.run.migration import Undertaking
from backend.run.mirrors import copied
from backend.run.new_volumes import NewVolumes
from backend.run.open_moves import OpenMoves
from backend.run.preparing import TargetReady
from backend.run.publish import Publisher
from backend.run.settle import reached
from backend.run.steps import to_its_end
from backend.run.storage_end import StorageEnd, remove_copy

log = logging.getLogger(__name__)
DEFINE_LIMIT_S = 30.0


class IdleDisks(CopyRun):
    """Runs one such move; all that is known of it is in `state`."""

    def __init__(
        self,
        begun: Undertaking,
        host: HostWatch,
        publisher: Publisher,
        open_moves: OpenMoves,
    ) -> None:
        super().__init__(begun, publisher, open_moves)
        self._host = host
        self._moves = copied(begun.state.moves)
        self._volumes = NewVolumes(self._told, host, remove_copy)
        self._disks = ColdDisks(
            self._told, host, host, CopyRoute.LOCAL, "", self._volumes, self._samples
        )
        self._ready = TargetReady(self._told, host, begun.ready)
        self._end = StorageEnd(
            self._told, begun, host, self._volumes, open_moves, self._ready, self._proven
        )
        self._earlier = False

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        self._end.called_s = self._told.zero = time.monotonic()
        self._end.failed = await self._worked()
        await self._end.conclude()

    async def settle_open(self) -> None:
        """Of one that an engine before this one has left: undo it, or finish it."""
        await reached(self._host)
        self._earlier = True
        self._end.failed = "The engine ended while its disks were copied."
        await self._end.conclude()

    def _proven(self) -> tuple[str, ...]:
        """The definition names an image only after it was shown to be equal."""
        if not self._earlier:
            return self._disks.sentences
        return tuple(
            f"{move.target}: shown to be equal by the engine before this one, else the definition"
            " would not name it"
            for move in self._moves
        )

    def _too_late(self) -> BadInput | None:
        if self.state.phase in (Phase.PREPARE, Phase.DISK):
            return None
        return BadInput(
            f"{self.state.vm}: too late to abort, its definition is being changed.",
            "Its disks can be moved back once this has ended.",
        )

    # -- the steps -----------------------------------------------------------------------------

    async def _move(self) -> None:
        self._told.enter(Phase.PREPARE, skipped=(Phase.MEMORY,))
        await to_its_end(self._ready.make(self._begun.order))
        stop_if_asked(self.state)
        async with locked(self._host, [move.source for move in self._moves]) as lock:
            await must_be_off(self._host, self.state)
            self._told.enter(Phase.DISK)
            await self._disks.copy()
            self._told.enter(Phase.SWITCHOVER)
            await must_be_off(self._host, self.state)
            must_be_locked(lock, self._host.name)
            await to_its_end(self._define())

    async def _define(self) -> None:
        """All disks in one call: there is no half of it."""
        uuid = self.state.uuid
        paths = {move.target: move.destination or "" for move in self._moves}
        self._told.note("define", f"{', '.join(paths)}: the definition gets the new images")
        await self._host.call(
            lambda conn: block_copy.store(conn, uuid, paths), DEFINE_LIMIT_S, "define the VM"
        )
