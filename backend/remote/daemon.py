"""qemu-storage-daemon on a host, spoken to in QMP over its standard input and output.

It lives no longer than we do: an end of file on its input makes it quit, so does a silence of
20 s (a link that was cut shows no end of file), and what has not quit 3 s later is killed, with
requests that hang in a dead connection. Nothing is installed or left there: its directory for
sockets goes with it.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from backend.errors import CallTimedOut, CopyFailed, FerryError, HostUnreachable, plain
from backend.remote.process import AnyHost, Process, start

SILENCE_S = 20
"""It quits when it heard nothing for so long."""
_BEAT_S = 4.0
START_LIMIT_S = 10.0
_CALL_LIMIT_S = 30.0
_END_LIMIT_S = 6.0

# The shell's `read` takes byte by byte: what follows a line is left for the next one.
_SCRIPT = r"""
exec 2>&1
umask 077
silence=$1
d=$(mktemp -d /tmp/virt-ferry.XXXXXXXX) || exit
printf '{"directory":"%s"}\n' "$d"
{
  while line=$(timeout "$silence" sh -c 'IFS= read -r l && printf "%s\n" "$l"'); do
    printf '%s\n' "$line" || exit
  done
  printf '{"execute":"quit"}\n' || exit
  n=0
  while [ $n -lt 30 ]; do sleep 0.1; printf '\n' || exit; n=$((n + 1)); done
  rm -rf "$d"
  kill -9 0
} | {
  # Else glibc maps and unmaps each buffer: a third of the time goes into page faults.
  MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=268435456 \
    qemu-storage-daemon --chardev stdio,id=qmp --monitor chardev=qmp
  s=$?
  rm -rf "$d"
  printf '{"ended":%d}\n' "$s"
}
"""


class QmpRefused(CopyFailed):
    """QEMU answered a command with an error; `said` is its text."""

    def __init__(self, host: str, command: str, said: str) -> None:
        super().__init__(f"QEMU on {host} refused {command}: {said.rstrip('.')}.")
        self.said = said


class StorageDaemon:
    """One daemon; made by `storage_daemon`."""

    def __init__(self, host: str, process: Process) -> None:
        self.host = host
        self.directory = ""
        """A directory there that only its user may enter, for sockets."""
        self.on_event: Callable[[dict[str, Any]], None] = lambda _event: None
        self.exit_status: int | None = None
        """None: it runs, or nobody knows (the connection was lost)."""
        self._process = process
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._said: deque[str] = deque(maxlen=5)
        self._greeted = asyncio.Event()
        self._over = asyncio.Event()
        self._tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._beat()))

    @property
    def over(self) -> bool:
        """It has ended, or the connection to it was lost: then it ends within 23 s."""
        return self._over.is_set()

    async def wait_over(self) -> None:
        """Wait until it is over."""
        await self._over.wait()

    async def ready(self) -> None:
        """Wait for its greeting. Raises CopyFailed when it does not start, or HostUnreachable."""
        waits = [asyncio.create_task(self._greeted.wait()), asyncio.create_task(self.wait_over())]
        try:
            await asyncio.wait(waits, timeout=START_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        if self.over:
            raise self._gone()
        if not self._greeted.is_set():
            raise CallTimedOut(f"qemu-storage-daemon on {self.host} did not start in time.")
        await self.call("qmp_capabilities")

    async def call(self, command: str, limit_s: float = _CALL_LIMIT_S, /, **arguments: Any) -> Any:
        """What QEMU returns; `_` in argument names stands for `-`.

        Raises:
            QmpRefused: It returned an error.
            CallTimedOut: It did not answer in time.
            HostUnreachable: The connection to it was lost.
            CopyFailed: It has ended.
        """
        if self.over:
            raise self._gone()
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit_s):
                await self._process.write(_request(number, command, arguments))
                reply = await answer
        except TimeoutError:
            raise CallTimedOut(
                f"QEMU on {self.host} did not answer {command} within {limit_s:g} s."
            ) from None
        finally:
            self._answers.pop(number, None)
        match reply:
            case {"error": {"desc": said}} | {"error": said}:
                raise QmpRefused(self.host, command, plain(str(said)))
        return reply.get("return")

    async def end(self) -> None:
        """Let it quit, and wait for that; at most 6 s."""
        self._tasks[1].cancel()
        self._process.close_input()
        # Not only QEMU's end: its shell's, too.
        await asyncio.wait(self._tasks[:1], timeout=_END_LIMIT_S)
        await self._process.close()
        self._tasks[0].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- inside --------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            async for line in self._process.lines():
                self._take(line)
        finally:
            self._finish()

    def _finish(self) -> None:
        self._over.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._gone())

    def _take(self, line: str) -> None:
        message = parse_message(line)
        match message:
            case None:
                self._said.extend([plain(line)] if line.strip() else [])
            case {"directory": str(path)}:
                self.directory = path
            case {"QMP": _}:
                self._greeted.set()
            case {"ended": int(status)}:
                self.exit_status = status
                self._finish()
            case {"event": _}:
                self.on_event(message)
            case {"id": int(number)} if number in self._answers:
                if not self._answers[number].done():
                    self._answers[number].set_result(message)

    async def _beat(self) -> None:
        with contextlib.suppress(FerryError):
            while True:
                await asyncio.sleep(_BEAT_S)
                await self._process.write(b"\n")

    def _gone(self) -> FerryError:
        if self.exit_status is None:
            return HostUnreachable(
                f"The connection to {self.host} was lost; "
                "what ran there for the copy ends by itself.",
                "Check the link to it, then move again.",
            )
        if self.exit_status == 127:
            return CopyFailed(
                f"{self.host} has no qemu-storage-daemon.",
                "Install it there (package qemu-utils, qemu-img or qemu-tools).",
            )
        said = self._said[-1] if self._said else f"exit status {self.exit_status}"
        return CopyFailed(
            f"qemu-storage-daemon on {self.host} ended: {said.rstrip('.')}.",
            "Look at that host's log (out of memory?), then move again.",
        )


@asynccontextmanager
async def storage_daemon(host: AnyHost) -> AsyncIterator[StorageDaemon]:
    """A daemon on a host for the length of the block; it has ended afterwards.

    Raises:
        CopyFailed: It is not there or does not start.
        HostUnreachable: The connection is lost.
    """
    process = await start(host, ["/bin/sh", "-c", _SCRIPT, "sh", str(SILENCE_S)])
    daemon = StorageDaemon(host.name, process)
    try:
        await daemon.ready()
        yield daemon
    finally:
        await asyncio.shield(asyncio.create_task(daemon.end()))


def parse_message(line: str) -> dict[str, Any] | None:
    """A line as a QMP message; None for what is none (a warning, an error of the shell)."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _request(number: int, command: str, arguments: dict[str, Any]) -> bytes:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    message = {"execute": command, "arguments": named, "id": number}
    return json.dumps(message).encode() + b"\n"
