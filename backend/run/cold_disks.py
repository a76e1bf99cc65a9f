"""The disks of a VM that does not run: each copied under a temporary name, flushed, compared by
a hash at both ends, and only then given its name.

Image files travel as they are, byte for byte: whatever they hold (snapshots of their own,
compressed clusters, saved memory beyond the virtual size) arrives.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from backend.errors import HypervisorError
from backend.fleet.host import HostWatch
from backend.model import CopyRoute, DiskMove, DiskProgress, NewVolume, Outlook, Word
from backend.plan.wording import memory, rate, seconds
from backend.remote.digest import same_content, same_guest_content
from backend.remote.image_copy import CopyOrder, ImageCopy
from backend.remote.images import check_image
from backend.remote.process import AnyHost
from backend.remote.shell import LocalShell
from backend.remote.ssh import SshHost
from backend.run.disk_samples import DiskSamples
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
    ) -> None:
        """`address`: what the source calls the target."""
        self._told = told
        self._source = source
        self._target = target
        self._route = route
        self._address = address
        self._volumes = volumes
        self._samples = samples
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
        state = self._told.state
        pool, name = move.pool or "", move.volume or ""
        final = NewVolume(move.target, self._target.name, pool, name, move.destination or "")
        suffix = f".part-{state.id}"
        part = replace(final, name=name + suffix, path=final.path + suffix)
        await self._sound(move)
        if move.flattened:
            await self._volumes.make(part, "qcow2", move.virtual_bytes or 0)
        else:
            # Its length alone counts: the bytes bring their format with them.
            await self._volumes.make(part, "raw", move.length_bytes or 0)
        await self._copied(move, part.path)
        await self._verified(move, part.path)
        await self._volumes.rename(part, final)
        self._further(move.target, progress=1.0, rate_bytes_s=None)

    async def _sound(self, move: DiskMove) -> None:
        """An image that is broken already is not copied, so that nobody blames the copy."""
        found = await check_image(_host(self._source), move.source, move.format)
        if not found.clean:
            raise HypervisorError(
                f"{move.source} on {self._source.name} is damaged: qemu-img check finds"
                f" {found.corruptions} corruptions.",
                "Nothing was copied. Repair it, or restore it from a backup, and plan again.",
            )

    async def _copied(self, move: DiskMove, path: str) -> None:
        state = self._told.state
        order = CopyOrder(
            source_path=move.source,
            target_path=path,
            encrypted=state.encrypted,
            route=self._route,
            target_address=self._address,
            source_format=move.format,
            flatten=move.flattened,
            bandwidth_bytes_s=state.bandwidth_bytes_s,
        )
        take = self._taker(move)
        self._copy = ImageCopy(_host(self._source), _host(self._target), order, take)
        try:
            await self._copy.run()
        finally:
            self._copy = None

    def _taker(self, move: DiskMove) -> Callable[[int, int], None]:
        pace = DiskPace()

        def take(done: int, total: int) -> None:
            now_s = time.monotonic()
            rate_bytes_s = pace.take(now_s - self._told.zero, done)
            if now_s - self._told_at_s < TELL_EVERY_S and done < total:
                return
            self._told_at_s = now_s
            progress = min(NEARLY, done / total) if total else NEARLY
            self._further(
                move.target,
                done_bytes=done,
                total_bytes=total,
                rate_bytes_s=rate_bytes_s,
                progress=progress,
            )
            self._sample(now_s - self._told.zero)
            self._say(copying_words(move.target, done, total, rate_bytes_s))

        return take

    def _sample(self, t_s: float) -> None:
        """Of all disks together; of those to come what they have in use."""
        known = {one.target: one.total_bytes for one in self._told.state.disks}
        moves = copied(self._told.state.moves)
        total = sum(known.get(one.target) or one.allocated_bytes or 0 for one in moves)
        self._samples.take(t_s, self.sent_bytes, total)

    async def _verified(self, move: DiskMove, path: str) -> None:
        """Raises CopyFailed where they are not equal."""
        total = (move.virtual_bytes if move.flattened else move.length_bytes) or 1

        def tell(at: int) -> None:
            done = min(100, 100 * at // total)
            self._say_now(f"{move.target}: comparing the hashes of both images, {done} %")

        here, there = _host(self._source), _host(self._target)
        if move.flattened:
            images = ((move.source, move.format), (path, "qcow2"))
            await same_guest_content(here, images[0], there, images[1], tell)
            what = "all that the guest sees"
        else:
            await same_content(here, move.source, there, path, tell)
            what = "every byte"
        self.sentences += (
            f"{move.target}: {what} is equal {self._where}; {await self._checked(move, path)}",
        )
        self._told.note("verify", self.sentences[-1])

    @property
    def _where(self) -> str:
        here, there = self._source.name, self._target.name
        if here == there:
            return "in the old and the new image (SHA-256 of both)"
        return f"on {here} and {there} (SHA-256 at both ends)"

    async def _checked(self, move: DiskMove, path: str) -> str:
        format = "qcow2" if move.flattened else move.format
        found = await check_image(_host(self._target), path, format)
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
