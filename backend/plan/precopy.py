"""The physics of pre-copy: pass by pass until what is left fits into the pause.

A pass that starts with r bytes left sends all but the pause's share T = B * limit of them, at
B bytes/s, so takes t = (r - T) / B seconds; meanwhile the guest dirties D(t) unique bytes. QEMU
then looks, finds D(t) and what it kept of T, and switches over if that is at most T.

D is concave: a guest that rewrites W bytes at w bytes/s dirties min(w * t, W), or a little
less. So of what one pass has shown, D(t) = D / t * t is the least to expect of a shorter pass
(`steady`), and the straight line through two passes is the most (`straight`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_PASSES = 200
"""More than this is called "does not converge"."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How many unique bytes a guest dirties in a time: base + rate * time, at most the cap."""

    rate_bytes_s: float
    base_bytes: float = 0.0
    cap_bytes: float = float("inf")

    def dirtied(self, seconds: float) -> float:
        """Unique bytes dirtied in that many seconds."""
        return min(self.cap_bytes, self.base_bytes + self.rate_bytes_s * seconds)


@dataclass(frozen=True, slots=True)
class Course:
    """What a pre-copy is expected to do from some moment on."""

    converges: bool
    seconds: float
    sent_bytes: float
    passes: int
    """Passes begun until the switchover, the running one included."""
    left_bytes: float
    """Left for the pause; without convergence, left at the start of each pass."""


def course(
    left_bytes: float,
    rate_bytes_s: float,
    writing: Writing | Sequence[Writing],
    pause_ms: float,
    in_pass_s: float = 0.0,
) -> Course:
    """Follow the recurrence from `left_bytes`, `in_pass_s` seconds into a pass.

    Several writings are those of the passes from now on, the last one for all the rest.
    `rate_bytes_s` must be above zero. The last `left_bytes` go during the pause, after
    `seconds`, and are not in `sent_bytes`.
    """
    writings = (writing,) if isinstance(writing, Writing) else writing
    share = rate_bytes_s * pause_ms / 1000
    left, seconds, sent = left_bytes, 0.0, 0.0
    for passes in range(1, MAX_PASSES + 1):
        pass_s = max(0.0, left - share) / rate_bytes_s
        seconds += pass_s
        sent += pass_s * rate_bytes_s
        left = writings[min(passes, len(writings)) - 1].dirtied(pass_s + in_pass_s)
        in_pass_s = 0.0
        if left <= share:
            return Course(True, seconds, sent, passes, max(left, min(left_bytes, share)))
    return Course(False, seconds, sent, MAX_PASSES, left)


def steady(dirtied_bytes: float, seconds: float, kept_bytes: float) -> Writing:
    """A guest that goes on at the rate one pass has shown; what a pass keeps comes on top."""
    return Writing(dirtied_bytes / seconds, kept_bytes)


def straight(
    dirtied_bytes: float,
    seconds: float,
    earlier_dirtied_bytes: float,
    earlier_s: float,
    kept_bytes: float,
) -> Writing:
    """A guest on the straight line through two passes; steady where they are about as long."""
    if earlier_s < 1.2 * seconds:
        return steady(dirtied_bytes, seconds, kept_bytes)
    slope = (earlier_dirtied_bytes - dirtied_bytes) / (earlier_s - seconds)
    slope = max(0.0, min(slope, dirtied_bytes / seconds))
    return Writing(slope, kept_bytes + dirtied_bytes - slope * seconds)
