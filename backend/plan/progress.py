"""How far a running migration is, as one number that never runs backwards."""

from bisect import bisect_left
from collections.abc import Sequence

from backend.model import Sample
from backend.plan.judgement import hopeless
from backend.plan.passes import MOST_PASSES, PassSeen, likely_writing, of_memory, passes_seen
from backend.plan.precopy import course

FIRST_PASS_SHARE = 0.5
"""The part of the progress that the first pass is given, as nothing is known of the others."""


def progress_fraction(samples: Sequence[Sample], pause_limit_ms: int) -> float:
    """How much of the memory phase is done, 0 to 1: never falls as samples are added.

    The first pass is half of it, by the memory it has walked through. Each later pass goes on
    from where the one before stopped, towards what was expected to be sent when it began; one
    that was not expected to converge moves nothing. After so many passes that the rest would
    not show, it stands still.
    """
    samples = of_memory(samples)
    if not samples:
        return 0.0
    most = samples[0].pass_number + MOST_PASSES
    samples = samples[: bisect_left(samples, most, key=lambda sample: sample.pass_number)]
    passes = passes_seen(samples, pause_limit_ms)
    done = 0.0
    for index, one in enumerate(passes):
        sent = passes[index + 1].sent_before_bytes if index + 1 < len(passes) else None
        upto = samples[-1].memory_sent_bytes if sent is None else sent
        if index == 0:
            walked = 1.0 if len(passes) > 1 else _walked(samples[0], samples[-1])
            done = FIRST_PASS_SHARE * walked
            continue
        limit = _limit_then(samples, one, pause_limit_ms)
        expected = _expected_at_start(passes[: index + 1], limit)
        if expected:
            gone = (upto - one.sent_before_bytes) / expected
            done += (1 - done) * min(0.99, max(0.0, gone))
    return done


def _expected_at_start(passes: Sequence[PassSeen], limit_ms: int) -> float | None:
    """Bytes expected to be sent from the start of the last of `passes` to the switchover."""
    one, before = passes[-1], passes[-2]
    if not before.rate_bytes_s or hopeless(passes, limit_ms):
        return None
    share = before.rate_bytes_s * limit_ms / 1000
    ahead = course(one.left_bytes, before.rate_bytes_s, likely_writing(passes, share)[0], limit_ms)
    return max(1.0, ahead.sent_bytes + ahead.left_bytes) if ahead.converges else None


def _limit_then(samples: Sequence[Sample], one: PassSeen, pause_limit_ms: int) -> int:
    """The limit in force when a pass began, so that a later change moves no progress made."""
    index = bisect_left(samples, one.number, key=lambda sample: sample.pass_number)
    return samples[index].pause_limit_ms or pause_limit_ms


def _walked(first: Sample, now: Sample) -> float:
    whole = max(1, first.total_bytes)
    return min(1.0, max(0.0, 1 - now.remaining_bytes / whole))
