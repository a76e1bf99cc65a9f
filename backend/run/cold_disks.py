"""The disks of a VM that does not run: each copied under a temporary name, flushed, compared by
a hash at both ends, and only then given its name.

Image files travel as they are, byte for byte: whatever they hold (snapshots of their own,
compressed clusters, saved memory beyond the virtual size) arrives.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from backend.errors import CopyFailed, HypervisorError
from backend.fleet.host import HostWatch
from backend.model import CopyRoute, DiskMove, DiskProgress, NewVolume, Outlook, Word
from backend.plan.wording import memory, rate, seconds
from backend.remote.digest import same_content, same_guest_content
from backend.remote.image_copy import CopyOrder, ImageCopy
from backend.remote.images import check_image, name_below
from backend.remote.process import AnyHost
from backend.remote.shell import LocalShell
from backend.remote.ssh import SshHost
from backend.run.chain_images import OneImage, images_of
from backend.run.copied_room import FLATTENED, room_words
from backend.run.disk_samples import DiskSamples
from backend.run.link_wait import Waits
from backend.run.mirrors import NEARLY, copied
from backend.run.new_volumes import NewVolumes
from backend.run.sampling import DiskPace
from backend.run.told import Told

TELL_EVERY_S = 0.5


class ColdDisks:
    """Copies the images of one VM, one after the other."""

    def __init__(
        self,
        told: Told,
        source: HostWatch,
        target: HostWatch,
        route: CopyRoute,
        address: str,
        volumes: NewVolumes,
        samples: DiskSamples,
        link_free: Waits | None = None,
    ) -> None:
        """`address`: what the source calls the target; `link_free`: awaited before an image is
        sent."""
        self._told = told
        self._source = source
        self._target = target
        self._route = route
        self._address = address
        self._volumes = volumes
        self._samples = samples
        self._link_free = link_free
        self._copy: ImageCopy | None = None
        self._told_at_s = 0.0
        self.sentences: tuple[str, ...] = ()
        """Of each disk, what was proven."""

    @property
    def sent_bytes(self) -> int:
        """Copied so far, holes included where they had to be looked at."""
        return sum(one.done_bytes for one in self._told.state.disks)

    async def copy(self) -> None:
        """All of them. Raises FerryError at the first that fails; cancelling ends it at once."""
        moves = copied(self._told.state.moves)
        self._told.update(disks=tuple(DiskProgress(move.target) for move in moves))
        for move in moves:
            await self._one(move)

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Of the copy that runs, and of those to come (from the state). Raises FerryError."""
        if self._copy is not None:
            await self._copy.set_bandwidth(rate_bytes_s)

    async def _one(self, move: DiskMove) -> None:
        for image in images_of(move):
            if image.found:
                await self._same(image)
            else:
                await self._image(image, chained=bool(move.layers))
        self._further(move.target, progress=1.0, rate_bytes_s=None)

    async def _same(self, image: OneImage) -> None:
        """What is there already may be used only if it holds the same. Raises CopyFailed."""
        here = (_host(self._source), (image.source, image.format))
        there = (_host(self._target), (image.destination, image.format))
        try:
            await same_guest_content(*here, *there, self._teller(image, image.virtual_bytes))
        except CopyFailed as error:
            raise CopyFailed(
                f"{image.destination} on {self._target.name}, which was there already, cannot be"
                f" used for {image.disk}: {error.sentence}",
                f"Choose another pool: --disk {image.disk}=POOL, or one image: --flatten",
            ) from None
        self._proven(f"{image.label}: {image.destination}, which was there, holds the same")

    async def _image(self, image: OneImage, chained: bool) -> None:
        name, suffix = image.volume, f".part-{self._told.state.id}"
        final = NewVolume(image.disk, self._target.name, image.pool, name, image.destination)
        part = replace(final, name=name + suffix, path=final.path + suffix)
        await self._sound(image)
        if image.flattened:
            await self._volumes.make(part, "qcow2", image.virtual_bytes)
        else:
            # Its length alone counts: the bytes bring their format with them.
            await self._volumes.make(part, "raw", image.length_bytes)
        not_reserved = await self._copied(image, part.path)
        await self._verified(image, part.path, chained, not_reserved)
        await self._volumes.rename(part, final)

    async def _sound(self, image: OneImage) -> None:
        """An image that is broken already is not copied, so that nobody blames the copy."""
        found = await check_image(_host(self._source), image.source, image.format)
        if not found.clean:
            raise HypervisorError(
                f"{image.source} on {self._source.name} is damaged: qemu-img check finds"
                f" {found.corruptions} corruptions.",
                "Nothing was copied. Repair it, or restore it from a backup, and plan again.",
            )

    async def _copied(self, image: OneImage, path: str) -> str:
        """Why the room that it has reserved was not, if so."""
        state = self._told.state
        order = CopyOrder(
            source_path=image.source,
            target_path=path,
            encrypted=state.encrypted is not False,
            route=self._route,
            target_address=self._address,
            source_format=image.format,
            flatten=image.flattened,
            bandwidth_bytes_s=state.bandwidth_bytes_s,
        )
        take = self._taker(image)
        ends = (_host(self._source), _host(self._target))
        self._copy = copy = ImageCopy(*ends, order, take, self._link_free)
        try:
            await copy.run()
        finally:
            self._copy = None
        return copy.not_reserved

    def _taker(self, image: OneImage) -> Callable[[int, int], None]:
        pace, before = DiskPace(), self._done_bytes(image.disk)
        to_come = self._to_come_bytes(image)

        def take(done: int, total: int) -> None:
            now_s = time.monotonic()
            rate_bytes_s = pace.take(now_s - self._told.zero, done)
            if now_s - self._told_at_s < TELL_EVERY_S and done < total:
                return
            self._told_at_s = now_s
            done, total = before + done, before + total + to_come
            self._further(
                image.disk,
                done_bytes=done,
                total_bytes=total,
                rate_bytes_s=rate_bytes_s,
                progress=min(NEARLY, done / total) if total else NEARLY,
            )
            self._sample(now_s - self._told.zero)
            self._say(copying_words(image.disk, done, total, rate_bytes_s))

        return take

    def _done_bytes(self, disk: str) -> int:
        return next((one.done_bytes for one in self._told.state.disks if one.target == disk), 0)

    def _to_come_bytes(self, image: OneImage) -> int:
        """Of the images of that disk that come after this one."""
        move = next(one for one in self._told.state.moves if one.target == image.disk)
        images = images_of(move)
        after = images[images.index(image) + 1 :]
        return sum(one.allocated_bytes for one in after if not one.found)

    def _sample(self, t_s: float) -> None:
        """Of all disks together; of those to come what they have in use."""
        known = {one.target: one.total_bytes for one in self._told.state.disks}
        moves = copied(self._told.state.moves)
        total = sum(known.get(one.target) or one.allocated_bytes or 0 for one in moves)
        self._samples.take(t_s, self.sent_bytes, total)

    async def _verified(self, image: OneImage, path: str, chained: bool, not_reserved: str) -> None:
        """Raises CopyFailed where they are not equal."""
        here, there = _host(self._source), _host(self._target)
        what = "all that the guest sees"
        if not image.flattened:
            tell = self._teller(image, image.length_bytes)
            await same_content(here, image.source, there, path, tell)
            what = "every byte"
        if image.below is not None:
            await name_below(there, path, image.below)
        if image.flattened or (image.top and chained):
            images = ((image.source, image.format), (path, image.copy_format))
            tell = self._teller(image, image.virtual_bytes)
            await same_guest_content(here, images[0], there, images[1], tell)
        whole = "; put on its chain there, so is all that the guest sees" * (image.top and chained)
        checked = await self._checked(image, path)
        more = FLATTENED if image.flattened else ""
        room = await room_words((here, image.source), (there, path), not_reserved, more)
        self._proven(f"{image.label}: {what} is equal {self._where}{whole}; {checked}{room}")

    def _teller(self, image: OneImage, total_bytes: int) -> Callable[[int], None]:
        def tell(at: int) -> None:
            done = min(100, 100 * at // (total_bytes or 1))
            self._say_now(f"{image.label}: comparing the hashes of both images, {done} %")

        return tell

    def _proven(self, sentence: str) -> None:
        self.sentences += (sentence,)
        self._told.note("verify", sentence)

    @property
    def _where(self) -> str:
        here, there = self._source.name, self._target.name
        if here == there:
            return "in the old and the new image (SHA-256 of both)"
        return f"on {here} and {there} (SHA-256 at both ends)"

    async def _checked(self, image: OneImage, path: str) -> str:
        found = await check_image(_host(self._target), path, image.copy_format)
        if not found.clean:
            raise CopyFailed(f"{path} on {self._target.name} {found.words}.", "Move it again.")
        return f"the copy {found.words}"

    def _further(self, target: str, **fields: object) -> None:
        self._told.update(
            disks=tuple(
                _never_back(one, replace(one, **fields))  # type: ignore[arg-type]
                if one.target == target
                else one
                for one in self._told.state.disks
            )
        )

    def _say_now(self, reason: str) -> None:
        """At most twice a second."""
        now_s = time.monotonic()
        if now_s - self._told_at_s >= TELL_EVERY_S:
            self._told_at_s = now_s
            self._say(reason)

    def _say(self, reason: str) -> None:
        self._told.update(outlook=Outlook(Word.COPYING_DISK, reason))


def copying_words(target: str, done: int, total: int, rate_bytes_s: float | None) -> str:
    """How far the copy of a disk is, as the reason of the big line."""
    said = f"{target}: {memory(max(0, total - done))} of {memory(total)} left"
    if not rate_bytes_s:
        return f"{said}; measuring"
    return f"{said}, at {rate(rate_bytes_s)}: about {seconds((total - done) / rate_bytes_s)}"


def _never_back(was: DiskProgress, now: DiskProgress) -> DiskProgress:
    return replace(
        now,
        done_bytes=max(was.done_bytes, now.done_bytes),
        total_bytes=max(was.total_bytes, now.total_bytes),
        progress=max(was.progress, now.progress),
    )


def _host(host: HostWatch) -> AnyHost:
    shell = host.shell
    if not isinstance(shell, SshHost | LocalShell):
        raise HypervisorError(
            f"Images cannot be copied: there is no SSH to {host.name}.",
            "Give the host an `ssh` in the fleet file.",
        )
    return shell
