"""Disks of a VM that is shut off, moved to other pools of its host, from confirm to verdict.

Copied as for a move to another host (image lock held, temporary name, flush, hash, qemu-img check,
rename), then the stored definition names all new images at once. Until that one call everything
can be undone; after it nothing has to be.
"""

import asyncio
import logging
import time

from backend.errors import BadInput, FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import block_copy
from backend.model import Control, CopyRoute, Migration, Phase, Sample
from backend.run.cold_disks import ColdDisks
from backend.run.disk_samples import DiskSamples
from backend.run.idle_source import locked, must_be_locked, must_be_off, stop_if_asked
from backend.run.migration import Undertaking
from backend.run.mirrors import copied
from backend.run.new_volumes import NewVolumes
from backend.run.open_moves import OpenMoves
from backend.run.publish import Publisher
from backend.run.settle import reached
from backend.run.steps import to_its_end
from backend.run.storage_end import StorageEnd, remove_copy
from backend.run.told import Told

log = logging.getLogger(__name__)
DEFINE_LIMIT_S = 30.0


class IdleDisks:
    """Runs one such move; all that is known of it is in `state`."""

    def __init__(
        self,
        begun: Undertaking,
        host: HostWatch,
        publisher: Publisher,
        open_moves: OpenMoves,
    ) -> None:
        self._host = host
        self._open = open_moves
        self._told = Told(begun.state, publisher, begun.confirmed, _controls, self._keep)
        self._moves = copied(begun.state.moves)
        self._volumes = NewVolumes(self._told, host, remove_copy)
        self._samples = DiskSamples(self._told, publisher)
        self._disks = ColdDisks(
            self._told, host, host, CopyRoute.LOCAL, "", self._volumes, self._samples
        )
        self._end = StorageEnd(self._told, begun, host, self._volumes, open_moves, self._proven)
        self._work: asyncio.Task[None] | None = None
        self._earlier = False

    @property
    def state(self) -> Migration:
        """All but the samples."""
        return self._told.state

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of its disks."""
        return tuple(self._samples.taken)

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        self._end.called_s = self._told.zero = time.monotonic()
        self._told.update(called_at=time.time())
        self._work = asyncio.create_task(self._move())
        try:
            await asyncio.wait({self._work})
        finally:
            self._work.cancel()
        self._take_error(self._work)
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

    def _take_error(self, work: asyncio.Task[None]) -> None:
        error = None if work.cancelled() else work.exception()
        if isinstance(error, FerryError):
            self._end.failed = str(error)
            self._told.note("note", error.sentence)
        elif error is not None:
            log.error("move %s", self.state.id, exc_info=error)
            self._end.failed = f"The engine met a fault of its own: {error!r}."

    def _keep(self, state: Migration) -> None:
        if state.running and not self._open.keep(state):
            log.warning("move %s goes on without its file", state.id)

    # -- controls ------------------------------------------------------------------------------

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the copying from now on; None lifts the limit. Raises FerryError."""
        self._must_run()
        await self._disks.set_bandwidth(rate_bytes_s)
        self._told.update(bandwidth_bytes_s=rate_bytes_s)
        said = f"limited to {rate_bytes_s} bytes/s" if rate_bytes_s else "limit lifted"
        self._told.note("bandwidth", said, by="operator")

    async def set_pause_limit(self, pause_ms: int) -> None:
        """There is none. Raises BadInput."""
        raise BadInput("A VM that does not run has no pause to limit.")

    async def operate(self, control: Control) -> None:
        """There is nothing to steer. Raises BadInput."""
        raise BadInput(f"{control.value} cannot be done to a VM that does not run.")

    async def abort(self) -> None:
        """Stop, and undo it. Raises BadInput once that is too late."""
        self._must_run()
        if self.state.phase not in (Phase.PREPARE, Phase.DISK):
            raise BadInput(
                f"{self.state.vm}: too late to abort, its definition is being changed.",
                "Its disks can be moved back once this has ended.",
            )
        if self.state.abort_asked:
            return
        self._told.update(abort_asked=True)
        self._told.note("abort", "abort asked for", by="operator")
        if self._work is not None:
            self._work.cancel()

    def _must_run(self) -> None:
        if not self.state.running:
            raise BadInput(f"Move {self.state.id} of {self.state.vm} has ended.")

    # -- the steps -----------------------------------------------------------------------------

    async def _move(self) -> None:
        self._told.enter(Phase.PREPARE, skipped=(Phase.MEMORY,))
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


def _controls(state: Migration) -> tuple[Control, ...]:
    early = state.running and state.phase in (Phase.PREPARE, Phase.DISK)
    return (Control.BANDWIDTH, Control.ABORT) if early and not state.abort_asked else ()
