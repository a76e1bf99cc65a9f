"""Keeping a migration from switching over until the operator says so. Pure.

QEMU switches over as soon as what is left fits its pause limit, so the limit goes down to 1 ms
and, once little is left, the bandwidth below what the VM writes: then something is always left.
Two rates take turns, far apart, so that little stays left and nothing flutters.
"""

from collections.abc import Sequence

from backend.model import Decision
from backend.plan.tuning import FIRST_PAUSE_LIMIT_MS

HOLD_PAUSE_MS = 1
NEAR_S = 1.0
FAR_S = 4.0
"""Of sending at the full rate: below the first the brake is on, above the second it is off."""
BRAKE_PART = 0.5
"""Of what the VM writes."""
LEAST_BYTES_S = 2**20
"""libvirt's unit: nothing slower can be set."""

__all__ = ["FIRST_PAUSE_LIMIT_MS", "HOLD_PAUSE_MS", "brake", "held_before"]


def brake(
    remaining_bytes: int, sends_bytes_s: float, writes_bytes_s: float, braked: bool
) -> int | None:
    """The bandwidth to hold with, bytes/s; None: none is needed now."""
    if sends_bytes_s <= 0:
        return None
    left_s = remaining_bytes / sends_bytes_s
    on = left_s < (FAR_S if braked else NEAR_S)
    return max(LEAST_BYTES_S, round(BRAKE_PART * writes_bytes_s)) if on else None


def held_before(
    decisions: Sequence[Decision], held: bool, begun_s: float, zero_s: float
) -> tuple[float, float | None]:
    """For how long a migration was held by its log, and since when it is (None: it is not).

    `held`: it is now; `begun_s`: when its memory began, `zero_s`: the zero of `Decision.t_s`, both
    by `time.monotonic()`.
    """
    marks = [one for one in decisions if one.action in ("hold", "switch")]
    from_start = marks[0].action == "switch" if marks else held
    since_s = begun_s if from_start else None
    total_s = 0.0
    for one in marks:
        at_s = zero_s + one.t_s
        if one.action == "switch" and since_s is not None:
            total_s, since_s = total_s + max(0.0, at_s - since_s), None
        elif one.action == "hold":
            since_s = at_s
    return total_s, since_s if held else None
