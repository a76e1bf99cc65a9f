"""How a VM writes: a curve of unique bytes over time, fitted to what was counted. Pure.

A guest that rewrites W bytes at w bytes/s dirties D(t) = min(w * t, W) unique bytes in t seconds.
libvirt samples few pages (512 a GiB), so a reading is a count of hits with a counting (Poisson)
error; passes of earlier migrations are exact. Both are fitted at once by the likelihood of the
counts on a grid of (w, W); the band is every pair that explains them nearly as well, wider where
the readings differ more from each other than chance allows (a VM that writes in bursts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log

from backend.plan.precopy import Writing

_STEPS = 48
_BACKGROUND_HITS = 0.05
"""Any VM touches a page now and then: keeps the likelihood finite."""
_BAND_LOSS = 2.0
"""Log-likelihood below the best that still counts as possible: with counts drawn by chance, the
band holds what is true at 1 to 10 s in four of five."""
_MIN_RATE = 10_000.0
LEAST_S = 15.0
"""Of measuring: the periods of 1, 2, 4 and 8 s, which show the curve."""
_MODEL_ERROR = 0.06
"""No VM writes exactly so: the band is at least this wide."""


@dataclass(frozen=True, slots=True)
class Count:
    """Unique bytes written in a period, counted in units of `resolution_bytes`."""

    period_s: float
    unique_bytes: float
    resolution_bytes: float


@dataclass(frozen=True, slots=True)
class WritingBand:
    """How the VM writes: at least, probably, at most."""

    low: Writing
    mid: Writing
    high: Writing
    steady: bool = True
    """False: it writes in bursts, so the band is wide."""


def fit(counts: Sequence[Count], most_bytes: float) -> WritingBand | None:
    """The curves that explain the counts; None without any. Nothing exceeds `most_bytes`."""
    return _fit(tuple(counts), most_bytes) if counts else None


@lru_cache(maxsize=256)
def _fit(counts: tuple[Count, ...], most_bytes: float) -> WritingBand:
    most_bytes = max(most_bytes, 1.0)
    rates = _rates(counts)
    caps = _spread(max(most_bytes / 500, 4096.0), most_bytes)
    scored = [(_likelihood(counts, rate, cap), rate, cap) for rate in rates for cap in caps]
    best = max(scored)[0]
    excess = _excess(counts, *max(scored)[1:])
    allowed = best - _BAND_LOSS * excess
    weighted = [(exp((score - best) / excess), rate, cap) for score, rate, cap in scored]
    inside = [(rate, cap) for score, rate, cap in scored if score >= allowed]
    total = sum(weight for weight, _, _ in weighted)
    rate = exp(sum(weight * log(rate) for weight, rate, _ in weighted) / total)
    longest = max(count.period_s for count in counts)
    mid_reach = sum(weight * min(r * longest, c) for weight, r, c in weighted) / total
    cap = exp(sum(weight * log(cap) for weight, _, cap in weighted) / total)
    low = min(r for r, _ in inside), min(min(r * longest, c) for r, c in inside)
    high = max(r for r, _ in inside), max(min(r * 2 * longest, c) for r, c in inside)
    mid = Writing(rate, 0.0, max(cap, mid_reach))
    least, most = 1 - _MODEL_ERROR, 1 + _MODEL_ERROR
    return WritingBand(
        low=Writing(min(low[0], least * rate), 0.0, min(low[1], least * mid.cap_bytes)),
        mid=mid,
        high=Writing(
            max(high[0], most * rate), 0.0, min(most_bytes, max(high[1], most * mid.cap_bytes))
        ),
        steady=excess < 2.5,
    )


def newest_agreeing(counts: Sequence[Count], most_bytes: float) -> tuple[Count, ...]:
    """The newest of `counts` (oldest first) back to where the VM wrote otherwise.

    At least `LEAST_S` of them: a VM that changes more often writes in bursts, and all count.
    """
    segment: tuple[Count, ...] = ()
    for older in reversed(counts):
        seen_s = sum(count.period_s for count in segment)
        if seen_s >= LEAST_S:
            found = fit(segment, most_bytes)
            if found is not None and not explains(found.mid, (older,)):
                return segment
        segment = (older, *segment)
    return segment


def explains(curve: Writing, counts: Sequence[Count]) -> bool:
    """Whether a curve seen before still explains what was counted now."""
    if not counts:
        return True
    most = max(curve.cap_bytes, *(count.unique_bytes for count in counts))
    now = fit(counts, 2 * most)
    if now is None:
        return True
    best = _likelihood(counts, now.mid.rate_bytes_s, now.mid.cap_bytes)
    rate = max(curve.rate_bytes_s, _MIN_RATE)
    excess = _excess(counts, now.mid.rate_bytes_s, now.mid.cap_bytes)
    return _likelihood(counts, rate, max(curve.cap_bytes, 1.0)) >= best - 3.0 * excess


def _rates(counts: Sequence[Count]) -> list[float]:
    """From well below to well above what any reading says."""
    seen = [count.unique_bytes / count.period_s for count in counts]
    one_hit = max(count.resolution_bytes / count.period_s for count in counts)
    highest = 2.0 * max(max(seen), 0.5 * one_hit, _MIN_RATE)
    return _spread(max(_MIN_RATE, highest / 400), highest)


def _spread(low: float, high: float) -> list[float]:
    """Evenly on a logarithmic scale."""
    low = min(low, high)
    step = (log(high) - log(low)) / (_STEPS - 1)
    return [low * exp(step * number) for number in range(_STEPS)]


def _likelihood(counts: Sequence[Count], rate: float, cap: float) -> float:
    total = 0.0
    for count in counts:
        expected = min(rate * count.period_s, cap) / count.resolution_bytes + _BACKGROUND_HITS
        total += count.unique_bytes / count.resolution_bytes * log(expected) - expected
    return total


def _excess(counts: Sequence[Count], rate: float, cap: float) -> float:
    """How many times more the counts scatter than chance alone would have it; at least 1."""
    if len(counts) < 3:
        return 1.0
    chi = 0.0
    for count in counts:
        expected = min(rate * count.period_s, cap) / count.resolution_bytes + _BACKGROUND_HITS
        hits = count.unique_bytes / count.resolution_bytes
        chi += (hits - expected) ** 2 / max(expected, 0.5)
    return max(1.0, chi / (len(counts) - 2))
