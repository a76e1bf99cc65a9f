"""The end of a storage move: what is still ours is ended, the host asked, and a verdict said."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from backend.errors import FerryError, HostUnreachable, word
from backend.fleet.host import HostWatch
from backend.hypervisor import block_copy, definitions, volumes
from backend.hypervisor.block_copy import VmSeen
from backend.hypervisor.connection import Connection
from backend.hypervisor.target_xml import Changes
from backend.model import NewVolume, Outcome, Phase
from backend.run import conclude
from backend.run.migration import Undertaking
from backend.run.mirrors import copied
from backend.run.new_volumes import NewVolumes
from backend.run.open_moves import OpenMoves
from backend.run.preparing import TargetReady
from backend.run.settle import RECHECK_S, SILENT_S
from backend.run.storage_verdict import in_use, judge_disks, to_store, unfinished
from backend.run.swapped_images import SwappedImages
from backend.run.told import Told
from backend.run.verdict import Judgement

log = logging.getLogger(__name__)

END_LIMIT_S = 60.0


class StorageEnd:
    """Brings one move to its verdict, however far it got."""

    def __init__(
        self,
        told: Told,
        begun: Undertaking,
        host: HostWatch,
        new: NewVolumes,
        open_moves: OpenMoves,
        ready: TargetReady,
        proven: Callable[[], tuple[str, ...]] | None = None,
    ) -> None:
        """`proven()`: what was shown of each copy before it was used; None: the VM ran."""
        self._told = told
        self._begun = begun
        self._host = host
        self._volumes = new
        self._open = open_moves
        self._ready = ready
        self._moves = copied(begun.state.moves)
        self._images = SwappedImages(told, host, proven)
        self.failed = ""
        """Why it did not get to its end; empty when it did."""
        self.called_s: float | None = None
        """`time.monotonic()` when the first copy was begun."""
        self._ended_s: float | None = None

    async def conclude(self) -> None:
        """Never raises."""
        self._ended_s = time.monotonic()
        try:
            await self._verify()
        except Exception:
            log.exception("verdict of %s", self._told.state.id)
            self._conclude(conclude.fault_of_our_own(self._begun.before), ())
        else:
            self._open.forget(self._told.state.id)

    async def _verify(self) -> None:
        """To a verdict; an `unknown` one is published, and asked again until it is known."""
        self._told.enter(Phase.VERIFY)
        asked_s = time.monotonic()
        while True:
            seen = await self._settled()
            judgement = judge_disks(self._told.state.vm, self._host.name, self._moves, seen)
            if seen is not None:
                with contextlib.suppress(HostUnreachable):
                    self._conclude(judgement, await self._finish(judgement, seen))
                    return
            if self._told.state.running and time.monotonic() - asked_s > SILENT_S:
                silent = judge_disks(self._told.state.vm, self._host.name, self._moves, None)
                self._conclude(silent, self._undecided())
            await asyncio.sleep(RECHECK_S if not self._told.state.running else 1.0)

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
            log.info("asking %s for %s: %s", self._host.name, self._told.state.uuid, error.sentence)
            return None

    async def _seen(self) -> VmSeen:
        uuid, targets = self._told.state.uuid, tuple(move.target for move in self._moves)
        return await self._host.call(
            lambda conn: block_copy.look(conn, uuid, targets), what="tell of its disks"
        )

    async def _end_copy(self, target: str) -> None:
        uuid = self._told.state.uuid
        try:
            await self._host.call(
                lambda conn: block_copy.abort(conn, uuid, target),
                END_LIMIT_S,
                f"end the copy of {target}",
            )
        except HostUnreachable:
            raise
        except FerryError as error:
            self._told.note("note", f"the copy of {target} could not be ended: {error.sentence}")

    async def _store(self, paths: dict[str, str]) -> None:
        uuid, names = self._told.state.uuid, ", ".join(paths)
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
        """Check and tidy up as befits the outcome; what is left to do by hand. Raises
        HostUnreachable where that can be begun again."""
        if judgement.outcome is Outcome.MOVED:
            left = await self._snapshots_follow()
            self._ready.keep()
            may_remove = (seen.active or seen.persistent) and not left
            return (*left, *await self._images.finish(may_remove))
        if judgement.outcome is Outcome.STAYED:
            used = in_use(self._moves, seen)
            removed = await self._volumes.remove(keep=used)
            if used:
                self._ready.keep()
            return (*removed, *await self._ready.undo())
        return self._undecided()

    def _undecided(self) -> tuple[str, ...]:
        return (*self._volumes.undecided(), *self._ready.undecided())

    async def _snapshots_follow(self) -> tuple[str, ...]:
        """Snapshots of a VM that was shut off name its images too; what of that is not done."""
        if not self._told.state.idle:
            return ()
        uuid = self._told.state.uuid
        paths = {move.target: move.destination or "" for move in self._moves}
        images = {move.source: move.destination or "" for move in self._moves}
        changes = Changes(disks=paths, images=images)
        try:
            await self._host.call(
                lambda conn: definitions.repoint_snapshots(conn, uuid, changes),
                END_LIMIT_S,
                "let its snapshots name the new images",
            )
        except HostUnreachable:
            raise
        except FerryError as error:
            why = error.sentence.rstrip(".")
            return (
                f"its snapshots still name the old images ({why}): virsh snapshot-edit"
                f" {uuid} NAME there, for each",
            )
        return ()

    def _conclude(self, judgement: Judgement, leftovers: tuple[str, ...]) -> None:
        state, now_s = self._told.state, time.monotonic()
        took_s = (self._ended_s or now_s) - self.called_s if self.called_s else 0.0
        verdict = conclude.plain_verdict(
            state,
            judgement,
            reason=self._reason(judgement),
            total_s=took_s,
            wall_s=now_s - self._begun.confirmed,
            sent_bytes=sum(one.done_bytes for one in state.disks),
            leftovers=(*judgement.leftovers, *leftovers),
        )
        verdict = replace(verdict, disks=self._images.sentences, kept=self._images.kept)
        phases = self._told.ended_phases(judgement.outcome)
        self._told.update(verdict=verdict, phases=phases, outlook=conclude.last_word(verdict))

    def _reason(self, judgement: Judgement) -> str:
        """What is true now first, then why."""
        if self._told.state.abort_asked and judgement.outcome is Outcome.STAYED:
            return f"{judgement.reason} Aborted as asked."
        if self.failed and judgement.outcome is not Outcome.MOVED:
            return f"{judgement.reason} {self.failed}"
        return judgement.reason


def remove_copy(conn: Connection, uuid: str, volume: NewVolume) -> None:
    """Refused while a block job of the VM copies to it; `delete` refuses what the VM is on."""
    seen = block_copy.look(conn, uuid, (volume.disk,))
    if seen.defined and seen.disks[volume.disk].mirror == volume.path:
        raise FerryError(
            f"A block job still copies {volume.disk} to it.",
            f"End it: virsh blockjob {uuid} {word(volume.disk)} --abort",
        )
    volumes.delete(conn, volume.pool, volume.name, volume.path)
