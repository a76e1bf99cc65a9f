"""What is to be said of a migration that goes by order: held, or its VM suspended. Pure."""

from collections.abc import Sequence

from backend.model import Band, Outlook, Sample, Word
from backend.plan.passes import silent_s, throughput
from backend.plan.running import Prior
from backend.plan.simulate import FINISH_S
from backend.plan.wording import rate, seconds, size

SILENT_S = 3.0


def held_outlook(samples: Sequence[Sample], prior: Prior) -> Outlook:
    """It waits; and how long the switchover would take once told."""
    now = samples[-1]
    left = f"{size(now.remaining_bytes)} left"
    if now.pass_number == 1:
        return Outlook(Word.CONVERGING, f"held: first pass, {size(now.memory_sent_bytes)} sent")
    quiet_s = silent_s(samples)
    if quiet_s >= SILENT_S:
        return Outlook(Word.CONVERGING, f"held; nothing has been sent for {seconds(quiet_s)}")
    full = max(prior.link_bytes_s or 0.0, throughput(samples))
    if full <= 0:
        return Outlook(Word.CONVERGING, f"held, {left}; it switches over when told")
    about = seconds(now.remaining_bytes / full + 1)
    reason = f"held, {left}; once told it switches over in about {about} or a little more"
    return Outlook(Word.CONVERGING, reason)


def suspended_outlook(samples: Sequence[Sample], target: str) -> Outlook:
    """The VM stands still until all is sent: nothing is written any more."""
    now, sends = samples[-1], throughput(samples)
    left = f"the VM is suspended until it goes on at {target}: {size(now.remaining_bytes)} left"
    if sends <= 0:
        return Outlook(Word.SWITCHING_OVER, left)
    left_s = now.remaining_bytes / sends
    whole = now.t_s + left_s
    return Outlook(
        Word.SWITCHING_OVER,
        f"{left} at {rate(sends)}, about {seconds(left_s)}",
        Band(0.9 * left_s, left_s, 1.1 * left_s + 1),
        passes_left=1,
        expected_sent_bytes=now.sent_bytes + now.remaining_bytes,
        total_s=Band(
            now.t_s + 0.9 * left_s + FINISH_S.low,
            whole + FINISH_S.mid,
            now.t_s + 1.1 * left_s + FINISH_S.high,
        ),
    )
