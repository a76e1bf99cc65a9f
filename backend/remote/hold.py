"""QEMU's image locks of files on a host, held: no VM can start on them meanwhile."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from backend.errors import CopyFailed
from backend.remote.daemon import QmpRefused, StorageDaemon, storage_daemon
from backend.remote.images import absolute, file_stamp
from backend.remote.nodes import Node, file_node, format_node, lock_node, part_node
from backend.remote.process import AnyHost, own_connection


class Hold:
    """Locks that are held until the block ends, we die, or the connection is lost."""

    def __init__(self, daemon: StorageDaemon) -> None:
        self._daemon = daemon

    @property
    def held(self) -> bool:
        """False: the host may have let go of them; look before you trust."""
        return not self._daemon.over

    async def wait_lost(self) -> None:
        """Returns when they are no longer held for sure."""
        await self._daemon.wait_over()


@asynccontextmanager
async def hold(host: AnyHost, paths: Sequence[str]) -> AsyncIterator[Hold]:
    """Hold the locks of these files for the length of the block; others may still read them.

    When the connection is cut, the host lets go by itself within 23 s (`Hold.wait_lost`).

    Raises:
        CopyFailed: One of them is in use, or is not there.
        HostUnreachable: The host does not answer.
    """
    async with own_connection(host) as own, storage_daemon(own) as daemon:
        for number, path in enumerate(paths):
            stamp = await file_stamp(own, absolute(path))
            name, device = f"file{number}", stamp.is_block_device
            await lock_file(daemon, name, path, block_device=device)
        yield Hold(daemon)


async def lock_file(
    daemon: StorageDaemon, name: str, path: str, *, block_device: bool = False
) -> None:
    """Lock a file, with nodes that begin with `name`. Raises CopyFailed."""
    try:
        await add_node(daemon, file_node(f"{name}-held", path, block_device=block_device))
        await add_node(daemon, lock_node(f"{name}-lock", f"{name}-held"))
    except QmpRefused as error:
        if "lock" not in error.said:
            raise CopyFailed(f"{path} on {daemon.host} cannot be read: {error.said}.") from None
        raise CopyFailed(
            f"{path} on {daemon.host} is in use: a VM or another program has it open for writing.",
            "Shut that VM down, or wait until the program is done.",
        ) from None


async def add_image(
    daemon: StorageDaemon,
    name: str,
    path: str,
    format: str | None = None,
    *,
    size_bytes: int | None = None,
    writable: bool = False,
    block_device: bool = False,
) -> None:
    """Open a file as node `name`, or what a guest sees in it, or the beginning of it.

    Past the cache, where the file system can do that.

    Raises:
        QmpRefused: It cannot be opened.
    """

    whole = format is None and size_bytes is None

    async def add(past_cache: bool) -> None:
        node = file_node(
            name if whole else f"{name}-file",
            path,
            writable=writable,
            block_device=block_device,
            past_cache=past_cache,
        )
        if format is not None:
            node = format_node(name, format, node, writable=writable)
        elif size_bytes is not None:
            node = part_node(name, node, size_bytes, writable=writable)
        await add_node(daemon, node)

    try:
        await add(past_cache=True)
    except QmpRefused:
        await add(past_cache=False)


async def add_node(daemon: StorageDaemon, node: Node, limit_s: float = 30.0) -> None:
    """blockdev-add. Raises QmpRefused and what StorageDaemon.call raises."""
    await daemon.call("blockdev-add", limit_s, **node)
