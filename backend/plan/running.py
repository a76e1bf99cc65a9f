"""How a running migration goes on: what its passes have shown, joined with what was known before.

Pure. A pass is an exact count of unique bytes written; the readings from before the start are
many but coarse. Both are fitted together as long as they agree; a VM that writes otherwise now
is judged by its newest passes alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.model import Sample
from backend.plan.passes import KEPT_PART, PassSeen
from backend.plan.precopy import Course, Writing, course, steady
from backend.plan.simulate import throttled
from backend.plan.writes import Count, WritingBand, explains, fit

_NEWEST = 3
"""Passes that count: what a VM did before them may be over."""
_TELLING_S = 0.4
"""A shorter pass is too few samples long to be a count."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What was known before the start, as far as it helps later."""

    counts: tuple[Count, ...] = ()
    first_pass_bytes: float | None = None
    most_bytes: float = float("inf")
    cpu_part: float = 1.0
    throttle_start_percent: int | None = None
    link_bytes_s: float | None = None
    pauses_ms: tuple[float, ...] = ()
    allowed_ms: int | None = None
    """The pause the policy allows; None: the limit in force."""


NOTHING = Prior()


@dataclass(frozen=True, slots=True)
class Ahead:
    """How the VM is expected to write, pass by pass from the running one on."""

    least: tuple[Writing, ...]
    likely: tuple[Writing, ...]
    most: tuple[Writing, ...]

    def go(self, left_bytes: float, rate_bytes_s: float, limit_ms: int, in_pass_s: float) -> Course:
        """The likely course under another pause limit."""
        kept = KEPT_PART * rate_bytes_s * limit_ms / 1000
        return course(left_bytes, rate_bytes_s, _keeping(self.likely, kept), limit_ms, in_pass_s)

    def band(
        self, left_bytes: float, rate_bytes_s: float, limit_ms: int, in_pass_s: float
    ) -> tuple[Course, Course]:
        """The best and the worst case: the link 5 % faster and slower."""
        ends = []
        for writings, part in ((self.least, 1.05), (self.most, 0.95)):
            sends = part * rate_bytes_s
            kept = KEPT_PART * sends * limit_ms / 1000
            ends.append(course(left_bytes, sends, _keeping(writings, kept), limit_ms, in_pass_s))
        return ends[0], ends[1]


def _keeping(writings: Sequence[Writing], kept: float) -> tuple[Writing, ...]:
    return tuple(
        replace(one, base_bytes=one.base_bytes + kept, cap_bytes=one.cap_bytes + kept)
        for one in writings
    )


def ahead(now: Sample, passes: Sequence[PassSeen], prior: Prior = NOTHING) -> Ahead | None:
    """What to expect; None where nothing is known of the VM's writing."""
    ended = [
        one
        for one in passes
        if one.took_s and one.took_s >= _TELLING_S and one.dirty_bytes_s is not None
    ]
    throttle = now.throttle_percent or 0
    if ended and ended[-1].throttle_percent == throttle > 0:
        return _as_last(ended[-1])
    free = [_count(one) for one in ended if one.throttle_percent == 0][-_NEWEST:]
    band = _fitted(free, prior)
    if band is None:
        return None
    return _by_throttle(band, now, passes, prior)


def _as_last(one: PassSeen) -> Ahead:
    assert one.dirty_bytes_s is not None
    assert one.took_s is not None
    writing = steady(one.dirty_bytes_s * one.took_s, one.took_s, 0.0)
    ends = [replace(writing, rate_bytes_s=part * writing.rate_bytes_s) for part in (0.85, 1.15)]
    return Ahead((ends[0],), (writing,), (ends[1],))


def _count(one: PassSeen) -> Count:
    assert one.dirty_bytes_s is not None
    assert one.took_s is not None
    dirtied = one.dirty_bytes_s * one.took_s
    return Count(one.took_s, dirtied, max(dirtied / 30, 64 * 1024.0))


def _fitted(free: Sequence[Count], prior: Prior) -> WritingBand | None:
    most = prior.most_bytes
    if most == float("inf"):
        most = 4 * max((count.unique_bytes for count in (*free, *prior.counts)), default=1.0)
    before = fit(prior.counts, most)
    if before is not None and not (free and not explains(before.mid, free[-1:])):
        return fit((*prior.counts, *free), most)
    agreed = [free[-1:], *(free[-count:] for count in range(2, len(free) + 1))] if free else []
    for counts in reversed(agreed):
        found = fit(counts, most)
        if found is not None and (len(counts) == 1 or explains(found.mid, free[-1:])):
            return found
    return before


def _by_throttle(band: WritingBand, now: Sample, passes: Sequence[PassSeen], prior: Prior) -> Ahead:
    """Throttled as it is, and as it will be after the second pass that QEMU finds too fast."""
    percent = now.throttle_percent or 0
    start = prior.throttle_start_percent
    coming = start is not None and percent == 0
    free_passes = max(1, 2 - sum(_was_too_fast(one) for one in passes))

    def row(writing: Writing) -> tuple[Writing, ...]:
        if not coming or not _too_fast(writing, passes, prior):
            return (throttled(writing, prior.cpu_part, percent),)
        later = throttled(writing, prior.cpu_part, start or 0)
        return (*(writing for _ in range(free_passes)), later)

    return Ahead(row(band.low), row(band.mid), row(band.high))


def _was_too_fast(one: PassSeen) -> bool:
    return bool(one.took_s) and (one.dirty_bytes_s or 0.0) > 0.5 * one.rate_bytes_s


def _too_fast(writing: Writing, passes: Sequence[PassSeen], prior: Prior) -> bool:
    """Whether QEMU will throttle: it dirties more than half of what is sent."""
    rates = [one.rate_bytes_s for one in passes if one.rate_bytes_s > 0]
    sends = rates[-1] if rates else prior.link_bytes_s
    return bool(sends) and writing.rate_bytes_s > 0.5 * (sends or 0.0)
