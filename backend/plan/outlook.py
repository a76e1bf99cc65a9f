"""What is to be said of a running migration now: a word, a reason with its numbers, the rest
as bands. Pure; follows the recurrence in `precopy` with what the passes so far have shown.

Bytes, bytes/s, seconds; pauses in ms. A figure that cannot be known yet is None and the reason
says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.model import Band, Outlook, Phase, Sample, Word
from backend.plan.judgement import hopeless
from backend.plan.passes import (
    PassSeen,
    likely_writing,
    pass_pace,
    passes_seen,
    silent_s,
    throughput,
)
from backend.plan.pause import predicted_pause, would_help
from backend.plan.precopy import Course, course
from backend.plan.wording import memory, ms_band, rate, seconds, seconds_band, size, two_digits

SILENT_S = 3.0
"""Nothing sent for this long is told."""


@dataclass(frozen=True, slots=True)
class _Running:
    """The figures every sentence about a running migration is made of."""

    now: Sample
    passes: tuple[PassSeen, ...]
    sends_bytes_s: float
    limit_ms: int

    @property
    def share_bytes(self) -> float:
        return self.sends_bytes_s * self.limit_ms / 1000


def outlook(samples: Sequence[Sample], pause_limit_ms: int, phase: Phase) -> Outlook:
    """The word, reason and figures for a migration that is in `phase`, from what it has shown.

    The word turns only at the end of a pass (`judgement` says when). `pause_limit_ms` is the
    limit in force now.
    """
    if phase is Phase.VERIFY:
        return Outlook(Word.SWITCHING_OVER, "both hosts are being asked where the VM runs now")
    if phase is Phase.SWITCHOVER:
        pause = predicted_pause(pause_limit_ms)
        reason = f"pausing the VM for about {ms_band(pause)} (allowed: {pause_limit_ms:,} ms)"
        return Outlook(Word.SWITCHING_OVER, reason, Band(0, 0, 0), pause, 0)
    if not samples:
        return Outlook(Word.STARTING, "the target is being prepared; nothing has been sent yet")
    if phase is Phase.DISK:
        return _copying_disk(samples)
    running = _Running(
        samples[-1], passes_seen(samples, pause_limit_ms), throughput(samples), pause_limit_ms
    )
    return _memory_outlook(samples, running)


def pass_ended_note(samples: Sequence[Sample], pause_limit_ms: int) -> str:
    """One line about the pass that has just ended, for the list of decisions; empty in pass 1."""
    passes = passes_seen(samples, pause_limit_ms)
    if len(passes) < 2:
        return ""
    one, now = passes[-2], passes[-1]
    rates = f"{rate(one.dirty_bytes_s or 0)} written, {rate(one.rate_bytes_s)} sent"
    view = outlook(samples, pause_limit_ms, Phase.MEMORY)
    if view.word is Word.WILL_NOT_CONVERGE:
        after = "does not converge"
    elif view.passes_left is None:
        after = "not clear yet"
    else:
        after = f"about {_passes(view.passes_left)}"
    return f"pass {one.number} ended: {rates}, {size(now.left_bytes)} left → {after}"


def _copying_disk(samples: Sequence[Sample]) -> Outlook:
    now, sends = samples[-1], throughput(samples)
    left = f"{memory(now.disk_remaining_bytes)} of {memory(now.disk_total_bytes)} of disk left"
    if sends <= 0:
        return Outlook(Word.COPYING_DISK, f"{left}; nothing has been sent in the last seconds")
    about = seconds(now.disk_remaining_bytes / sends)
    reason = f"{left}, at {rate(sends)}: about {about}, then the memory"
    expected = now.sent_bytes + now.disk_remaining_bytes + now.remaining_bytes
    return Outlook(Word.COPYING_DISK, reason, expected_sent_bytes=expected)


def _memory_outlook(samples: Sequence[Sample], running: _Running) -> Outlook:
    stuck = hopeless(running.passes, running.limit_ms)
    quiet_s = silent_s(samples)
    if quiet_s >= SILENT_S:
        word = Word.WILL_NOT_CONVERGE if stuck else Word.CONVERGING
        reason = f"nothing has been sent for {seconds(quiet_s)}: look at the link to the target"
        return Outlook(word, reason)
    if len(running.passes) == 1 and running.now.pass_number <= 1:
        return _first_pass(samples, running)
    if running.sends_bytes_s <= 0:
        return Outlook(Word.CONVERGING, "the first bytes have been sent; measuring the link")
    return _hopeless(running) if stuck else _converging(running)


def _first_pass(samples: Sequence[Sample], running: _Running) -> Outlook:
    now = running.now
    walked = max(0, now.total_bytes - now.remaining_bytes)
    reason = f"first pass: {memory(walked)} of {memory(now.total_bytes)} sent"
    pace = pass_pace(samples)
    if pace > 0:
        reason += f", at most {seconds(now.remaining_bytes / pace)} more"
    reason += "; how fast the VM writes shows at its end"
    sent_part = min(1.0, running.sends_bytes_s / pace) if pace > 0 else 1.0
    expected = round(now.sent_bytes + now.remaining_bytes * sent_part)
    return Outlook(
        Word.CONVERGING,
        reason,
        pause_ms=predicted_pause(running.limit_ms),
        expected_sent_bytes=expected,
    )


def _hopeless(running: _Running) -> Outlook:
    """Written is told with what the pass kept: all that has to be sent again."""
    one, now = running.passes[-2:]
    written = now.left_bytes / one.took_s if one.took_s else one.dirty_bytes_s or 0.0
    left = min(seen.left_bytes for seen in running.passes[-3:])
    would_ms = two_digits(1.05 * left / running.sends_bytes_s * 1000 + 1)
    return Outlook(Word.WILL_NOT_CONVERGE, would_help(written, one.rate_bytes_s, would_ms, left))


def _converging(running: _Running) -> Outlook:
    middle = _course_of(running)
    if not middle.converges:
        writes, sends = _two_rates(running)
        left = size(running.now.remaining_bytes)
        rates = f"writes {rate(writes)}, sends {rate(sends)}"
        reason = f"close: {rates}, {left} left; the next pass tells more"
        return Outlook(Word.CONVERGING, reason, pause_ms=predicted_pause(running.limit_ms))
    left_s = _left_band(running, middle)
    pause = predicted_pause(running.limit_ms)
    reason = (
        f"switchover in {seconds_band(left_s)}, then a pause of {ms_band(pause)}"
        f" (allowed: {running.limit_ms:,} ms)"
    )
    if middle.passes > 1:
        reason += f"; about {_passes(middle.passes)}"
    expected = round(running.now.sent_bytes + middle.sent_bytes + middle.left_bytes)
    return Outlook(Word.CONVERGING, reason, left_s, pause, middle.passes, expected)


def _passes(count: int) -> str:
    return "1 more pass" if count == 1 else f"{count} more passes"


def _two_rates(running: _Running) -> tuple[float, float]:
    """Written and sent, as the newest ended pass shows them."""
    ended = [one for one in running.passes if one.took_s is not None]
    if not ended:
        return running.now.dirty_bytes_s or 0.0, running.sends_bytes_s
    return ended[-1].dirty_bytes_s or 0.0, ended[-1].rate_bytes_s or running.sends_bytes_s


def _course_of(running: _Running) -> Course:
    least, _ = likely_writing(running.passes, running.share_bytes)
    in_pass_s = running.now.t_s - running.passes[-1].start_s
    return course(
        running.now.remaining_bytes,
        running.sends_bytes_s,
        least,
        running.limit_ms,
        max(0.0, in_pass_s),
    )


def _left_band(running: _Running, middle: Course) -> Band:
    """Around the middle: the link 7 % faster, and 7 % slower with the VM writing its most."""
    least, most = likely_writing(running.passes, running.share_bytes)
    in_pass_s = max(0.0, running.now.t_s - running.passes[-1].start_s)
    left, sends, limit = running.now.remaining_bytes, running.sends_bytes_s, running.limit_ms
    low = course(left, 1.07 * sends, least, limit, in_pass_s)
    high = course(left, 0.93 * sends, most, limit, in_pass_s)
    most_s = high.seconds if high.converges else 3 * middle.seconds
    return Band(min(low.seconds, middle.seconds), middle.seconds, max(most_s, middle.seconds + 0.5))
