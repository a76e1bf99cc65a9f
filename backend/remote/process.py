"""A process on a host that lives long: lines in, lines out, over SSH or on this machine.

And the two ends of a relay: opening a UNIX socket on a host, and offering one there.
"""

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncssh

from backend.errors import FerryError, SshFault, from_ssh, plain
from backend.remote.shell import LocalShell, end_here, start_here
from backend.remote.ssh import SshHost

AnyHost = SshHost | LocalShell
"""A host with an SSH connection, or this machine."""

CONNECT_LIMIT_S = 15.0
LINE_LIMIT_BYTES = 1024 * 1024
WINDOW_BYTES = 4 * 1024 * 1024
"""What one relayed connection may have in flight, and with it the most that it holds in memory."""


class Reader(Protocol):
    """What asyncio's and asyncssh's readers have in common."""

    async def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes; b"" at the end."""
        ...


class Writer(Protocol):
    """What asyncio's and asyncssh's writers have in common."""

    def write(self, data: bytes) -> None:
        """Queue some."""
        ...

    async def drain(self) -> None:
        """Wait until there is room again."""
        ...

    def write_eof(self) -> None:
        """Nothing more comes."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


SocketHandler = Callable[[Any, Any], Awaitable[None]]
"""Called with a Reader and a Writer for each connection made to an offered socket."""


class Process:
    """A running process; its stderr is wherever its command sends it."""

    def __init__(
        self, host: str, reader: Reader, writer: Writer, kill: Callable[[], Awaitable[None]]
    ) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer
        self._kill = kill

    async def write(self, data: bytes) -> None:
        """Send to its standard input. Raises HostUnreachable when that is closed."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (asyncssh.Error, OSError) as error:
            raise from_ssh(self._host, SshFault.LOST, str(error)) from None

    async def lines(self) -> AsyncIterator[str]:
        """Its lines as they come, without their ends; over when it closed its output.

        A line of more than 1 MiB is cut into pieces. Errors of the connection end it too.
        """
        rest = b""
        with contextlib.suppress(asyncssh.Error, OSError):
            while chunk := await self._reader.read(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LINE_LIMIT_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    yield line.decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")

    def close_input(self) -> None:
        """End of file on its standard input."""
        with contextlib.suppress(asyncssh.Error, OSError, RuntimeError):
            self._writer.write_eof()

    async def close(self) -> None:
        """Give it up: close its channel (SSH), or kill it with its children (here)."""
        with contextlib.suppress(asyncssh.Error, OSError):
            await self._kill()


async def start(host: AnyHost, command: Sequence[str]) -> Process:
    """Start a command, given as a list of arguments.

    Raises:
        HostUnreachable: The connection is lost.
    """
    if isinstance(host, LocalShell):
        return await _start_here(host, command)
    try:
        process = await host.connection.create_process(shlex.join(command), encoding=None)
    except (asyncssh.Error, OSError) as error:
        raise from_ssh(host.name, SshFault.LOST, str(error)) from None

    async def close() -> None:
        process.close()

    return Process(host.name, process.stdout, process.stdin, close)


async def _start_here(host: LocalShell, command: Sequence[str]) -> Process:
    process = await start_here(*command)
    assert process.stdin is not None
    assert process.stdout is not None

    return Process(host.name, process.stdout, process.stdin, lambda: end_here(process))


@asynccontextmanager
async def own_connection(host: AnyHost) -> AsyncIterator[AnyHost]:
    """A connection to the same host that nothing else uses; this machine as it is.

    Raises:
        HostUnreachable: It cannot be made.
    """
    if isinstance(host, LocalShell):
        yield host
        return
    own = host.another()
    await own.connect(CONNECT_LIMIT_S)
    try:
        yield own
    finally:
        await asyncio.shield(own.close())


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """All results; when one fails the others are ended first, then its error is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def open_socket(host: AnyHost, path: str) -> tuple[Any, Any]:
    """Open a UNIX socket on a host: its Reader and Writer.

    Raises:
        HostUnreachable: Nothing listens there, or sshd forbids it, or the connection is lost.
    """
    try:
        if isinstance(host, LocalShell):
            return await asyncio.open_unix_connection(path)
        return await host.connection.open_unix_connection(path, encoding=None, window=WINDOW_BYTES)
    except (asyncssh.Error, OSError) as error:
        raise _no_socket(host, path, error) from None


@asynccontextmanager
async def offer_socket(host: AnyHost, path: str, handler: SocketHandler) -> AsyncIterator[None]:
    """Listen on a UNIX socket on a host (mode 0600) and hand each connection to `handler`.

    Raises:
        HostUnreachable: sshd forbids it (AllowStreamLocalForwarding), or the connection is lost.
    """
    listener: Any
    try:
        if isinstance(host, LocalShell):
            listener = await asyncio.start_unix_server(handler, path)
            os.chmod(path, 0o600)
        else:
            listener = await host.connection.start_unix_server(
                lambda: handler, path, encoding=None, window=WINDOW_BYTES
            )
    except (asyncssh.Error, OSError) as error:
        raise _no_socket(host, path, error) from None
    try:
        yield
    finally:
        listener.close()


def _no_socket(host: AnyHost, path: str, error: Exception) -> FerryError:
    found = from_ssh(host.name, SshFault.OTHER, f"the socket {path}: {plain(str(error))}")
    found.remedy = "Let sshd there forward sockets (AllowStreamLocalForwarding yes)."
    return found
