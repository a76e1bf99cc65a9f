"""Disks of a running VM moved to other pools of its host, from the confirm to the verdict.

Each is copied in turn while the VM runs, and the copy then follows its writes; once all do, the VM
is put on them (the pivot, some milliseconds, without a pause). Until the first pivot everything
can be undone. Whatever a call returns: the verdict comes from what the host says of the VM.
"""

import asyncio
import logging
import time

from backend.errors import BadInput, FerryError, HostUnreachable
from backend.fleet.host import HostWatch
from backend.hypervisor import block_copy, volumes
from backend.hypervisor.block_copy import VmSeen
from backend.model import Control, DiskMove, Migration, Phase, Sample
from backend.plan.wording import memory, rate
from backend.run.copied_room import fine_enough
from backend.run.disk_copies import DiskCopies
from backend.run.migration import Undertaking
from backend.run.mirrors import copied
from backend.run.new_volumes import NewVolumes
from backend.run.open_moves import OpenMoves
from backend.run.preparing import TargetReady
from backend.run.publish import Publisher
from backend.run.settle import reached
from backend.run.storage_end import StorageEnd, remove_copy
from backend.run.told import Told

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
START_LIMIT_S = 30.0
PIVOT_LIMIT_S = 60.0
ENDING_LOOKS = 4
FULL_BYTES = 8 * 2**20
"""A pool with less than this is full: a write that did not fit was larger."""


def available(state: Migration) -> tuple[Control, ...]:
    """What can be done to a storage move that stands so."""
    if state.verdict is not None or state.abort_asked:
        return ()
    if state.phase is Phase.PREPARE:
        return (Control.ABORT,)
    return (Control.BANDWIDTH, Control.ABORT) if state.phase is Phase.DISK else ()


class StorageRun:
    """Runs one storage move; all that is known of it is in `state`."""

    def __init__(
        self,
        begun: Undertaking,
        host: HostWatch,
        publisher: Publisher,
        open_moves: OpenMoves,
    ) -> None:
        self._host = host
        self._told = Told(
            begun.state,
            publisher,
            begun.confirmed,
            begun.now,
            available,
            open_moves.keep_running,
        )
        self._moves = copied(begun.state.moves)
        self._copies = DiskCopies(self._told, host, publisher)
        self._volumes = NewVolumes(self._told, host, remove_copy)
        self._begun = begun
        self._prepared = TargetReady(self._told, host, begun.ready)
        self._end = StorageEnd(self._told, begun, host, self._volumes, open_moves, self._prepared)
        self._started: list[DiskMove] = []
        self._ready: set[str] = set()
        self._wake = asyncio.Event()

    @property
    def state(self) -> Migration:
        """All but the samples."""
        return self._told.state

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of its disks."""
        return tuple(self._copies.samples.taken)

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        try:
            await self._move()
        except FerryError as error:
            self._end.failed = str(error)
            self._told.note("note", error.sentence)
        except Exception as error:
            log.exception("storage move %s", self.state.id)
            self._end.failed = f"The engine met a fault of its own: {error!r}."
        await self._end.conclude()

    async def settle_open(self) -> None:
        """Of one that an engine before this one has left: undo it, or finish it."""
        await reached(self._host)
        self._end.failed = "The engine ended while its disks were copied."
        await self._end.conclude()

    # -- controls ------------------------------------------------------------------------------

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the copies from now on; None lifts the limit. Raises FerryError."""
        self._must_run()
        if self.state.phase not in (Phase.PREPARE, Phase.DISK):
            raise BadInput(f"The disks of {self.state.vm} are copied already.")
        uuid = self.state.uuid
        targets = tuple(move.target for move in self._started)
        await self._host.call(
            lambda conn: block_copy.set_rates(conn, uuid, targets, rate_bytes_s),
            what="limit the copy",
        )
        self._told.update(bandwidth_bytes_s=rate_bytes_s)
        limit = "no limit" if rate_bytes_s is None else rate(rate_bytes_s)
        self._told.note("bandwidth", f"bandwidth: {limit}", by="operator")

    async def set_pause_limit(self, pause_ms: int) -> None:
        """There is none. Raises BadInput."""
        raise BadInput(f"{self.state.vm} is not paused while its disks move: there is no limit.")

    async def operate(self, control: Control) -> None:
        """None of the others means anything here. Raises BadInput."""
        raise BadInput(f"{control.value} is nothing that can be done while disks move.")

    async def abort(self) -> None:
        """Ask for the disks to stay where they are. Raises BadInput once that is too late."""
        self._must_run()
        if self.state.phase not in (Phase.PREPARE, Phase.DISK):
            raise BadInput(
                f"{self.state.vm}: too late to abort, it is being put on its new images.",
                "Its disks can be moved back once this has ended.",
            )
        if not self.state.abort_asked:
            self._told.update(abort_asked=True)
            self._told.note("abort", "abort asked for", by="operator")
            self._wake.set()

    def _must_run(self) -> None:
        if not self.state.running:
            raise BadInput(f"Migration {self.state.id} of {self.state.vm} has ended.")

    # -- the phases ----------------------------------------------------------------------------

    async def _move(self) -> None:
        self._told.enter(Phase.PREPARE)
        await self._prepared.make(self._begun.order)
        await self._volumes.create()
        if self.state.abort_asked:
            return
        self._end.called_s = self._told.zero = time.monotonic()
        self._told.update(called_at=self._told.now())
        self._told.enter(Phase.DISK, skipped=(Phase.MEMORY,))
        for move in self._moves:
            await self._copy(move)
            if self.state.abort_asked:
                return
        self._copies.all_copied()
        self._told.enter(Phase.SWITCHOVER)
        for move in self._moves:
            await self._pivot(move)

    async def _copy(self, move: DiskMove) -> None:
        """Until the copy has everything, or an abort is asked for. Raises FerryError."""
        await self._start(move)
        while not self.state.abort_asked:
            seen = await self._copies.look()
            if seen is not None:
                await self._must_go_on(seen)
                if seen.disks[move.target].ready:
                    self._ready.add(move.target)
                self._copies.take(seen, self._ready)
                if move.target in self._ready:
                    return
            await self._pause()

    async def _start(self, move: DiskMove) -> None:
        uuid, path, limit = self.state.uuid, move.destination or "", self.state.bandwidth_bytes_s
        fine = await fine_enough(self._host, move)
        self._started.append(move)
        try:
            await self._host.call(
                lambda conn: block_copy.start(
                    conn, uuid, move.target, path, move.format, limit, fine
                ),
                START_LIMIT_S,
                f"copy {move.target} to {path}",
            )
        except HostUnreachable as error:
            # Whether it runs now, the next looks tell.
            self._told.note("note", error.sentence)

    async def _must_go_on(self, seen: VmSeen) -> None:
        """Every copy that was begun is still there. Raises FerryError."""
        gone = next((m for m in self._started if not _follows(m, seen)), None)
        if gone is None:
            return
        if await self._is_off(seen):
            raise FerryError(f"{self.state.vm} was shut down while its disks were copied.")
        raise FerryError(await self._why_ended(gone))

    async def _is_off(self, seen: VmSeen | None) -> bool:
        """A QEMU that ends lets go of its copies first, and is gone a moment later."""
        for _ in range(ENDING_LOOKS):
            if seen is not None and not seen.active:
                return True
            await asyncio.sleep(LOOK_EVERY_S)
            seen = await self._copies.look()
        return seen is not None and not seen.active

    async def _why_ended(self, move: DiskMove) -> str:
        """QEMU tells libvirt why a copy failed, and libvirt nobody: a full pool can be seen."""
        name, pool = self._host.name, move.pool or ""
        said = f"The copy of {move.target} to {move.destination} ended by itself"
        try:
            room = await self._host.call(
                lambda conn: volumes.room_bytes(conn, pool), what="tell a pool's room"
            )
        except FerryError as error:
            log.info("room of %s on %s: %s", pool, name, error)
            return f"{said}; see QEMU's log on {name}."
        if room < FULL_BYTES:
            return f"{said}: pool {pool} of {name} is full ({memory(room)} free). Make room there."
        return f"{said}: its image failed, or somebody ended the job; see QEMU's log on {name}."

    async def _pivot(self, move: DiskMove) -> None:
        """Asked again where the answer was lost and the VM is not on its copy yet."""
        uuid = self.state.uuid
        while True:
            try:
                await self._host.call(
                    lambda conn: block_copy.pivot(conn, uuid, move.target),
                    PIVOT_LIMIT_S,
                    f"put {self.state.vm} on the copy of {move.target}",
                )
            except HostUnreachable as error:
                self._told.note("note", error.sentence)
            else:
                note = f"{move.target}: put on {move.destination}, without a pause"
                self._told.note("switch", note)
                return
            while (seen := await self._copies.look()) is None:
                await self._pause()
            if seen.disks[move.target].live == move.destination:
                return
            await self._must_go_on(seen)

    async def _pause(self) -> None:
        """Until the next look, or an abort."""
        try:
            await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S)
        except TimeoutError:
            return
        self._wake.clear()


def _follows(move: DiskMove, seen: VmSeen) -> bool:
    return seen.active and seen.disks[move.target].mirror == move.destination
