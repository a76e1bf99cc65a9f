"""What a probe needs: something that runs a POSIX shell script on a host, here or far away."""

import asyncio
import contextlib
import os
import shlex
import signal
from dataclasses import dataclass
from typing import Protocol

from backend.errors import BadDocument, CallTimedOut

OUTPUT_LIMIT_BYTES = 1024 * 1024
"""More output than this from one command is a host that has gone wrong."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended; output as text, odd bytes replaced."""

    exit_status: int
    """-1 when a signal ended it."""
    stdout: str
    stderr: str


class Shell(Protocol):
    """Runs commands on one host."""

    @property
    def name(self) -> str:
        """The host, for sentences."""
        ...

    async def run(
        self, command: str, timeout_s: float = 10.0, input: str | None = None
    ) -> CommandResult:
        """Run `command` under the login shell. Raises HostUnreachable, CallTimedOut."""
        ...


async def run_script(
    shell: Shell, script: str, *arguments: str, timeout_s: float = 10.0
) -> CommandResult:
    """Run a POSIX script with arguments, whatever the login shell is.

    The script goes in through standard input, so only the arguments need quoting.
    """
    command = shlex.join(["/bin/sh", "-s", "--", *arguments])
    return await shell.run(command, timeout_s, input=script)


class LocalShell:
    """This machine."""

    @property
    def name(self) -> str:
        """`this machine`."""
        return "this machine"

    async def run(
        self, command: str, timeout_s: float = 10.0, input: str | None = None
    ) -> CommandResult:
        """Run `command` with /bin/sh.

        Raises:
            CallTimedOut: It was killed after `timeout_s`.
        """
        process = await start_here("/bin/sh", "-c", command, stderr=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate((input or "").encode())
        except TimeoutError:
            raise timed_out(self.name, timeout_s) from None
        finally:
            await end_here(process)
        return result(self.name, process.returncode, out, err)


async def start_here(
    *command: str, stderr: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """Start a process on this machine, in a session of its own.

    Who is cancelled meanwhile waits until it has started, and ends it: asyncio (3.11) forgets the
    pipes of one whose start is cancelled, and then waits for them for ever.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        if starting.exception() is None:
            await end_here(starting.result())
        raise


async def end_here(process: asyncio.subprocess.Process) -> None:
    """Kill it, with all its children: they hold its pipes."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def result(host: str, status: int | None, out: bytes, err: bytes) -> CommandResult:
    """Raw output as a CommandResult.

    Raises:
        BadDocument: There is more of it than the limit.
    """
    if len(out) > OUTPUT_LIMIT_BYTES or len(err) > OUTPUT_LIMIT_BYTES:
        raise BadDocument(f"A command on {host} printed more than 1 MiB.")
    return CommandResult(
        -1 if status is None or status < 0 else status,
        out.decode("utf-8", "replace"),
        err.decode("utf-8", "replace"),
    )


def timed_out(host: str, timeout_s: float) -> CallTimedOut:
    """The error for a command that did not end in time."""
    return CallTimedOut(f"A command on {host} did not end within {timeout_s:g} s.")
