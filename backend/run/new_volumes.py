"""The volumes a migration makes at its target: each recorded before it exists, and taken away
again if the VM stays.

Only what libvirt said it created is ever removed: it refuses to create over a file that is
there, and a volume whose creation was not answered may be somebody else's.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from backend.errors import FerryError, HostUnreachable, word
from backend.fleet.host import HostWatch
from backend.hypervisor import domains, volumes
from backend.hypervisor.connection import Connection
from backend.model import DiskMove, NewVolume, VolumeState
from backend.plan.wording import memory
from backend.remote.images import file_stamp
from backend.remote.shell import Shell, run_script
from backend.run.mirrors import copied
from backend.run.steps import to_its_end
from backend.run.told import Told

log = logging.getLogger(__name__)

CREATE_LIMIT_S = 60.0
RENAME_LIMIT_S = 30.0
REFRESH_LIMIT_S = 60.0
REMOVE_LIMIT_S = 60.0

_EXISTS = 17
# A hard link is refused where the name is taken; `mv` would replace what lies there.
_RENAME = r"""
export LC_ALL=C
[ ! -e "$2" ] || exit 17
ln -- "$1" "$2" || { [ ! -e "$2" ] || exit 17; exit 1; }
rm -f -- "$1"
"""


class NewVolumes:
    """The target's volumes of one migration."""

    def __init__(
        self,
        told: Told,
        target: HostWatch,
        delete: Callable[[Connection, str, NewVolume], None] | None = None,
    ) -> None:
        """`delete(connection, uuid, volume)` removes one, or raises FerryError while it may be in
        use; None: as befits a target that the VM did not come to."""
        self._told = told
        self._target = target
        self._delete = delete or _remove_unused

    async def create(self) -> None:
        """All of them, one after the other. Raises FerryError at the first that cannot be."""
        for move in copied(self._told.state.moves):
            if self._told.state.abort_asked:
                return
            await self._create(move)

    async def _create(self, move: DiskMove) -> None:
        pool, name = move.pool or "", move.volume or ""
        volume = NewVolume(move.target, self._target.name, pool, name, move.destination or "")
        await self.make(volume, move.format, move.virtual_bytes or 0, move.cluster_bytes)

    async def make(
        self, volume: NewVolume, format: str, size: int, cluster_bytes: int | None = None
    ) -> None:
        """An empty sparse one of `size` bytes. Raises FerryError."""
        pool, name, path = volume.pool, volume.name, volume.path
        self._record(volume)
        await self._told.kept()
        self._told.note(
            "volume",
            f"{volume.disk}: creating {path} on {self._target.name} (pool {pool},"
            f" {format}, {memory(size)})",
        )
        try:
            made = await to_its_end(
                self._target.call(
                    lambda conn: volumes.create(conn, pool, name, format, size, cluster_bytes),
                    CREATE_LIMIT_S,
                    f"create the volume {name}",
                ),
                lambda: self._mark(path, VolumeState.CREATED),
            )
        except HostUnreachable:
            raise  # whether it exists now is not known: it stays `intended`
        except FerryError:
            self._mark(path, VolumeState.REFUSED)
            raise
        self._mark(path, VolumeState.CREATED)
        if made != path:
            raise FerryError(
                f"The pool {pool} of {self._target.name} put {name} at {made}, not at {path}.",
                "Plan again.",
            )

    async def rename(self, was: NewVolume, now: NewVolume) -> None:
        """Give a finished copy its name; never over a file that is there. Raises FerryError."""
        shell = self._target.shell
        if shell is None:
            raise FerryError(f"There is no SSH to {self._target.name} to rename {was.path}.")
        stamp = await file_stamp(shell, was.path)
        self._record(replace(now, inode=stamp.inode))
        await self._told.kept()
        await to_its_end(self._rename(shell, was, now))
        await self._target.call(
            lambda conn: volumes.refresh(conn, now.pool), REFRESH_LIMIT_S, "look at its pool anew"
        )

    async def _rename(self, shell: Shell, was: NewVolume, now: NewVolume) -> None:
        done = await run_script(shell, _RENAME, was.path, now.path, timeout_s=RENAME_LIMIT_S)
        if done.exit_status != 0:
            if done.exit_status == _EXISTS:
                self._mark(now.path, VolumeState.REFUSED)
            said = " ".join(done.stderr.split())[:200] or "the name is taken"
            raise FerryError(
                f"{was.path} on {self._target.name} could not be renamed to {now.path}: {said}."
            )
        self._mark(now.path, VolumeState.CREATED)
        self._mark(was.path, VolumeState.REMOVED)

    async def remove(self, keep: Collection[str] = ()) -> tuple[str, ...]:
        """The VM stayed: take them away, but for the paths in `keep`. Returns what is left, each
        with how to remove it."""
        left: list[str] = []
        for volume in reversed(self._told.state.volumes):  # what lies on others goes first
            made = volume.state in (VolumeState.CREATED, VolumeState.INTENDED)
            if made and volume.path not in keep:
                left += await self._remove(volume)
        return tuple(left)

    def undecided(self) -> tuple[str, ...]:
        """Nobody knows where the VM is, or it is lost: both images may be needed."""
        made = (one for one in self._told.state.volumes if one.state is VolumeState.CREATED)
        return tuple(
            f"{one.path} on {one.host}, the copy of {one.disk}: keep it, and the source's, until"
            " you know which is whole"
            for one in made
        )

    async def _remove(self, volume: NewVolume) -> list[str]:
        by_hand = f"virsh vol-delete --pool {word(volume.pool)} {word(volume.name)} there"
        if volume.state is VolumeState.INTENDED and not await self._is_ours(volume):
            return [
                f"{volume.path} on {volume.host} may have been created by this migration:"
                f" look at it, then {by_hand}"
            ]
        uuid, delete = self._told.state.uuid, self._delete
        try:
            await self._target.call(
                lambda conn: delete(conn, uuid, volume),
                REMOVE_LIMIT_S,
                f"remove the volume {volume.name}",
            )
        except FerryError as error:
            log.warning("removing %s on %s: %s", volume.path, volume.host, error)
            return [f"{volume.path} on {volume.host} (unfinished copy): {by_hand}"]
        self._mark(volume.path, VolumeState.REMOVED)
        self._told.note("volume", f"{volume.disk}: removed {volume.path} on {volume.host}")
        return []

    async def _is_ours(self, volume: NewVolume) -> bool:
        """One whose making was not answered: by its name, which only this move gives, or because
        the file is the one that was to be renamed."""
        if volume.name.endswith(f".part-{self._told.state.id}"):
            return True
        shell = self._target.shell
        if volume.inode is None or shell is None:
            return False
        try:
            return (await file_stamp(shell, volume.path)).inode == volume.inode
        except FerryError:
            return False

    def _record(self, volume: NewVolume) -> None:
        self._told.update(volumes=(*self._told.state.volumes, volume))

    def _mark(self, path: str, state: VolumeState) -> None:
        self._told.update(
            volumes=tuple(
                replace(one, state=state) if one.path == path else one
                for one in self._told.state.volumes
            )
        )


def _remove_unused(conn: Connection, uuid: str, volume: NewVolume) -> None:
    """Refused while a QEMU there holds the VM: it would lose its disk."""
    if domains.presence(conn, uuid).active:
        raise FerryError("That host still holds the VM.", "Look at both hosts.")
    volumes.delete(conn, volume.pool, volume.name, volume.path)
