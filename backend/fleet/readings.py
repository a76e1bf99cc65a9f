"""Pure: what the figures of `hypervisor.dirty_rate` mean, and what several of them say."""

import math
from collections.abc import Sequence
from itertools import pairwise

from backend.model import Reading

KEPT_S = 90.0
PERIODS_S = (1, 2, 4, 8)
"""One cycle; the curve of unique bytes over them is what a forecast needs."""

_MIB = 2**20
_GIB = 2**30
_PAGES_PER_GIB = 512
_TOLERANCE = 0.02
"""Of a sampled page."""


def resolution_bytes(memory_bytes: int) -> float:
    """What one sampled page stands for: QEMU samples 512 pages a GiB, rounded down.

    QEMU leaves blocks of memory below 128 KiB alone and takes no sample of one below 2 MiB.
    """
    samples = memory_bytes * _PAGES_PER_GIB // _GIB
    return memory_bytes / samples if samples else float(_GIB / _PAGES_PER_GIB)


def reading(at: float, period_s: int, rate_bytes_s: int, memory_bytes: int) -> Reading:
    """A figure as a Reading.

    QEMU counts whole pages and tells whole MiB/s, rounded down: several counts give one figure.
    All of them are equally likely; the middle is what is taken, half their span is the rounding.
    """
    step = resolution_bytes(memory_bytes)
    # The tolerance: sizes are in whole MiB to QEMU, the VM's own may have a few KiB more.
    low = math.ceil(rate_bytes_s * period_s / step - _TOLERANCE)
    high = max(low, math.ceil((rate_bytes_s + _MIB) * period_s / step - _TOLERANCE) - 1)
    return Reading(
        at=at,
        period_s=float(period_s),
        unique_bytes=min(step * (low + high) / 2, float(memory_bytes)),
        resolution_bytes=step,
        rounding_bytes=step * (high - low) / 2,
    )


def recent(readings: Sequence[Reading], now: float) -> tuple[Reading, ...]:
    """Those that are not too old, oldest first. `now` in epoch seconds."""
    return tuple(one for one in readings if now - one.at <= KEPT_S)


def steady(readings: Sequence[Reading]) -> bool:
    """There are two of each period, and the newest two of each say the same."""
    for period_s in PERIODS_S:
        same = [one for one in readings if one.period_s == period_s][-2:]
        if len(same) < 2 or not all(agree(*pair) for pair in pairwise(same)):
            return False
    return True


def agree(one: Reading, other: Reading) -> bool:
    """Two of one period differ by no more than chance explains (two standard deviations)."""
    error = math.hypot(one.error_bytes, other.error_bytes)
    return abs(one.unique_bytes - other.unique_bytes) <= 2 * error


def long_mean(readings: Sequence[Reading]) -> tuple[float, float] | None:
    """The mean rate over the longest period there is, and its error, both bytes/s.

    None without readings. Zero where not one page was surely seen to change: the middle of a
    figure of 0 is not 0, but an idle VM's column should say so.
    """
    if not readings:
        return None
    period_s = max(one.period_s for one in readings)
    longest = [one for one in readings if one.period_s == period_s]
    count = len(longest)
    error = math.hypot(*(one.error_bytes for one in longest)) / count / period_s
    if all(one.unique_bytes <= one.rounding_bytes for one in longest):
        return 0.0, error
    return sum(one.unique_bytes for one in longest) / count / period_s, error
