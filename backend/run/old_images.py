"""After a move: what the copies are worth, and what becomes of the images at the source."""

import logging
from dataclasses import replace

from backend.errors import FerryError, word
from backend.fleet.host import HostWatch
from backend.hypervisor import volumes
from backend.model import DiskMove, Mode
from backend.plan.wording import memory
from backend.remote.images import check_image
from backend.run.copied_room import mirrored_room
from backend.run.lying_on import needed_by
from backend.run.mirrors import copied
from backend.run.settle import ask_both
from backend.run.told import Told
from backend.run.verdict import Before, End

log = logging.getLogger(__name__)
DESCRIBE_LIMIT_S = 30.0
CHECK_LIMIT_S = 60.0
REMOVE_LIMIT_S = 60.0


class OldImages:
    """The source's images of one migration that has moved."""

    def __init__(self, told: Told, before: Before, source: HostWatch, target: HostWatch) -> None:
        self._told = told
        self._before = before
        self._source = source
        self._target = target
        self.sentences: tuple[str, ...] = ()
        """Of each disk, what was proven and what not."""
        self.kept: tuple[str, ...] = ()

    async def finish(self, proven: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Check the copies, then keep or remove the source's images; what is left to do.

        `proven`: what was shown of each already, before it was used.
        """
        left: list[str] = []
        sentences, kept = list(proven or ()), []
        for move in copied(self._told.state.moves):
            same = proven is not None
            if proven is None:
                sentence, same = await self._verify(move)
                sentences.append(sentence)
            problem = "" if same else "the copy could not be shown to be equal in size and format"
            if self._told.state.remove_source:
                problem = problem or await self._remove(move)
                if problem:
                    left.append(not_removed(self._source.name, move, problem))
                kept += await self._below(move, kept_above=bool(problem))
            if problem or not self._told.state.remove_source:
                kept.append(f"kept: {move.source} on {self._source.name}")
            if not self._told.state.remove_source:
                kept += [self._kept(layer.source) for layer in move.layers if not layer.stays]
        self.sentences, self.kept = tuple(sentences), tuple(kept)
        return tuple(left)

    def _kept(self, path: str, why: str = "") -> str:
        return f"kept: {path} on {self._source.name}{f': {why}' if why else ''}"

    async def _below(self, move: DiskMove, kept_above: bool) -> list[str]:
        """The images below it, the nearest first, as far as nothing else lies on them."""
        kept, why = [], f"{move.source} lies on it" if kept_above else ""
        for layer in move.layers:
            if not layer.stays:
                old = replace(move, source=layer.source, layers=())
                why = why or await remove_image(self._told, self._source, old)
                kept += [self._kept(layer.source, why)] if why else []
                why = f"{layer.source} lies on it" if why else ""
        return kept

    async def _verify(self, move: DiskMove) -> tuple[str, bool]:
        there = await self._described(self._target, move.destination or "")
        here = move
        if move.source_pool is not None:
            here = await self._as_now(move)
        same = there is not None and (there.format, there.virtual_bytes) == (
            here.format,
            here.virtual_bytes,
        )
        first = self._compared(here, there, same)
        checked = await self._checked(move)
        not_proven = (
            f"the copy on {self._target.name} is in use: neither its own check nor a comparison of"
            " contents was made"
        )
        room = await mirrored_room(self._source, self._target, move)
        return f"{move.target}: {first}; {checked}; {not_proven}{room}", same

    async def _as_now(self, move: DiskMove) -> DiskMove:
        """As the source's image is now, where libvirt there tells."""
        found = await self._described(self._source, move.source)
        if found is None:
            return move
        return replace(move, format=found.format, virtual_bytes=found.virtual_bytes)

    def _compared(self, here: DiskMove, there: volumes.Volume | None, same: bool) -> str:
        source, target = self._source.name, self._target.name
        if there is None:
            return f"{target} did not say what its image is like"
        if same:
            size = memory(there.virtual_bytes)
            return f"{there.format}, {size} virtual on both {source} and {target}"
        return (
            f"THE IMAGES DIFFER: {here.format}, {here.virtual_bytes} bytes on {source},"
            f" {there.format}, {there.virtual_bytes} on {target}"
        )

    async def _described(self, host: HostWatch, path: str) -> volumes.Volume | None:
        try:
            return await host.call(
                lambda conn: volumes.describe(conn, path), DESCRIBE_LIMIT_S, f"describe {path}"
            )
        except FerryError as error:
            log.info("describing %s on %s: %s", path, host.name, error)
            return None

    async def _checked(self, move: DiskMove) -> str:
        """qemu-img's word on the image at the source, which nobody uses any more."""
        name, shell = self._source.name, self._source.shell
        if shell is None:
            return f"{name}'s image was not checked: there is no SSH to it"
        try:
            found = await check_image(shell, move.source, move.format, CHECK_LIMIT_S)
        except FerryError as error:
            return f"{name}'s image was not checked ({error.sentence.rstrip('.')})"
        return f"{name}'s image {found.words}"

    async def _remove(self, move: DiskMove) -> str:
        """Remove one; why not, as a sentence's part."""
        uuid = self._told.state.uuid
        _, at_source, at_target = await ask_both(self._before, uuid, self._source, self._target)
        may_rest = self._told.state.mode is Mode.COLD
        if not _safely_away(at_source, at_target, may_rest):
            return f"{self._target.name} was not seen to hold {self._before.vm} alone"
        return await remove_image(self._told, self._source, move)


async def remove_image(told: Told, host: HostWatch, move: DiskMove) -> str:
    """Remove an old image, as was asked; why not, as a sentence's part."""
    path = move.source
    if move.device:
        return "it is a block device, which is never removed"
    if why := await needed_by(host, path):
        return why
    try:
        await host.call(
            lambda conn: volumes.delete_image(conn, path), REMOVE_LIMIT_S, f"remove {path}"
        )
    except FerryError as error:
        return error.sentence.rstrip(".")
    told.note("volume", f"{move.target}: removed {path} on {host.name}, as asked")
    return ""


def not_removed(host: str, move: DiskMove, why: str) -> str:
    """An old image that was to be removed, as a leftover."""
    if move.device:
        return f"{move.source} on {host}: {why}; see yourself what becomes of it"
    by_hand = f"{'virsh vol-delete' if move.source_pool else 'rm'} {word(move.source)}"
    return f"{move.source} on {host} was not removed ({why}): {by_hand} there"


def _safely_away(source: End | None, target: End | None, may_rest: bool = False) -> bool:
    """The source has nothing of the VM; the target holds it (or, `may_rest`, has it stored) and
    no job runs on it."""
    return (
        source is not None
        and source.absent
        and target is not None
        and (target.active or (may_rest and target.defined))
        and target.job is None
        and not target.in_post_copy
    )
