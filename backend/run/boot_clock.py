"""How far the clock was set while no engine ran, told by the machine's time since its boot."""

from dataclasses import replace
from pathlib import Path

from backend.model import ClockReading, Migration

LEAST_S = 2.0
"""Less is how a clock is slewed, and what two readings take."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UPTIME = Path("/proc/uptime")
"""Goes on while the machine sleeps, as the clock does and `time.monotonic()` does not."""


def read_clocks(now_s: float) -> ClockReading | None:
    """`now_s`: the engine's clock at this moment; None where the system does not tell its boot."""
    try:
        boot = _BOOT_ID.read_text().strip()
        uptime_s = float(_UPTIME.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return ClockReading(boot, uptime_s, now_s)


def set_forward_s(was: ClockReading | None, now: ClockReading | None) -> float:
    """By so much the clock was set between two readings, back below 0; 0 where that cannot be told:
    after another boot."""
    if was is None or now is None or was.boot != now.boot:
        return 0.0
    set_s = (now.at - was.at) - (now.uptime_s - was.uptime_s)
    return set_s if abs(set_s) >= LEAST_S else 0.0


def by_this_clock(state: Migration, now: ClockReading | None) -> Migration:
    """An open migration with its instants as the clock would have told them had it been then what
    it is now. Its decisions keep what they were told by."""
    set_s = set_forward_s(state.clocks, now)
    if not set_s:
        return state
    return replace(
        state,
        started=state.started + set_s,
        called_at=None if state.called_at is None else state.called_at + set_s,
        memory_at=None if state.memory_at is None else state.memory_at + set_s,
        clocks=now,
    )
