"""An operator's own command on a host, and whether that host has booted since."""

import asyncio
import time
from dataclasses import dataclass

from backend.errors import CallTimedOut, HostUnreachable, without_passwords
from backend.remote.shell import Shell, run_script

MOST_LINES = 20
MOST_BYTES = 4000
MOST_LINE = 300
_LOOK_LIMIT_S = 5.0

# Into a file, not a pipe: what the hook leaves running there would hold a pipe, and us, for ever.
_HOOK = f"""
out=$(mktemp) || out=/dev/null
/bin/sh -c "$1" >"$out" 2>&1 </dev/null
code=$?
tail -n {MOST_LINES} "$out" | tail -c {MOST_BYTES} >&2
[ "$out" = /dev/null ] || rm -f "$out"
printf '%s\\n' "$code"
"""

_LOOK = """
cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo
systemctl is-system-running 2>/dev/null || true
"""


@dataclass(frozen=True, slots=True)
class Hooked:
    """How a hook ended."""

    exit_status: int | None
    """None: the connection was lost meanwhile."""
    took_s: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Booted:
    """Which boot a host lives in."""

    boot_id: str
    """Empty where it does not tell."""
    stopping: bool
    """It is being shut down."""


async def run_hook(shell: Shell, command: str, limit_s: float) -> Hooked:
    """Run it under /bin/sh, the command one argument; its output's last lines.

    Raises:
        CallTimedOut: It did not end in time. It may go on there.
        BadDocument: The host prints without end.
    """
    begun_s = time.monotonic()
    try:
        done = await run_script(shell, _HOOK, command, timeout_s=limit_s)
    except CallTimedOut:
        raise
    except HostUnreachable:
        return Hooked(None, time.monotonic() - begun_s, ())
    said = done.stdout.strip()
    status = int(said) if done.exit_status == 0 and said.isdigit() else None
    return Hooked(status, time.monotonic() - begun_s, last_lines(done.stderr))


async def look(shell: Shell) -> Booted | None:
    """None where it cannot be asked now."""
    try:
        async with asyncio.timeout(_LOOK_LIMIT_S + 1):
            done = await run_script(shell, _LOOK, timeout_s=_LOOK_LIMIT_S)
    except (HostUnreachable, TimeoutError):
        return None
    boot_id, _, state = done.stdout.partition("\n")
    return Booted(boot_id.strip()[:64], state.strip() == "stopping")


def last_lines(text: str) -> tuple[str, ...]:
    """Bounded, without what a terminal would obey."""
    lines = without_passwords(text).splitlines()
    shown = ("".join(c if c.isprintable() else " " for c in line).strip() for line in lines)
    return tuple([line[:MOST_LINE] for line in shown if line][-MOST_LINES:])
