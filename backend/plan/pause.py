"""How long the pause will be, and what would help a migration that does not converge."""

from backend.model import Band
from backend.plan.policy import PAUSE_MS_MAX
from backend.plan.wording import rate, size

EXTRA_MS = Band(20, 45, 80)
"""What the pause takes above its limit: stopping, device state, starting at the target.

Measured on the lab (limit: pause, ms): 20: 94; 50: 77, 87; 100: 138; 300: 301, 314, 342, 361,
376, and 527 on a machine that was overloaded.
"""

FLOOR_MS = Band(40, 80, 120)
"""The shortest pause there is, however little is left."""


def predicted_pause(limit_ms: int) -> Band:
    """QEMU stops the VM when what is left fits the limit, so it nearly always uses it up."""
    return Band(
        max(FLOOR_MS.low, 0.9 * limit_ms + EXTRA_MS.low),
        max(FLOOR_MS.mid, limit_ms + EXTRA_MS.mid),
        max(FLOOR_MS.high, 1.3 * limit_ms + EXTRA_MS.high),
    )


def would_help(writes: float, sends: float, would_ms: int, left: float | None = None) -> str:
    """The two rates, what they lead to, and the ways out."""
    rates = f"writes {rate(writes)}, sends {rate(sends)}"
    again = f": about {size(left)} left at the start of every pass" if left else ""
    limit = f"a pause limit of {would_ms:,} ms, " if would_ms <= PAUSE_MS_MAX else ""
    return f"{rates}{again}; would help: {limit}a faster link, or the VM writing less"
