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
from backend.hypervisor.connection import Connection
from backend.model import (
    Control,
    DiskMove,
    Migration,
    NewVolume,
    Outcome,
    Phase,
    Sample,
    Verdict,
)
from backend.plan.wording import memory, rate
from backend.run import conclude
from backend.run.disk_copies import DiskCopies
from backend.run.migration import Undertaking
from backend.run.mirrors import copied
from backend.run.new_volumes import NewVolumes
from backend.run.publish import Publisher
from backend.run.settle import RECHECK_S, SILENT_S
from backend.run.storage_verdict import in_use, judge_disks, to_store, unfinished
from backend.run.swapped_images import SwappedImages
from backend.run.told import Told
from backend.run.verdict import Judgement

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

    def __init__(self, begun: Undertaking, host: HostWatch, publisher: Publisher) -> None:
        self._begun = begun
        self._host = host
        self._told = Told(begun.state, publisher, begun.confirmed, available)
        self._moves = copied(begun.state.moves)
        self._copies = DiskCopies(self._told, host, publisher)
        self._volumes = NewVolumes(self._told, host, _remove_copy)
        self._images = SwappedImages(self._told, host)
        self._started: list[DiskMove] = []
        self._ready: set[str] = set()
        self._wake = asyncio.Event()
        self._failed = ""
        self._called_s: float | None = None
        self._ended_s: float | None = None

    @property
    def state(self) -> Migration:
        """All but the samples."""
        return self._told.state

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of its disks."""
        return tuple(self._copies.samples)

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        try:
            await self._move()
        except FerryError as error:
            self._failed = str(error)
            self._told.note("note", error.sentence)
        except Exception as error:
            log.exception("storage move %s", self.state.id)
            self._failed = f"The engine met a fault of its own: {error!r}."
        self._ended_s = time.monotonic()
        try:
            await self._verify()
        except Exception:
            log.exception("verdict of %s", self.state.id)
            self._conclude(conclude.fault_of_our_own(self._begun.before), ())

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
        await self._volumes.create()
        if self.state.abort_asked:
            return
        self._called_s = self._told.zero = time.monotonic()
        self._told.update(called_at=time.time())
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
        self._started.append(move)
        try:
            await self._host.call(
                lambda conn: block_copy.start(conn, uuid, move.target, path, move.format, limit),
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

    # -- the verdict ---------------------------------------------------------------------------

    async def _verify(self) -> None:
        """To a verdict; an `unknown` one is published, and asked again until it is known."""
        self._told.enter(Phase.VERIFY)
        asked_s = time.monotonic()
        while True:
            seen = await self._settled()
            judgement = judge_disks(self.state.vm, self._host.name, self._moves, seen)
            if seen is not None:
                self._conclude(judgement, await self._finish(judgement, seen))
                return
            if self.state.running and time.monotonic() - asked_s > SILENT_S:
                self._conclude(judgement, self._volumes.undecided())
            await asyncio.sleep(RECHECK_S if not self.state.running else 1.0)

    async def _settled(self) -> VmSeen | None:
        """How the VM stands once nothing of ours runs on it any more; None: its host is silent."""
        try:
            seen = await self._seen()
            for target in unfinished(self._moves, seen):
                await self._end_copy(target)
            if paths := to_store(self._moves, seen):
                await self._store(paths)
            return await self._seen()
        except HostUnreachable as error:
            log.info("asking %s for %s: %s", self._host.name, self.state.uuid, error.sentence)
            return None

    async def _seen(self) -> VmSeen:
        uuid, targets = self.state.uuid, self._copies.targets
        return await self._host.call(
            lambda conn: block_copy.look(conn, uuid, targets), what="tell of its disks"
        )

    async def _end_copy(self, target: str) -> None:
        uuid = self.state.uuid
        try:
            await self._host.call(
                lambda conn: block_copy.abort(conn, uuid, target),
                PIVOT_LIMIT_S,
                f"end the copy of {target}",
            )
        except HostUnreachable:
            raise
        except FerryError as error:
            self._told.note("note", f"the copy of {target} could not be ended: {error.sentence}")

    async def _store(self, paths: dict[str, str]) -> None:
        uuid, names = self.state.uuid, ", ".join(paths)
        try:
            await self._host.call(
                lambda conn: block_copy.store(conn, uuid, paths), what="store its definition"
            )
        except HostUnreachable:
            raise
        except FerryError as error:
            self._told.note("note", f"the definition could not be stored: {error.sentence}")
        else:
            self._told.note("note", f"{names}: written into the stored definition")

    async def _finish(self, judgement: Judgement, seen: VmSeen) -> tuple[str, ...]:
        """Check and tidy up as befits the outcome; what is left to do by hand."""
        if judgement.outcome is Outcome.MOVED:
            return await self._images.finish(may_remove=seen.active or seen.persistent)
        if judgement.outcome is Outcome.STAYED:
            return await self._volumes.remove(keep=in_use(self._moves, seen))
        return self._volumes.undecided()

    def _conclude(self, judgement: Judgement, leftovers: tuple[str, ...]) -> None:
        state, now_s = self.state, time.monotonic()
        took_s = (self._ended_s or now_s) - self._called_s if self._called_s else 0.0
        verdict = Verdict(
            id=state.id,
            vm=state.vm,
            source=state.source,
            target=state.target,
            outcome=judgement.outcome,
            owner=judgement.owner,
            reason=self._reason(judgement),
            total_s=round(took_s, 3),
            wall_s=round(now_s - self._begun.confirmed, 3),
            sent_bytes=sum(one.done_bytes for one in state.disks),
            mode=state.mode,
            policy=state.policy.name,
            encrypted=state.encrypted,
            authenticated=state.encrypted,
            leftovers=(*judgement.leftovers, *leftovers),
            disks=self._images.sentences,
            kept=self._images.kept,
        )
        phases = self._told.ended_phases(judgement.outcome)
        self._told.update(verdict=verdict, phases=phases, outlook=conclude.last_word(verdict))

    def _reason(self, judgement: Judgement) -> str:
        """What is true now first, then why."""
        if self.state.abort_asked and judgement.outcome is Outcome.STAYED:
            return f"{judgement.reason} Aborted as asked."
        if self._failed and judgement.outcome is not Outcome.MOVED:
            return f"{judgement.reason} {self._failed}"
        return judgement.reason


def _follows(move: DiskMove, seen: VmSeen) -> bool:
    return seen.active and seen.disks[move.target].mirror == move.destination


def _remove_copy(conn: Connection, uuid: str, volume: NewVolume) -> None:
    """Refused while a block job of the VM copies to it; `delete` refuses what the VM is on."""
    seen = block_copy.look(conn, uuid, (volume.disk,))
    if seen.defined and seen.disks[volume.disk].mirror == volume.path:
        raise FerryError(
            f"A block job still copies {volume.disk} to it.",
            f"End it: virsh blockjob {uuid} {volume.disk} --abort",
        )
    volumes.delete(conn, volume.pool, volume.name, volume.path)
