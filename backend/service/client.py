"""What the console and the command line use: a connection to the engine, started if need be.

`tui` takes everything it needs of `backend` from here, from `protocol` and from `model`.
"""

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import msgspec

from backend.errors import BadInput, EngineUnavailable, FerryError
from backend.service import paths
from backend.service.changes import difference, fold, whole
from backend.service.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL,
    Answer,
    Call,
    Change,
    Failed,
    FleetChoice,
    Hello,
    Publish,
    Reply,
    Request,
    Welcome,
    decode_from_engine,
    encode,
)
from backend.service.run_lock import only_run

__all__ = [
    "BadInput",
    "EngineClient",
    "EngineUnavailable",
    "FerryError",
    "difference",
    "fold",
    "only_run",
    "own_version",
    "start_engine",
    "whole",
]

START_TIMEOUT_S = 20.0
START_AGAIN_S = 2.0
HELLO_TIMEOUT_S = 10.0
_STOP = "Run `virt-ferry engine stop` and try again: running migrations go on in the hosts."


def own_version() -> str:
    """This program's version, as installed."""
    try:
        return version("virt-ferry")
    except PackageNotFoundError:
        return "unknown"


def start_engine() -> None:
    """Start an engine in a session of its own and wait until it listens.

    Of several started at once the lock lets one live; the others end at once, and that is fine.
    """
    read_end, write_end = os.pipe()
    try:
        # 0600 from its first moment: whatever the umask, no other command may refuse it.
        log = os.open(
            paths.log_path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            subprocess.Popen(
                [sys.executable, "-m", "backend.service", "--ready-fd", str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(write_end,),
                cwd="/",
            )
        finally:
            os.close(log)
        os.close(write_end)
        write_end = -1
        select.select([read_end], [], [], START_TIMEOUT_S)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


class EngineClient:
    """One connection to the engine. Made by `connect`; closing it changes nothing there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._seq = 0
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self._gone: FerryError | None = None
        self._task: asyncio.Task[None] | None = None
        self.engine_pid = 0

    @classmethod
    async def connect(cls, fleet: FleetChoice | None, *, start: bool = True) -> Self:
        """Connect, starting an engine when there is none. Raises EngineUnavailable, BadInput."""
        sock = await _connected_socket(paths.socket_path(), start)
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE_BYTES)
        client = cls(reader, writer)
        try:
            await client._hello(fleet)
        except BaseException:
            writer.close()
            raise
        client._task = asyncio.create_task(client._read(), name="engine-client")
        return client

    async def call(self, request: Request) -> Reply:
        """Send a request and wait for its reply; a `Failed` one is raised as FerryError."""
        if self._gone is not None:
            raise self._gone
        self._seq += 1
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[self._seq] = future
        self._writer.write(encode(Call(self._seq, request)) + b"\n")
        reply = await future
        if isinstance(reply, Failed):
            raise _as_error(reply)
        return reply

    async def changes(self) -> AsyncIterator[Change]:
        """What the engine publishes after a `Watch`; raises EngineUnavailable when it is gone."""
        while (change := await self._changes.get()) is not None:
            yield change
        if self._gone is not None:
            raise self._gone

    async def close(self) -> None:
        """Hang up."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _hello(self, fleet: FleetChoice | None) -> None:
        hello = Hello(PROTOCOL, own_version(), fleet, os.environ.get("SSH_AUTH_SOCK"))
        self._writer.write(encode(hello) + b"\n")
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                line = await self._reader.readline()
        except TimeoutError:
            raise EngineUnavailable(
                f"The engine did not answer within {HELLO_TIMEOUT_S:.0f} s.", _STOP
            ) from None
        if not line:
            raise EngineUnavailable(
                "The engine hung up: it is ending.", "Try again; the next command starts another."
            )
        try:
            reply = decode_from_engine(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise EngineUnavailable(
                "An engine of another version is running, and its language is not understood.",
                _STOP,
            ) from None
        if isinstance(reply, Failed):
            raise _as_error(reply)
        if not isinstance(reply, Welcome) or reply.version != own_version():
            theirs = reply.version if isinstance(reply, Welcome) else "unknown"
            raise EngineUnavailable(
                f"The running engine is version {theirs}, this is {own_version()}.", _STOP
            )
        self.engine_pid = reply.pid

    async def _read(self) -> None:
        reason = "The engine is gone."
        try:
            while line := await self._reader.readline():
                self._take(line)
        except (OSError, ValueError) as error:
            reason = f"The connection to the engine broke: {error}."
        except (msgspec.DecodeError, RecursionError):
            reason = "The engine said something that is not understood."
        finally:
            self._end(
                EngineUnavailable(
                    reason,
                    "Running migrations go on in the hosts; run `virt-ferry` again to see them.",
                )
            )

    def _take(self, line: bytes) -> None:
        message = decode_from_engine(line)
        if isinstance(message, Publish):
            self._changes.put_nowait(message.change)
        elif isinstance(message, Answer):
            future = self._waiting.pop(message.seq, None)
            if future is not None and not future.done():
                future.set_result(message.reply)

    def _end(self, error: FerryError) -> None:
        self._gone = error
        self._changes.put_nowait(None)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()


async def _connected_socket(path: Path, start: bool) -> socket.socket:
    deadline = time.monotonic() + START_TIMEOUT_S
    start_at = 0.0
    while True:
        try:
            return paths.connect(path)
        except OSError as error:
            if not start:
                raise EngineUnavailable("No engine is running.", "Any command starts one.") from (
                    error
                )
        if time.monotonic() >= start_at:
            # Again after a while: one that is ending may have held the lock.
            start_at = time.monotonic() + START_AGAIN_S
            await asyncio.to_thread(start_engine)
        elif time.monotonic() > deadline:
            raise EngineUnavailable(
                "The engine does not start.", f"The reason is in {paths.log_path()}."
            )
        else:
            await asyncio.sleep(0.05)


def _as_error(failed: Failed) -> FerryError:
    error = FerryError(failed.sentence, failed.remedy)
    error.exit_code = failed.exit_code
    return error
