"""Copying one image from host to host (or within one), with QEMU's storage daemon at both ends.

The file is copied byte for byte: formats, snapshots, compressed clusters, headers stay as they
are, holes stay holes. Only `flatten` reads through the format and writes what a guest sees.
The target's daemon serves the file over NBD (TLS, an unguessable name), the source's daemon
mirrors into it. Where the source does not reach the target, the bytes go through us over SSH.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from backend.errors import CopyFailed
from backend.model import CopyRoute
from backend.remote.copy_job import CopyJob, Reach, granularity_bytes
from backend.remote.daemon import QmpRefused, StorageDaemon, storage_daemon
from backend.remote.hold import add_image, lock_file
from backend.remote.images import (
    DataMap,
    FileStamp,
    absolute,
    copy_tail,
    data_map,
    file_stamp,
    image_facts,
    set_length,
    sync_file,
)
from backend.remote.nbd_link import (
    add_credentials,
    answers,
    connect,
    export_node,
    serve,
    serve_on_free_port,
)
from backend.remote.nodes import inet, nbd_node, unix
from backend.remote.process import AnyHost, own_connection, together
from backend.remote.relay import relay
from backend.remote.reserved import keep_reserved

BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """What is to be copied, and how."""

    source_path: str
    target_path: str
    """A file that is there already, of any length, empty as far as its content matters; flatten:
    an image of `target_format` with the source's virtual size."""
    encrypted: bool = True
    """With TLS when the route is direct; a relay is always encrypted, by SSH."""
    route: CopyRoute = CopyRoute.DIRECT
    target_address: str = ""
    """How the source reaches the target: a name or address that the target's certificate has."""
    flatten: bool = False
    """Copy what a guest sees, backing images included, instead of the file."""
    source_format: str = "raw"
    """For `flatten`, and for knowing where data lies."""
    target_format: str = "qcow2"
    """For `flatten`."""
    bandwidth_bytes_s: int | None = None


@dataclass(frozen=True, slots=True)
class _Ends:
    """Both hosts, each over a connection of the copy's own, and the daemons there."""

    source: AnyHost
    reading: StorageDaemon
    target: AnyHost
    writing: StorageDaemon


class ImageCopy:
    """One copy; `run` it once."""

    def __init__(
        self,
        source: AnyHost,
        target: AnyHost,
        order: CopyOrder,
        on_progress: Callable[[int, int], None],
        link_free: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`on_progress(done, total)`: bytes of data, without holes; never falling. `link_free`:
        awaited when all is ready, before the first byte."""
        self._source = source
        self._target = target
        self._order = order
        self._on_progress = on_progress
        self._link_free = link_free
        self._rate_bytes_s = order.bandwidth_bytes_s
        self._job: CopyJob | None = None
        self.not_reserved = ""
        """Why room that the source's file has reserved was not reserved, as a sentence's part."""

    async def run(self) -> None:
        """Copy it; on return all of it is on the target's disk, and no process is left.

        Cancelling ends all processes at both ends. The file at the source is locked meanwhile
        (no VM can start on it), and never written to. What failed may leave part of the content
        in the target's file.

        Raises:
            CopyFailed: It was not copied; the sentence names the end that failed.
            HostUnreachable: One of the hosts does not answer.
        """
        absolute(self._order.source_path)
        absolute(self._order.target_path)
        local = self._order.route is CopyRoute.LOCAL
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            hosts = (self._source,) if local else (self._source, self._target)
            owns = await together(*(enter(own_connection(host)) for host in hosts))
            source, target = owns[0], owns[-1]
            before, there = await together(
                file_stamp(source, self._order.source_path),
                file_stamp(target, self._order.target_path),
            )
            await self._copy(source, target, before, there)
            await self._finish(source, target, before)

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Change its limit while it runs (or before); None: no limit.

        Raises:
            CopyFailed: QEMU refused.
            HostUnreachable: The source does not answer.
        """
        self._rate_bytes_s = rate_bytes_s
        if self._job is not None:
            await self._job.set_bandwidth(rate_bytes_s)

    # -- inside --------------------------------------------------------------------------------

    def _body_bytes(self, before: FileStamp) -> int | None:
        """What the mirror carries: past the cache only whole blocks can be written.

        The rest, less than a block, follows when it is done. None: flattened, all of it.
        """
        if self._order.flatten:
            return None
        return before.length_bytes // BLOCK_BYTES * BLOCK_BYTES

    async def _make_room(self, target: AnyHost, before: FileStamp, there: FileStamp) -> None:
        body = self._body_bytes(before)
        if there.is_block_device and there.length_bytes < before.length_bytes:
            raise CopyFailed(
                f"{self._order.target_path} on {target.name} holds {there.length_bytes} bytes, "
                f"{before.length_bytes} are needed."
            )
        if body is not None and not there.is_block_device and there.length_bytes != body:
            await set_length(target, self._order.target_path, body)

    async def _copy(
        self, source: AnyHost, target: AnyHost, before: FileStamp, there: FileStamp
    ) -> None:
        if self._body_bytes(before) == 0:
            await self._make_room(target, before, there)
            return
        local = self._order.route is CopyRoute.LOCAL
        async with AsyncExitStack() as stack:
            enter, reach = stack.enter_async_context, None
            hosts = (source,) if local else (source, target)
            data, _, *daemons = await together(
                self._data_map(source, before),
                self._make_room(target, before, there),
                *(enter(storage_daemon(host)) for host in hosts),
            )
            reading, writing = daemons[0], daemons[-1]
            await together(
                self._open_source(reading, before), self._open_target(writing, before, there)
            )
            if not local:
                reach = await self._connect(stack, _Ends(source, reading, target, writing))
            order = self._order
            job = CopyJob(reading, writing, order.source_path, order.target_path, reach)
            if self._link_free is not None:
                await self._link_free()
            await self._mirror(job, data)

    async def _data_map(self, source: AnyHost, before: FileStamp) -> DataMap:
        order = self._order
        if not order.flatten:
            return await data_map(source, order.source_path, "raw", before.length_bytes)
        facts = await image_facts(source, order.source_path, order.source_format)
        return await data_map(source, facts.path, facts.format, facts.virtual_bytes)

    async def _open_source(self, daemon: StorageDaemon, before: FileStamp) -> None:
        path, device = self._order.source_path, before.is_block_device
        await lock_file(daemon, "source", path, block_device=device)
        format = self._order.source_format if self._order.flatten else None
        try:
            body = self._body_bytes(before)
            size = None if body == before.length_bytes else body
            await add_image(daemon, "source", path, format, size_bytes=size, block_device=device)
        except QmpRefused as error:
            raise CopyFailed(f"{path} on {daemon.host} cannot be read: {error.said}.") from None

    async def _open_target(
        self, daemon: StorageDaemon, before: FileStamp, there: FileStamp
    ) -> None:
        order, device = self._order, there.is_block_device
        size = self._body_bytes(before) if device else None
        name = "target" if order.route is CopyRoute.LOCAL else "served"
        path, format = order.target_path, order.target_format if order.flatten else None
        try:
            await add_image(
                daemon, name, path, format, size_bytes=size, writable=True, block_device=device
            )
        except QmpRefused as error:
            raise CopyFailed(
                f"{path} on {daemon.host} cannot be written: {error.said}.",
                "See that nothing else uses that file.",
            ) from None

    async def _connect(self, stack: AsyncExitStack, ends: "_Ends") -> Reach | None:
        """Serve the file at the target and open it at the source, as node `target`."""
        if self._order.route is CopyRoute.RELAY:
            await self._connect_relayed(stack, ends)
            return None
        order, encrypted = self._order, self._order.encrypted
        if encrypted:
            await together(
                add_credentials(ends.writing, ends.target, "server"),
                add_credentials(ends.reading, ends.source, "client"),
            )
        port = await serve_on_free_port(ends.writing, encrypted)
        export = await export_node(ends.writing)
        node = nbd_node("target", inet(order.target_address, port), export, encrypted=encrypted)
        await connect(ends.reading, ends.writing, node)
        return lambda: answers(ends.source, order.target_address, port)

    async def _connect_relayed(self, stack: AsyncExitStack, ends: "_Ends") -> None:
        here, there = f"{ends.reading.directory}/nbd", f"{ends.writing.directory}/nbd"
        await serve(ends.writing, unix(there), encrypted=False)
        export = await export_node(ends.writing)
        await stack.enter_async_context(relay(ends.source, here, ends.target, there))
        node = nbd_node("target", unix(here), export, encrypted=False)
        await connect(ends.reading, ends.writing, node)

    async def _mirror(self, job: CopyJob, data: DataMap) -> None:
        rate = self._rate_bytes_s
        await job.start(granularity_bytes(data), rate)
        self._job = job
        try:
            if self._rate_bytes_s != rate:
                await job.set_bandwidth(self._rate_bytes_s)
            await job.follow(lambda offset: self._tell(data, offset))
        finally:
            self._job = None
        self._on_progress(data.data_bytes, data.data_bytes)

    def _tell(self, data: DataMap, offset: int) -> None:
        self._on_progress(data.before(offset), data.data_bytes)

    async def _settle(self, source: AnyHost, target: AnyHost, before: FileStamp) -> None:
        body, path = self._body_bytes(before), self._order.target_path
        if body is not None and body < before.length_bytes:
            tail = (body, before.length_bytes - body)
            await copy_tail(source, self._order.source_path, target, path, tail)
        await sync_file(target, path)
        if body is not None:
            self.not_reserved = await keep_reserved(source, self._order.source_path, target, path)

    async def _finish(self, source: AnyHost, target: AnyHost, before: FileStamp) -> None:
        after, _ = await together(
            file_stamp(source, self._order.source_path), self._settle(source, target, before)
        )
        if after != before:
            raise CopyFailed(
                f"{self._order.source_path} on {source.name} was changed while it was copied.",
                "Find out what writes to it, then move again.",
            )
