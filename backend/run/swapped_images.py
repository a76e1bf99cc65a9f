"""After disks have moved between pools: what the new images are worth, what becomes of the old."""

import logging
from collections.abc import Callable

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import volumes
from backend.hypervisor.volumes import Volume
from backend.model import DiskMove
from backend.plan.wording import memory
from backend.remote.images import ImageCheck, check_image
from backend.run.copied_room import mirrored_room
from backend.run.mirrors import copied
from backend.run.old_images import CHECK_LIMIT_S, DESCRIBE_LIMIT_S, not_removed, remove_image
from backend.run.told import Told

log = logging.getLogger(__name__)

TRIES = 3
"""The new image changes while it is checked: only what is found each time counts."""

_NOT_PROVEN = (
    "the contents were not compared (the VM writes on): QEMU's word that the copy had everything,"
    " and got every write, is all there is"
)


class SwappedImages:
    """The images of one storage move, once the VM is seen to be on the new ones."""

    def __init__(
        self,
        told: Told,
        host: HostWatch,
        proven: Callable[[], tuple[str, ...]] | None = None,
    ) -> None:
        """`proven()`: what was shown of each image before it was used; None: nothing could be."""
        self._told = told
        self._host = host
        self._proven = proven
        self.sentences: tuple[str, ...] = ()
        """Of each disk, what was proven and what not."""
        self.kept: tuple[str, ...] = ()

    async def finish(self, may_remove: bool) -> tuple[str, ...]:
        """Check them all, then keep or remove the old ones; what is left to do."""
        left: list[str] = []
        sentences, kept = list(self._proven() if self._proven else ()), []
        remove = self._told.state.remove_source
        for move in copied(self._told.state.moves):
            same = self._proven is not None
            if not same:
                sentence, same = await self._verify(move)
                sentences.append(sentence)
            problem = "" if same else "the new image could not be shown to be equal to it"
            problem = problem or ("" if may_remove else "the VM is not seen to be on the new one")
            if remove:
                problem = problem or await remove_image(self._told, self._host, move)
                left += [not_removed(self._host.name, move, problem)] if problem else []
            if problem or not remove:
                kept.append(f"kept: {move.source} on {self._host.name}")
        self.sentences, self.kept = tuple(sentences), tuple(kept)
        return tuple(left)

    async def _verify(self, move: DiskMove) -> tuple[str, bool]:
        """One disk's sentence, and whether the old image is no longer needed."""
        new, old = await self._described(move.destination or ""), await self._described(move.source)
        # An image outside of every pool is known from the plan alone.
        old = old or Volume(move.source, move.format, move.virtual_bytes or 0, 0)
        same = new is not None and _alike(new, old)
        said = [_compared(new, old)]
        if move.format == "qcow2":
            words, sound = await self._checked(move, move.destination or "", True)
            said.append(f"the new image {words}")
            same = same and sound
            said.append(f"the old image {(await self._checked(move, move.source, False))[0]}")
        else:
            said.append(f"{move.format} has nothing that qemu-img could check")
        room = await mirrored_room(self._host, self._host, move)
        return f"{move.target}: {'; '.join(said)}; {_NOT_PROVEN}{room}", same

    async def _described(self, path: str) -> Volume | None:
        try:
            return await self._host.call(
                lambda conn: volumes.describe(conn, path), DESCRIBE_LIMIT_S, f"describe {path}"
            )
        except FerryError as error:
            log.info("describing %s on %s: %s", path, self._host.name, error)
            return None

    async def _checked(self, move: DiskMove, path: str, in_use: bool) -> tuple[str, bool]:
        """qemu-img's word on an image; False when it found it damaged each time."""
        shell, found = self._host.shell, ImageCheck()
        if shell is None:
            return f"was not checked: there is no SSH to {self._host.name}", True
        for _ in range(TRIES if in_use else 1):
            try:
                found = await check_image(shell, path, move.format, CHECK_LIMIT_S, in_use=in_use)
            except FerryError as error:
                return f"was not checked ({error.sentence.rstrip('.')})", True
            if not found.corruptions:
                return found.words, True
        return found.words, False


def _alike(new: Volume, old: Volume) -> bool:
    return (new.format, new.virtual_bytes) == (old.format, old.virtual_bytes)


def _compared(new: Volume | None, old: Volume) -> str:
    if new is None:
        return "its host did not say what the new image is like"
    if _alike(new, old):
        return f"both images are {new.format} of {memory(new.virtual_bytes)}"
    return (
        f"THE IMAGES DIFFER: {old.format}, {old.virtual_bytes} bytes before,"
        f" {new.format}, {new.virtual_bytes} now"
    )
