"""What is to be said of a running migration now: a word, a reason with its numbers, the rest
as bands. Pure; follows the recurrence in `precopy` with what the passes so far have shown.

Bytes, bytes/s, seconds; pauses in ms. A figure that cannot be known yet is None and the reason
says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.model import Band, Outlook, Phase, Sample, Word
from backend.plan.copying import copying_disk
from backend.plan.judgement import hopeless
from backend.plan.passes import PassSeen, of_memory, pass_pace, passes_seen, silent_s, throughput
from backend.plan.pause import predicted_pause, would_help
from backend.plan.policy import THROTTLE_PERCENT_MAX
from backend.plan.precopy import Course
from backend.plan.running import NOTHING, Ahead, Prior, ahead
from backend.plan.simulate import FINISH_S
from backend.plan.tuning import needed_throttle
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
    prior: Prior
    ahead: Ahead | None

    @property
    def in_pass_s(self) -> float:
        return max(0.0, self.now.t_s - self.passes[-1].start_s)

    @property
    def middle(self) -> Course | None:
        """The likely course; None while the VM's writing is not known."""
        if self.ahead is None or self.sends_bytes_s <= 0:
            return None
        left, sends = self.now.remaining_bytes, self.sends_bytes_s
        return self.ahead.go(left, sends, self.limit_ms, self.in_pass_s)


def outlook(
    samples: Sequence[Sample], pause_limit_ms: int, phase: Phase, prior: Prior = NOTHING
) -> Outlook:
    """The word, reason and figures for a migration that is in `phase`, from what it has shown.

    The word turns only at the end of a pass (`judgement` says when). `pause_limit_ms` is the
    limit in force now; `prior` is what was known before the start.
    """
    samples = samples if phase is Phase.DISK else of_memory(samples)
    if phase is Phase.VERIFY:
        return Outlook(Word.SWITCHING_OVER, "both hosts are being asked where the VM runs now")
    if phase is Phase.SWITCHOVER:
        pause = predicted_pause(pause_limit_ms, prior.pauses_ms)
        allowed = prior.allowed_ms or pause_limit_ms
        reason = f"pausing the VM for about {ms_band(pause)} (allowed: {allowed:,} ms)"
        return Outlook(Word.SWITCHING_OVER, reason, Band(0, 0, 0), pause, 0)
    if not samples:
        return Outlook(Word.STARTING, "the target is being prepared; nothing has been sent yet")
    if phase is Phase.DISK:
        return copying_disk(samples, prior)
    return _memory_outlook(samples, _running(samples, pause_limit_ms, prior))


def _running(samples: Sequence[Sample], pause_limit_ms: int, prior: Prior) -> _Running:
    passes = passes_seen(samples, pause_limit_ms)
    expected = ahead(samples[-1], passes, prior)
    return _Running(samples[-1], passes, throughput(samples), pause_limit_ms, prior, expected)


def pass_ended_note(samples: Sequence[Sample], pause_limit_ms: int, prior: Prior = NOTHING) -> str:
    """One line about the pass that has just ended, for the list of decisions; empty in pass 1."""
    samples = of_memory(samples)
    passes = passes_seen(samples, pause_limit_ms)
    if len(passes) < 2:
        return ""
    one, now = passes[-2], passes[-1]
    rates = f"{rate(one.dirty_bytes_s or 0)} written, {rate(one.rate_bytes_s)} sent"
    view = outlook(samples, pause_limit_ms, Phase.MEMORY, prior)
    if view.word is Word.WILL_NOT_CONVERGE:
        after = "does not converge"
    elif view.passes_left is None:
        after = "not clear yet"
    else:
        after = f"about {_passes(view.passes_left)}"
    return f"pass {one.number} ended: {rates}, {size(now.left_bytes)} left → {after}"


def _memory_outlook(samples: Sequence[Sample], running: _Running) -> Outlook:
    stuck = hopeless(running.passes, running.limit_ms) and not _throttle_will_do(running)
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


def _throttle_will_do(running: _Running) -> bool:
    """It did not converge so far, but the VM is, or will be, slower than it was."""
    if running.prior.throttle_start_percent is None:
        return False
    ended = [one for one in running.passes if one.took_s is not None]
    judged = ended[-1].throttle_percent if ended else 0
    if 0 < judged == (running.now.throttle_percent or 0):
        return False
    middle = running.middle
    return middle is not None and middle.converges


def _first_pass(samples: Sequence[Sample], running: _Running) -> Outlook:
    now = running.now
    walked = max(0, now.total_bytes - now.remaining_bytes)
    reason = f"first pass: {memory(walked)} of {memory(now.total_bytes)} sent"
    foreseen = _foreseen(running)
    if foreseen is not None:
        return foreseen
    pace = pass_pace(samples)
    if pace > 0:
        reason += f", at most {seconds(now.remaining_bytes / pace)} more"
    reason += "; how fast the VM writes shows at its end"
    sent_part = min(1.0, running.sends_bytes_s / pace) if pace > 0 else 1.0
    expected = round(now.sent_bytes + now.remaining_bytes * sent_part)
    return Outlook(
        Word.CONVERGING,
        reason,
        pause_ms=predicted_pause(running.limit_ms, running.prior.pauses_ms),
        expected_sent_bytes=expected,
    )


def _foreseen(running: _Running) -> Outlook | None:
    """In the first pass already, by what was known before: how much it sends, what is written."""
    now, first, expected = running.now, running.prior.first_pass_bytes, running.ahead
    if first is None or expected is None or running.sends_bytes_s <= 0:
        return None
    left = min(float(now.remaining_bytes), max(first - now.memory_sent_bytes, 0.02 * first))
    went = (left, running.sends_bytes_s, running.limit_ms, running.in_pass_s)
    middle = expected.go(*went)
    if not middle.converges:
        return None
    left_s = _left_band(middle, expected.band(*went))
    pause = predicted_pause(running.limit_ms, running.prior.pauses_ms)
    reason = (
        f"first pass: {size(now.memory_sent_bytes)} of about {size(first)} sent; switchover in"
        f" {seconds_band(left_s)}, then a pause of {ms_band(pause)}"
    )
    total = round(now.sent_bytes + middle.sent_bytes + middle.left_bytes)
    whole_s = _whole(now, left_s)
    return Outlook(Word.CONVERGING, reason, left_s, pause, middle.passes, total, whole_s)


def _hopeless(running: _Running) -> Outlook:
    """Written is told with what the pass kept: all that has to be sent again."""
    one, now = running.passes[-2:]
    written = now.left_bytes / one.took_s if one.took_s else one.dirty_bytes_s or 0.0
    left = min(seen.left_bytes for seen in running.passes[-3:])
    would_ms = two_digits(1.05 * left / running.sends_bytes_s * 1000 + 1)
    reason = would_help(written, one.rate_bytes_s, would_ms, left)
    return Outlook(Word.WILL_NOT_CONVERGE, reason + _started_again(running, written))


def _started_again(running: _Running, written: float) -> str:
    """What can only be set at the start: abort and start again with it."""
    if running.prior.throttle_start_percent is not None:
        return "; or abort and start again under must-finish (post-copy)"
    needed = needed_throttle(written, running.sends_bytes_s, running.prior.cpu_part)
    throttle = f"balanced (a throttle of {needed} %) or " if needed <= THROTTLE_PERCENT_MAX else ""
    return f"; or abort and start again under {throttle}must-finish (post-copy)"


def _converging(running: _Running) -> Outlook:
    middle = running.middle
    if middle is None or running.ahead is None or not middle.converges:
        writes, sends = _two_rates(running)
        left = size(running.now.remaining_bytes)
        rates = f"writes {rate(writes)}, sends {rate(sends)}"
        reason = f"close: {rates}, {left} left; the next pass tells more"
        return Outlook(
            Word.CONVERGING,
            reason,
            pause_ms=predicted_pause(running.limit_ms, running.prior.pauses_ms),
        )
    went = (running.now.remaining_bytes, running.sends_bytes_s, running.limit_ms, running.in_pass_s)
    left_s = _left_band(middle, running.ahead.band(*went))
    pause = predicted_pause(running.limit_ms, running.prior.pauses_ms)
    reason = (
        f"switchover in {seconds_band(left_s)}, then a pause of {ms_band(pause)}"
        f" (allowed: {running.prior.allowed_ms or running.limit_ms:,} ms)"
    )
    if middle.passes > 1:
        reason += f"; about {_passes(middle.passes)}"
    expected = round(running.now.sent_bytes + middle.sent_bytes + middle.left_bytes)
    whole_s = _whole(running.now, left_s)
    return Outlook(Word.CONVERGING, reason, left_s, pause, middle.passes, expected, whole_s)


def _whole(now: Sample, left_s: Band) -> Band:
    """What the migrate call will have taken: so far, until the switchover, and the finish."""
    return Band(
        now.t_s + left_s.low + FINISH_S.low,
        now.t_s + left_s.mid + FINISH_S.mid,
        now.t_s + left_s.high + FINISH_S.high,
    )


def _passes(count: int) -> str:
    return "1 more pass" if count == 1 else f"{count} more passes"


def _two_rates(running: _Running) -> tuple[float, float]:
    """Written and sent, as the newest ended pass shows them."""
    ended = [one for one in running.passes if one.took_s is not None]
    if not ended:
        return running.now.dirty_bytes_s or 0.0, running.sends_bytes_s
    return ended[-1].dirty_bytes_s or 0.0, ended[-1].rate_bytes_s or running.sends_bytes_s


def _left_band(middle: Course, ends: tuple[Course, Course]) -> Band:
    """Around the middle: the best case and the worst."""
    low, high = ends
    most_s = high.seconds if high.converges else 3 * middle.seconds
    return Band(min(low.seconds, middle.seconds), middle.seconds, max(most_s, middle.seconds + 0.5))
