"""What is to be said while disks are copied, before the memory. Pure."""

from collections.abc import Sequence

from backend.model import Band, Outlook, Sample, Word
from backend.plan.running import NOTHING, Prior
from backend.plan.wording import memory, rate, seconds

SILENT_S = 3.0


def copying_disk(samples: Sequence[Sample], prior: Prior = NOTHING) -> Outlook:
    """How much is left, at which rate, and for how long; then comes the memory."""
    now = samples[-1]
    left = f"{memory(now.disk_remaining_bytes)} of {memory(now.disk_total_bytes)} of disk left"
    expected = now.sent_bytes + now.disk_remaining_bytes
    expected = round(expected + (prior.first_pass_bytes or now.remaining_bytes))
    quiet_s = _silent_s(samples)
    if quiet_s >= SILENT_S:
        reason = f"{left}; nothing has been copied for {seconds(quiet_s)}: look at the link"
        return Outlook(Word.COPYING_DISK, f"{reason} to the target", expected_sent_bytes=expected)
    if now.rate_bytes_s <= 0:
        return Outlook(Word.COPYING_DISK, f"{left}; measuring", expected_sent_bytes=expected)
    about_s = now.disk_remaining_bytes / now.rate_bytes_s
    reason = f"{left}, at {rate(now.rate_bytes_s)}: about {seconds(about_s)}, then the memory"
    return Outlook(Word.COPYING_DISK, reason, _left_s(about_s, now, prior), None, None, expected)


def copying_here(samples: Sequence[Sample]) -> Outlook:
    """The same of disks that move between pools of one host: nothing comes after them."""
    now = samples[-1]
    left = f"{memory(now.disk_remaining_bytes)} of {memory(now.disk_total_bytes)} of disk left"
    quiet_s = _silent_s(samples)
    if quiet_s >= SILENT_S and now.disk_remaining_bytes:
        reason = f"{left}; nothing has been copied for {seconds(quiet_s)}: look at the pool"
        return Outlook(Word.COPYING_DISK, reason)
    if now.rate_bytes_s <= 0:
        return Outlook(Word.COPYING_DISK, f"{left}; measuring")
    about_s = now.disk_remaining_bytes / now.rate_bytes_s
    reason = f"{left}, at {rate(now.rate_bytes_s)}: about {seconds(about_s)}"
    return Outlook(Word.COPYING_DISK, reason, Band(0.8 * about_s, about_s, 1.5 * about_s))


def _left_s(disks_s: float, now: Sample, prior: Prior) -> Band | None:
    """Until the switchover, where the link and the memory are known."""
    if prior.first_pass_bytes is None or not prior.link_bytes_s:
        return None
    whole_s = disks_s + prior.first_pass_bytes / prior.link_bytes_s
    return Band(0.8 * whole_s, whole_s, 1.5 * whole_s)


def _silent_s(samples: Sequence[Sample]) -> float:
    newest = samples[-1]
    quiet = next((one for one in samples if one.sent_bytes == newest.sent_bytes), newest)
    return newest.t_s - quiet.t_s
