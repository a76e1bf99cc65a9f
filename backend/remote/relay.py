"""Bytes from a socket on one host to a socket on another, through this process.

Only as much is held in memory as the channels' windows allow, in each direction.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh

from backend.errors import FerryError
from backend.remote.process import AnyHost, Reader, Writer, offer_socket, open_socket

_PIECE_BYTES = 256 * 1024


@asynccontextmanager
async def relay(source: AnyHost, offered: str, target: AnyHost, opened: str) -> AsyncIterator[None]:
    """Offer a UNIX socket at the source that leads to one at the target, encrypted by SSH.

    Raises:
        HostUnreachable: It cannot be offered there, or the connection is lost.
    """
    running: set[asyncio.Task[Any]] = set()

    async def carry(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await _join(reader, writer, target, opened)
        finally:
            running.discard(task)
            writer.close()

    async with offer_socket(source, offered, carry):
        try:
            yield
        finally:
            for task in running:
                task.cancel()


async def _join(reader: Reader, writer: Writer, target: AnyHost, path: str) -> None:
    with contextlib.suppress(FerryError, asyncssh.Error, OSError):
        far_reader, far_writer = await open_socket(target, path)
        try:
            ways = [
                asyncio.ensure_future(_pump(reader, far_writer)),
                asyncio.ensure_future(_pump(far_reader, writer)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
        finally:
            far_writer.close()


async def _pump(reader: Reader, writer: Writer) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()
