"""What is to be said of a migration whose VM runs at the target already. Pure."""

from collections.abc import Sequence

from backend.model import Band, Outlook, Sample, Word
from backend.plan.passes import silent_s, throughput
from backend.plan.wording import rate, seconds, size

SILENT_S = 3.0


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
