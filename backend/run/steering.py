"""What to do to a running migration, and why. Pure: samples and policy in, an action out.

Judged on predicted outcomes at the ends of passes; between them only what cannot wait (the
deadline, a post-copy that was to begin at once, a hold). Nothing repeats: the pause limit only
rises, post-copy and a suspend happen once, and nothing is decided while nothing is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.model import Moment, Policy, Sample, Tuning
from backend.plan.passes import PassSeen, passes_seen, silent_s, throughput
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
GRACE_S = 10.0
"""A switchover predicted within this is waited for beyond the deadline."""
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


@dataclass(frozen=True, slots=True)
class _Now:
    sample: Sample
    passes: tuple[PassSeen, ...]
    sends_bytes_s: float
    expected: Ahead | None
    in_pass_s: float

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
    if at_once and view.samples[-1].sent_bytes > 0:
        return Action("post-copy", "post-copy at once, as planned: copying ahead would take longer")
    if silent_s(view.samples) > SILENT_S:
        return None
    if not view.pass_ended and not _overdue(view):
        return None
    now = _now(view)
    if view.hold:
        return None
    return (
        _planned_post_copy(view)
        or _raise_limit(view, now)
        or _post_copy(view, now)
        or _suspend(view, now)
        or _give_up(view, now)
    )


def _now(view: View) -> _Now:
    sample = view.samples[-1]
    passes = passes_seen(view.samples, view.pause_limit_ms)
    return _Now(
        sample,
        passes,
        throughput(view.samples),
        ahead(sample, passes, view.prior),
        max(0.0, sample.t_s - passes[-1].start_s),
    )


def _overdue(view: View) -> bool:
    return view.deadline_s is not None and view.elapsed_s >= view.deadline_s


def _planned_post_copy(view: View) -> Action | None:
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
    return _limit(view, limit, f"saves about {seconds(saved[limit])} and {passes} passes")


def _limit(view: View, limit_ms: int, why: str) -> Action:
    return Action(
        "pause-limit", f"pause limit {view.pause_limit_ms} → {limit_ms} ms: {why}", limit_ms
    )


def _post_copy(view: View, now: _Now) -> Action | None:
    if not view.tuning.post_copy or now.sends_bytes_s <= 0 or now.sample.pass_number < 2:
        return None
    fetch_s = now.sample.remaining_bytes / now.sends_bytes_s
    course = now.course(view.pause_limit_ms)
    left = f"{size(now.sample.remaining_bytes)} left to fetch, {seconds(fetch_s)}"
    if course is not None and course.converges:
        if course.seconds <= POST_COPY_GAIN * fetch_s + POST_COPY_GAIN_S:
            return None
        why = f"copying ahead would take {seconds(course.seconds)} more"
        return Action("post-copy", f"post-copy: {why}; {left}")
    if course is None and not _overdue(view):
        return None
    return Action("post-copy", f"post-copy: copying ahead does not converge; {left}")


def _suspend(view: View, now: _Now) -> Action | None:
    """When only the rest of the deadline is left to send the rest in."""
    if not view.policy.suspend or view.deadline_s is None or now.sends_bytes_s <= 0:
        return None
    rest_s = now.sample.remaining_bytes / now.sends_bytes_s
    course = now.course(view.pause_limit_ms)
    in_time = course is not None and course.converges
    if in_time and view.elapsed_s + (course.seconds if course else 0.0) <= view.deadline_s:
        return None
    if view.elapsed_s + SUSPEND_MARGIN * (rest_s + _pass_s(now)) < view.deadline_s:
        return None
    left = size(now.sample.remaining_bytes)
    allowed = seconds(view.deadline_s)
    return Action(
        "suspend",
        f"VM suspended to finish within {allowed}: {left} left at"
        f" {rate(now.sends_bytes_s)}, a pause of about {seconds(rest_s + 0.1)}",
    )


def _pass_s(now: _Now) -> float:
    """Until there is another end of a pass to decide at."""
    ended = [one.took_s for one in now.passes if one.took_s]
    return ended[-1] if ended else 0.0


def _give_up(view: View, now: _Now) -> Action | None:
    if view.deadline_s is None or view.elapsed_s < view.deadline_s:
        return None
    course = now.course(view.pause_limit_ms)
    if course is not None and course.converges and course.seconds <= GRACE_S:
        return None
    left = size(now.sample.remaining_bytes)
    return Action(
        "abort",
        f"given up: not done within the {seconds(view.deadline_s)} that {view.policy.name} allows,"
        f" {left} left",
    )
