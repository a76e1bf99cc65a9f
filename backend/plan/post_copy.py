"""What is to be said of a migration whose VM runs at the target already. Pure."""

from collections.abc import Sequence
from itertools import pairwise

from backend.model import Band, Outlook, Sample, Word
from backend.plan.passes import silent_s, throughput
from backend.plan.wording import rate, seconds, size

SILENT_S = 3.0
STALL_S = 1.0
"""Shorter spells without a byte are how samples fall."""


def stalled_ms(samples: Sequence[Sample]) -> int | None:
    """For how long in all nothing came although something was left, in spells over `STALL_S`.

    From the switch on; None where no such spell was seen. Short waits for single pages do not
    show.
    """
    stalled_s, since = 0.0, None
    for was, now in pairwise(_of_post_copy(samples)):
        still = now.sent_bytes == was.sent_bytes and was.remaining_bytes > 0
        if still and since is None:
            since = was.t_s
        elif not still and since is not None:
            stalled_s += _spell(since, was.t_s)
            since = None
    if since is not None:
        stalled_s += _spell(since, samples[-1].t_s)
    return round(1000 * stalled_s) or None


def _spell(begun_s: float, ended_s: float) -> float:
    return ended_s - begun_s if ended_s - begun_s >= STALL_S else 0.0


def _of_post_copy(samples: Sequence[Sample]) -> Sequence[Sample]:
    """From the first page on that the VM had to ask for."""
    first = next((at for at, one in enumerate(samples) if one.post_copy_requests), len(samples))
    return samples[first:]


def post_copy_outlook(samples: Sequence[Sample], target: str) -> Outlook:
    """Where the VM runs, and how much of its memory is still to come."""
    now, sends = samples[-1], throughput(samples)
    left = f"it runs on {target}; {size(now.remaining_bytes)} of its memory are still to come"
    quiet_s = silent_s(samples)
    if quiet_s >= SILENT_S:
        waits = f"{left}, and nothing has come for {seconds(quiet_s)}: it waits for its pages"
        return Outlook(Word.SWITCHING_OVER, f"{waits}; look at the link")
    if sends <= 0:
        return Outlook(Word.SWITCHING_OVER, left)
    left_s = now.remaining_bytes / sends
    return Outlook(
        Word.SWITCHING_OVER,
        f"{left}, at {rate(sends)}: about {seconds(left_s)}",
        Band(0.9 * left_s, left_s, 1.2 * left_s + 1),
        passes_left=0,
        expected_sent_bytes=now.sent_bytes + now.remaining_bytes,
    )
