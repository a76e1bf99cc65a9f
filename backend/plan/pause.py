"""How long the pause will be, and what would help a migration that does not converge."""

from collections.abc import Sequence
from statistics import median

from backend.model import Band
from backend.plan.policy import PAUSE_MS_MAX
from backend.plan.wording import rate, size

EXTRA_MS = Band(25, 60, 110)
"""What the pause takes above its limit: stopping, device state, starting at the target.

Measured on the lab (limit: pause, ms): 20: 94; 50: 77, 87; 100: 138; 300: 301, 314, 342, 361,
376; with a limit of 50 on busy machines 104 to 264, and 527 with one of 300.
"""

FLOOR_MS = Band(50, 95, 150)
"""The shortest pause there is, however little is left."""


LEARNED_FROM = 3
"""So many pauses say more than the constants above."""


def predicted_pause(limit_ms: int, learned_ms: Sequence[float] = ()) -> Band:
    """QEMU stops the VM when what is left fits the limit: anything up to it is left.

    `learned_ms`: what the newest pauses took besides half of their limit.
    """
    if len(learned_ms) < LEARNED_FROM:
        return Band(
            max(FLOOR_MS.low, 0.9 * limit_ms + EXTRA_MS.low),
            max(FLOOR_MS.mid, limit_ms + EXTRA_MS.mid),
            max(FLOOR_MS.high, 1.3 * limit_ms + EXTRA_MS.high),
        )
    seen = sorted(learned_ms)
    middle = median(seen)
    low = min(0.8 * middle, seen[len(seen) // 8]) + 0.2 * limit_ms
    high = max(1.25 * middle, seen[-1 - len(seen) // 8]) + limit_ms
    mid = middle + 0.5 * limit_ms
    return Band(max(1.0, min(low, mid)), max(1.0, mid), max(high, mid, 1.0))


def would_help(writes: float, sends: float, would_ms: int, left: float | None = None) -> str:
    """The two rates, what they lead to, and the ways out."""
    rates = f"writes {rate(writes)}, sends {rate(sends)}"
    again = f": about {size(left)} left at the start of every pass" if left else ""
    limit = f"a pause limit of {would_ms:,} ms, " if would_ms <= PAUSE_MS_MAX else ""
    return f"{rates}{again}; would help: {limit}a faster link, or the VM writing less"
