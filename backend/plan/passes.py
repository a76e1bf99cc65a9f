"""What the samples of a running migration say about its passes, and how fast it sends.

A pass ends when QEMU has so little left that it would fit into the pause, looks at what the
guest wrote meanwhile, and finds more than that. So only the ends of passes tell whether a
migration converges: between them `remaining` falls whatever the guest does.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp

from backend.model import Sample
from backend.plan.precopy import Writing, steady, straight

SMOOTH_S = 2.0
"""Time constant of the smoothed throughput: three of them see a change of the link in full."""

OWN_RATES_S = 0.4
"""After a pass shorter than this, stale is better than our own figure: two samples are too few."""

KEPT_PART = 0.9
"""Of the pause's share, this much is still unsent and not written over when a pass ends
(measured: with it the recurrence meets the lab's 5 and 20 MB/s guests pass by pass)."""

MOST_PASSES = 64
"""Older ones say nothing any more, and a migration may have thousands."""

STALL_S = 1.0

_RATE_WINDOW_S = 4 * SMOOTH_S


@dataclass(frozen=True, slots=True)
class PassSeen:
    """One pass, from the samples taken in it and around it."""

    number: int
    start_s: float
    left_bytes: float
    """Left to send at its start."""
    sent_before_bytes: int
    took_s: float | None = None
    """None while it runs."""
    rate_bytes_s: float = 0.0
    """Sent in it, over its time; 0 while that is too short to tell."""
    kept_bytes: float = 0.0
    """The pause's share at its end: so much it left unsent."""
    dirty_bytes_s: float | None = None
    """What the guest wrote during it, without what was kept; None while it runs."""
    throttle_percent: int = 0
    """Of the VM, while it ran."""
    stalled_s: float = 0.0
    """For so long of it nothing was sent at all: the link, not the VM, was the matter."""


def passes_seen(samples: Sequence[Sample], pause_limit_ms: int) -> tuple[PassSeen, ...]:
    """The newest passes that were sampled, oldest first; the last one is still running."""
    firsts = _first_indices(samples)
    starts = [_start(samples, index, pause_limit_ms) for index in firsts]
    ended = [
        _ended(
            one,
            after,
            samples[index],
            pause_limit_ms,
            _stalled_s(samples[first : index + 1]),
            samples[index - 1].throttle_percent or 0,
        )
        for one, after, first, index in zip(starts, starts[1:], firsts, firsts[1:], strict=False)
    ]
    return (*ended, *starts[-1:])


def of_memory(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Without those from before the first pass, in which only disks were copied."""
    if not samples or samples[0].pass_number > 0:
        return samples
    return samples[bisect_left(samples, 1, key=lambda sample: sample.pass_number) :]


def throughput(samples: Sequence[Sample]) -> float:
    """Bytes of memory sent a second now: an exponentially weighted mean over the last seconds."""
    if not samples:
        return 0.0
    recent = _since(samples, samples[-1].t_s - _RATE_WINDOW_S)
    smoothed: float | None = None
    for before, after in pairwise(recent):
        seconds = after.t_s - before.t_s
        if seconds <= 0:
            continue
        rate = max(0.0, (after.memory_sent_bytes - before.memory_sent_bytes) / seconds)
        weight = 1 - exp(-seconds / SMOOTH_S)
        smoothed = rate if smoothed is None else smoothed + weight * (rate - smoothed)
    return samples[-1].rate_bytes_s if smoothed is None else smoothed


def pass_pace(samples: Sequence[Sample]) -> float:
    """Bytes a second by which what is left of this pass shrinks; empty pages make it the
    faster, as they cost next to nothing to send."""
    recent = _since(samples, samples[-1].t_s - _RATE_WINDOW_S)
    first = next(one for one in recent if one.pass_number == samples[-1].pass_number)
    seconds = samples[-1].t_s - first.t_s
    gone = first.remaining_bytes - samples[-1].remaining_bytes
    return gone / seconds if seconds > 0 and gone > 0 else 0.0


def silent_s(samples: Sequence[Sample]) -> float:
    """For how long nothing has been sent."""
    sent = samples[-1].sent_bytes
    index = bisect_left(samples, sent, key=lambda sample: sample.sent_bytes)
    return samples[-1].t_s - samples[index].t_s


def likely_writing(passes: Sequence[PassSeen], share_bytes: float) -> tuple[Writing, Writing]:
    """The least and the most the VM may write in the last of `passes` and after it."""
    kept = KEPT_PART * share_bytes
    seen = [
        (one.dirty_bytes_s * one.took_s, one.took_s)
        for one in passes[:-1]
        if one.took_s and one.dirty_bytes_s is not None
    ]
    if not seen:
        return Writing(0.0, kept), Writing(0.0, kept)
    least = steady(*seen[-1], kept)
    if len(seen) < 2 or passes[-2].number <= 2:
        return least, Writing(1.15 * least.rate_bytes_s, kept)
    return least, straight(*seen[-1], *seen[-2], kept)


def _since(samples: Sequence[Sample], t_s: float) -> Sequence[Sample]:
    return samples[bisect_left(samples, t_s, key=lambda sample: sample.t_s) :]


def _first_indices(samples: Sequence[Sample]) -> list[int]:
    indices: list[int] = []
    oldest = samples[-1].pass_number - MOST_PASSES + 1 if samples else 0
    index = bisect_left(samples, oldest, key=lambda sample: sample.pass_number)
    while index < len(samples):
        indices.append(index)
        number = samples[index].pass_number
        index = bisect_right(samples, number, lo=index, key=lambda sample: sample.pass_number)
    return indices


def _start(samples: Sequence[Sample], index: int, pause_limit_ms: int) -> PassSeen:
    """The pass whose first sample is at `index`, moved back to when it began.

    Of what was sent between the two samples around the boundary, the old pass took what it had
    left above the pause's share; the rest belongs to the new pass already.
    """
    first = samples[index]
    if index == 0:
        return PassSeen(
            first.pass_number, first.t_s, float(first.remaining_bytes), first.memory_sent_bytes
        )
    last = samples[index - 1]
    sent = max(0, first.memory_sent_bytes - last.memory_sent_bytes)
    share = last.rate_bytes_s * (last.pause_limit_ms or pause_limit_ms) / 1000
    of_new = sent - min(sent, max(0.0, last.remaining_bytes - share))
    back_s = (first.t_s - last.t_s) * (of_new / sent if sent else 0.0)
    return PassSeen(
        number=first.pass_number,
        start_s=first.t_s - back_s,
        left_bytes=first.remaining_bytes + of_new,
        sent_before_bytes=round(first.memory_sent_bytes - of_new),
    )


def _ended(
    one: PassSeen,
    after: PassSeen,
    first_after: Sample,
    pause_limit_ms: int,
    stalled_s: float,
    throttle_percent: int,
) -> PassSeen:
    took_s = after.start_s - one.start_s
    sent = after.sent_before_bytes - one.sent_before_bytes
    stalled_s = min(stalled_s, 0.95 * max(took_s, 0.0))
    rate = sent / (took_s - stalled_s) if took_s > 0 else 0.0
    kept = rate * (first_after.pause_limit_ms or pause_limit_ms) / 1000
    dirty = first_after.dirty_bytes_s
    # Right after a pass QEMU may still tell the rate of the one before (0 after the first): what
    # the pass left to send is the better witness, unless two samples are too few to time it.
    if took_s > 0 and (not dirty or took_s >= OWN_RATES_S):
        dirty = max(0.0, after.left_bytes - KEPT_PART * kept) / took_s
    return replace(
        one,
        took_s=took_s,
        rate_bytes_s=rate,
        kept_bytes=kept,
        dirty_bytes_s=dirty,
        throttle_percent=throttle_percent,
        stalled_s=stalled_s,
    )


def _stalled_s(samples: Sequence[Sample]) -> float:
    """How long these sent nothing, in stretches of more than `STALL_S`."""
    stalled, since = 0.0, samples[0]
    for before, sample in pairwise(samples):
        if sample.sent_bytes > since.sent_bytes:
            quiet_s = before.t_s - since.t_s
            stalled += quiet_s if quiet_s > STALL_S else 0.0
            since = sample
    return stalled
