"""What to do to a running migration, and why. Pure: samples and policy in, an action out.

Judged on predicted outcomes at the ends of passes; between them only what cannot wait (the
deadline, a post-copy that was to begin at once, a hold). Nothing repeats: the pause limit only
rises, post-copy and a suspend happen once, and nothing is decided while nothing is sent.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from backend.model import Moment, Policy, Sample, Tuning
from backend.plan.passes import STALL_S, PassSeen, passes_seen, silent_s, throughput
from backend.plan.precopy import Course
from backend.plan.running import Ahead, Prior, ahead
from backend.plan.tuning import (
    POST_COPY_GAIN,
    POST_COPY_GAIN_S,
    candidates_ms,
    most_pause_limit_ms,
)
from backend.plan.wording import rate, seconds, size

SILENT_S = 2.0
WORTH_S = 1.0
WORTH_PART = 0.15
RECENT_S = 8.0
SENDING_AGAIN_S = 1.5
"""After a stall: how long it must have been sending before its rate says anything."""
GRACE_S = 10.0
"""A switchover predicted within this is waited for beyond the deadline, and for as long again."""
SILENCE_ENDS_S = 60.0
"""libvirt's keepalive ends a migration after 30 s, unless only QEMU's own stream is cut."""
SUSPEND_MARGIN = 1.3
"""A suspended VM's memory is sent at about the link's rate; the deadline should still be kept."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do; `kind` as in `Decision.action`."""

    kind: str
    reason: str
    pause_ms: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All that a decision rests on."""

    samples: Sequence[Sample]
    policy: Policy
    tuning: Tuning
    prior: Prior
    pause_limit_ms: int
    elapsed_s: float
    """Since the migrate call."""
    deadline_s: float | None
    pass_ended: bool
    post_copy: bool
    suspended: bool
    hold: bool
    by_operator: bool
    """The operator has set the pause limit: it stays."""
    refused: frozenset[str] = frozenset()
    """Kinds of action that the hosts have refused: not asked for again."""


@dataclass(frozen=True, slots=True)
class _Now:
    sample: Sample
    passes: tuple[PassSeen, ...]
    sends_bytes_s: float
    expected: Ahead | None
    in_pass_s: float
    pass_ended: bool

    def course(self, limit_ms: int) -> Course | None:
        if self.expected is None or self.sends_bytes_s <= 0:
            return None
        left = self.sample.remaining_bytes
        return self.expected.go(left, self.sends_bytes_s, limit_ms, self.in_pass_s)


def decide(view: View) -> Action | None:
    """The next thing to do; None: wait."""
    if not view.samples or view.post_copy or view.suspended:
        return None
    at_once = view.tuning.switch is Moment.AT_ONCE and not view.hold
    if at_once and view.samples[-1].sent_bytes > 0 and "post-copy" not in view.refused:
        return Action("post-copy", "post-copy at once, as planned: copying ahead would take longer")
    ended_or_late = view.pass_ended or _overdue(view)
    if view.hold or not (ended_or_late or _may_suspend(view)):
        return None
    if not can_tell(view.samples):
        return _give_up_silent(view)
    now = _now(view)
    steps = (_planned_post_copy, _raise_limit, _post_copy, _suspend, _give_up)
    for step in steps if ended_or_late else (_suspend,):
        action = step(view, now)
        if action is not None and action.kind not in view.refused:
            return action
    return None


def can_tell(samples: Sequence[Sample]) -> bool:
    """False while nothing is sent, and so shortly after that the rate says nothing yet."""
    if silent_s(samples) > SILENT_S:
        return False
    recent = _since_stall(samples)
    return recent[-1].t_s - recent[0].t_s >= SENDING_AGAIN_S


def _since_stall(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The newest, back to where nothing was sent: a stall says nothing of the link's rate."""
    oldest_s = samples[-1].t_s - RECENT_S
    recent = samples[bisect_left(samples, oldest_s, key=lambda sample: sample.t_s) :]
    moved_s, begins = recent[0].t_s, 0
    for index, (before, after) in enumerate(pairwise(recent), 1):
        if after.sent_bytes <= before.sent_bytes:
            continue
        if after.t_s - moved_s > STALL_S:
            begins = index
        moved_s = after.t_s
    return recent[begins:]


def _now(view: View) -> _Now:
    sample = view.samples[-1]
    passes = passes_seen(view.samples, view.pause_limit_ms)
    return _Now(
        sample,
        passes,
        throughput(_since_stall(view.samples)),
        ahead(sample, passes, view.prior),
        max(0.0, sample.t_s - passes[-1].start_s),
        view.pass_ended,
    )


def _overdue(view: View) -> bool:
    return view.deadline_s is not None and view.elapsed_s >= view.deadline_s


def _may_suspend(view: View) -> bool:
    """In the middle of a pass too, but not of the first, in which nearly all is still left."""
    allowed = view.policy.suspend and view.deadline_s is not None
    return allowed and view.samples[-1].pass_number > 1


def _planned_post_copy(view: View, _now: _Now) -> Action | None:
    planned = view.tuning.switch is Moment.AFTER_PASS_1
    if not planned or view.samples[-1].pass_number < 2:
        return None
    left = size(view.samples[-1].remaining_bytes)
    return Action("post-copy", f"post-copy after the first pass, as planned: {left} to fetch")


def _raise_limit(view: View, now: _Now) -> Action | None:
    """The lowest limit that has most of what the best would save."""
    if view.by_operator or view.pause_limit_ms >= most_pause_limit_ms(view.policy):
        return None
    here = now.course(view.pause_limit_ms)
    higher = [limit for limit in candidates_ms(view.policy) if limit > view.pause_limit_ms]
    courses = {limit: now.course(limit) for limit in higher}
    good = {limit: one for limit, one in courses.items() if one is not None and one.converges}
    if here is None or not good:
        return None
    if not here.converges:
        limit = min(good)
        reason = f"with {view.pause_limit_ms} ms it does not converge, with {limit} ms"
        return _limit(view, limit, f"{reason} in about {seconds(good[limit].seconds)}")
    saved = {limit: here.seconds - one.seconds for limit, one in good.items()}
    best = max(saved.values())
    if best < max(WORTH_S, WORTH_PART * here.seconds):
        return None
    limit = min(limit for limit, gain in saved.items() if gain >= 0.8 * best)
    passes = here.passes - good[limit].passes
    fewer = "" if passes < 1 else " and a pass" if passes == 1 else f" and {passes} passes"
    return _limit(view, limit, f"saves about {seconds(saved[limit])}{fewer}")


def _limit(view: View, limit_ms: int, why: str) -> Action:
    return Action(
        "pause-limit", f"pause limit {view.pause_limit_ms} → {limit_ms} ms: {why}", limit_ms
    )


def _post_copy(view: View, now: _Now) -> Action | None:
    early = now.sample.pass_number < 2 and not _overdue(view)
    if not view.tuning.post_copy or now.sends_bytes_s <= 0 or early:
        return None
    fetch_s = now.sample.remaining_bytes / now.sends_bytes_s
    course = now.course(view.pause_limit_ms)
    left = f"{size(now.sample.remaining_bytes)} left to fetch, {seconds(fetch_s)}"
    if _overdue(view):
        return Action("post-copy", f"post-copy: its deadline is over; {left}")
    if course is not None and course.converges:
        if course.seconds <= POST_COPY_GAIN * fetch_s + POST_COPY_GAIN_S:
            return None
        why = f"copying ahead would take {seconds(course.seconds)} more"
        return Action("post-copy", f"post-copy: {why}; {left}")
    if course is None:
        return None
    return Action("post-copy", f"post-copy: copying ahead does not converge; {left}")


def _suspend(view: View, now: _Now) -> Action | None:
    """When only the rest of the deadline is left to send the rest in."""
    if not _may_suspend(view) or view.deadline_s is None or now.sends_bytes_s <= 0:
        return None
    rest = _all_left(now)
    rest_s = rest / now.sends_bytes_s
    course = now.course(view.pause_limit_ms)
    in_time = course is not None and course.converges
    if in_time and view.elapsed_s + (course.seconds if course else 0.0) <= view.deadline_s:
        return None
    if view.elapsed_s + SUSPEND_MARGIN * (rest_s + _pass_s(now)) < view.deadline_s:
        return None
    left = size(rest)
    allowed = seconds(view.deadline_s)
    return Action(
        "suspend",
        f"VM suspended to finish within {allowed}: {left} left at"
        f" {rate(now.sends_bytes_s)}, a pause of about {seconds(rest_s + 0.1)}",
    )


def _all_left(now: _Now) -> float:
    """With what was written in the running pass, which QEMU finds only at its end."""
    written = now.expected.likely[0].dirtied(now.in_pass_s) if now.expected else 0.0
    return min(float(now.sample.total_bytes), now.sample.remaining_bytes + written)


def _pass_s(now: _Now) -> float:
    """Until there is another end of a pass, where the least is left; 0 in the middle of one."""
    if not now.pass_ended:
        return 0.0
    ended = [one.took_s for one in now.passes if one.took_s]
    return ended[-1] if ended else 0.0


def _give_up_silent(view: View) -> Action | None:
    """The deadline is over, and nothing has been sent for longer than libvirt itself waits."""
    quiet_s = silent_s(view.samples)
    if not _overdue(view) or quiet_s <= SILENCE_ENDS_S or "abort" in view.refused:
        return None
    allowed = seconds(view.deadline_s or 0.0)
    return Action(
        "abort",
        f"given up: nothing has been sent for {seconds(quiet_s)}, and the {allowed} that"
        f" {view.policy.name} allows are over",
    )


def _suspends_soon(now: _Now, over_s: float) -> bool:
    """It is suspended instead of given up, once its first pass has ended: a suspend before would
    stop it for all of that and gain nothing. False where that is too far beyond the deadline."""
    if now.sample.pass_number > 1:
        return True
    if now.sends_bytes_s <= 0:
        return False
    return over_s + now.sample.remaining_bytes / now.sends_bytes_s <= 2 * GRACE_S


def _give_up(view: View, now: _Now) -> Action | None:
    if view.deadline_s is None or view.elapsed_s < view.deadline_s:
        return None
    over_s = view.elapsed_s - view.deadline_s
    if view.policy.suspend and "suspend" not in view.refused and _suspends_soon(now, over_s):
        return None
    course = now.course(view.pause_limit_ms)
    soon = course is not None and course.converges and course.seconds <= GRACE_S
    if soon and over_s + (course.seconds if course else 0.0) <= 2 * GRACE_S:
        return None
    left = size(now.sample.remaining_bytes)
    return Action(
        "abort",
        f"given up: not done within the {seconds(view.deadline_s)} that {view.policy.name} allows,"
        f" {left} left",
    )
