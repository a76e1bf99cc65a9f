"""Steering, driven by a small QEMU: what an operator is promised of it."""

import re
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.model import Moment, Phase, Policy, Sample, Tuning, Word
from backend.plan.forecast import outlook
from backend.plan.outset import Outset, views
from backend.plan.policy import BALANCED, BUILT_IN, FREEZE, GENTLE, MUST_FINISH
from backend.plan.running import NOTHING, Prior
from backend.plan.tuning import choose, first_pause_limit_ms, most_pause_limit_ms
from backend.plan.writes import Count
from backend.run.steering import Action, View, decide

MB = 1_000_000
MEMORY = 512 * 2**20
TICK_S = 0.05
LIVELY = settings(max_examples=25, deadline=None)


@dataclass
class Qemu:
    """Pre-copy of a VM that rewrites `over` bytes at `writes` bytes/s, over `link` bytes/s.

    Passes end where what is left fits the pause limit; auto-converge is QEMU 7.2's. The rates
    are functions of the time, so that a link can stall or halve and a VM get busy.
    """

    writes: float
    over: float
    link: float
    policy: Policy
    tuning: Tuning
    deadline_s: float | None = None
    in_use: float = 300.0 * MB
    prior: Prior = NOTHING
    stall_at_s: float = float("inf")
    stall_s: float = 30.0
    halves_at_s: float = float("inf")
    busy_at_s: float = float("inf")
    busy_writes: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    actions: list[tuple[float, Action]] = field(default_factory=list)
    limits_ms: list[int] = field(default_factory=list)
    ended_s: float | None = None
    end: str = ""
    steered_s: float = 0.0
    words: list[Word] = field(default_factory=list)
    look: bool = False
    refuses: frozenset[str] = frozenset()

    def sends(self, t_s: float) -> float:
        if self.stall_at_s <= t_s < self.stall_at_s + self.stall_s:
            return 0.0
        return self.link / 2 if t_s >= self.halves_at_s else self.link

    def written(self, t_s: float, throttle: int) -> float:
        rate = self.busy_writes if t_s >= self.busy_at_s else self.writes
        return rate * (1 - throttle / 100)

    def run(self, most_s: float = 600.0) -> "Qemu":
        limit = self.tuning.pause_limit_ms
        self.limits_ms = [limit]
        left, dirty, sent, t = self.in_use, 0.0, 0.0, 0.0
        passes, began, rate, dirty_rate, throttle, high = 1, 0.0, self.link, None, 0, 0
        sent_before, sampled, refused = 0.0, 1, False
        suspended = post_copy = False
        ticks = 0
        while t < most_s:
            speed = self.sends(t)
            moved = min(left, speed * TICK_S)
            left, sent, t, ticks = left - moved, sent + moved, t + TICK_S, ticks + 1
            if not suspended and not post_copy:
                dirty = min(self.over, dirty + self.written(t, throttle) * TICK_S)
            if speed:
                rate += 0.1 * (speed - rate)
            share = rate * limit / 1000
            if (post_copy or suspended) and left + dirty <= 0:
                return self._ended(t, "moved")
            if post_copy:
                continue
            if left <= share:
                took = t - began
                left, dirty_rate = left + dirty, dirty / took if took else None
                if left <= share and speed:
                    return self._ended(t, "moved")
                start = self.tuning.throttle_start_percent
                if start is not None and dirty > 0.5 * (sent - sent_before):
                    high += 1
                    if high >= 2:
                        high = 0
                        step = self.tuning.throttle_step_percent
                        throttle = min(99, throttle + step if throttle else start)
                passes, began, dirty, sent_before = passes + 1, t, 0.0, sent
            if ticks % 4:
                continue
            self.samples.append(
                Sample(
                    t_s=round(t, 3),
                    pass_number=passes,
                    remaining_bytes=round(left),
                    total_bytes=MEMORY,
                    sent_bytes=round(sent),
                    rate_bytes_s=rate,
                    dirty_bytes_s=dirty_rate,
                    pause_limit_ms=limit,
                    throttle_percent=throttle or None,
                )
            )
            if self.look:
                self.words.append(outlook(self.samples, limit, Phase.MEMORY, self.prior).word)
            begun = time.perf_counter()
            action = decide(
                View(
                    samples=self.samples,
                    policy=self.policy,
                    tuning=self.tuning,
                    prior=self.prior,
                    pause_limit_ms=limit,
                    elapsed_s=t,
                    deadline_s=self.deadline_s,
                    pass_ended=passes != sampled,
                    post_copy=post_copy,
                    suspended=suspended,
                    hold=False,
                    by_operator=False,
                    refused=self.refuses if refused else frozenset(),
                )
            )
            self.steered_s += time.perf_counter() - begun
            sampled = passes
            if action is None:
                continue
            self.actions.append((t, action))
            if action.kind in self.refuses:
                refused = True
                continue
            match action.kind:
                case "pause-limit":
                    assert action.pause_ms is not None
                    limit = action.pause_ms
                    self.limits_ms.append(limit)
                case "post-copy":
                    post_copy, left, dirty = True, left + dirty, 0.0
                case "suspend":
                    suspended = True
                case "abort":
                    return self._ended(t, "stayed")
        return self._ended(t, "")

    def _ended(self, t_s: float, end: str) -> "Qemu":
        self.ended_s, self.end = t_s, end
        return self

    def kinds(self) -> Counter[str]:
        return Counter(action.kind for _, action in self.actions)


def guest(
    writes: float,
    policy: Policy,
    over: float = 200.0 * MB,
    link: float = 24.0 * MB,
    deadline_s: float | None = None,
    **more: object,
) -> Qemu:
    """Begun as a plan would begin it: with readings, and the settings chosen from them."""
    counts = tuple(
        Count(period_s, min(writes * period_s, over), MEMORY / 256)
        for _ in range(2)
        for period_s in (1.0, 2.0, 4.0, 8.0)
    )
    start = Outset(
        MEMORY, 300 * MB, link_bytes_s=link, link_origin="probed", counts=counts, cpu_part=0.5
    )
    seen = views(start)
    tuning = choose(start, policy, seen)
    prior = Prior(
        counts=counts,
        first_pass_bytes=290.0 * MB,
        most_bytes=300.0 * MB,
        cpu_part=0.5,
        throttle_start_percent=tuning.throttle_start_percent,
        link_bytes_s=link,
        allowed_ms=policy.pause_ms,
    )
    run = Qemu(writes, over, link, policy, tuning, deadline_s, prior=prior)
    for name, value in more.items():
        setattr(run, name, value)
    return run


GUESTS = st.builds(
    guest,
    writes=st.floats(0, 80.0 * MB),
    policy=st.sampled_from(BUILT_IN),
    over=st.floats(1.0 * MB, 300.0 * MB),
    link=st.floats(8.0 * MB, 60.0 * MB),
    deadline_s=st.none() | st.floats(20, 200),
    stall_at_s=st.floats(1, 60) | st.just(float("inf")),
    halves_at_s=st.floats(1, 60) | st.just(float("inf")),
    busy_at_s=st.floats(1, 60) | st.just(float("inf")),
    busy_writes=st.floats(0, 100.0 * MB),
)


@LIVELY
@given(GUESTS)
def test_nothing_repeats_oscillates_or_goes_past_the_budget(run: Qemu) -> None:
    run.run(300)
    assert all(before < after for before, after in pairwise(run.limits_ms))
    assert run.limits_ms[-1] <= most_pause_limit_ms(run.policy)
    kinds = run.kinds()
    for once in ("post-copy", "suspend", "abort"):
        assert kinds[once] <= 1
    assert run.policy.post_copy or not kinds["post-copy"]
    assert run.policy.suspend or not kinds["suspend"]
    assert run.deadline_s is not None or not kinds["abort"]
    for t_s, action in run.actions:
        quiet = run.stall_at_s + 2.5 <= t_s <= run.stall_at_s + run.stall_s
        assert not quiet, "nothing is decided while nothing is sent"
        assert re.search(r"\d", action.reason) or "as planned" in action.reason


@LIVELY
@given(GUESTS)
def test_a_deadline_is_kept(run: Qemu) -> None:
    if run.deadline_s is None:
        return
    run.run(400)
    assert run.ended_s is not None
    pauses = run.kinds()["suspend"] + run.kinds()["post-copy"]
    stalled = 35.0 if run.stall_at_s < run.deadline_s + 25 else 0.0
    if not pauses:
        assert run.ended_s <= run.deadline_s + 22 + stalled


@pytest.mark.parametrize("deadline_s", [30.0, 60.0, 150.0])
def test_gentle_gives_up_in_time_and_says_so(deadline_s: float) -> None:
    run = guest(60 * MB, GENTLE, deadline_s=deadline_s).run()
    assert run.end == "stayed"
    assert run.kinds()["abort"] == 1
    assert run.ended_s is not None
    assert deadline_s <= run.ended_s <= deadline_s + 2
    assert "gentle" in run.actions[-1][1].reason
    assert f"{deadline_s:.0f} s" in run.actions[-1][1].reason or deadline_s > 120


def test_a_migration_about_to_finish_is_not_aborted_at_its_deadline() -> None:
    free = guest(5 * MB, GENTLE).run()
    assert free.end == "moved"
    assert free.ended_s is not None
    for early_s in (0.5, 1.0, 3.0):
        run = guest(5 * MB, GENTLE, deadline_s=free.ended_s - early_s).run()
        assert run.end == "moved"


@pytest.mark.parametrize("writes", [30 * MB, 60 * MB, 100 * MB])
@pytest.mark.parametrize("deadline_s", [60.0, 100.0])
def test_freeze_suspends_once_and_in_time(writes: float, deadline_s: float) -> None:
    run = guest(writes, FREEZE, deadline_s=deadline_s)
    run.tuning = replace(run.tuning, throttle_start_percent=None)
    run.prior = replace(run.prior, throttle_start_percent=None)
    run.run()
    assert run.end == "moved"
    assert run.kinds()["suspend"] == 1
    assert run.ended_s is not None
    assert run.ended_s <= deadline_s + 1


def test_freeze_suspends_in_time_when_the_link_halves_in_a_long_pass() -> None:
    run = guest(60 * MB, FREEZE, deadline_s=80.0, halves_at_s=40.0)
    run.tuning = replace(run.tuning, throttle_start_percent=None)
    run.prior = replace(run.prior, throttle_start_percent=None)
    run.run()
    assert run.kinds()["suspend"] == 1
    assert run.ended_s is not None
    assert run.ended_s <= 80 + 5


def test_freeze_is_suspended_after_its_first_pass_even_when_that_is_too_late() -> None:
    run = guest(60 * MB, FREEZE, deadline_s=5.0).run()
    assert run.end == "moved"
    assert run.kinds() == {"suspend": 1}
    first_pass_s = run.in_use / run.link
    assert run.actions[0][0] == pytest.approx(first_pass_s, abs=2)


def test_freeze_gives_up_where_its_first_pass_would_last_far_beyond_its_deadline() -> None:
    run = guest(0, FREEZE, link=8 * MB, deadline_s=20.0, halves_at_s=1.0).run()
    assert run.end == "stayed"
    assert run.kinds() == {"abort": 1}
    assert run.ended_s is not None
    assert 20 <= run.ended_s <= 22


def test_freeze_gives_up_when_the_suspend_is_refused() -> None:
    run = guest(60 * MB, FREEZE, deadline_s=60.0, refuses=frozenset({"suspend"}))
    run.tuning = replace(run.tuning, throttle_start_percent=None)
    run.run()
    assert run.end == "stayed"


def test_freeze_leaves_a_quiet_vm_alone() -> None:
    run = guest(2 * MB, FREEZE, deadline_s=60.0).run()
    assert run.end == "moved"
    assert not run.kinds()["suspend"]


@pytest.mark.parametrize("writes", [20 * MB, 30 * MB, 60 * MB, 100 * MB])
def test_must_finish_starts_post_copy_once_for_a_busy_vm(writes: float) -> None:
    run = guest(writes, MUST_FINISH).run()
    assert run.end == "moved"
    assert run.kinds()["post-copy"] == 1
    assert run.ended_s is not None
    assert run.ended_s < 30


@pytest.mark.parametrize("writes", [0, MB // 2, 2 * MB, 5 * MB])
def test_must_finish_copies_a_quiet_vm_ahead(writes: float) -> None:
    run = guest(writes, MUST_FINISH).run()
    assert run.end == "moved"
    assert not run.kinds()["post-copy"]


def test_must_finish_turns_to_post_copy_when_a_quiet_vm_gets_busy() -> None:
    run = guest(2 * MB, MUST_FINISH, busy_at_s=6.0, busy_writes=60.0 * MB).run()
    assert run.tuning.switch is None
    assert run.end == "moved"
    assert run.kinds()["post-copy"] == 1


@pytest.mark.parametrize("at_s", [2.0, 8.0, 14.0, 16.0])
@pytest.mark.parametrize("writes", [5 * MB, 10 * MB])
@pytest.mark.parametrize("policy", BUILT_IN)
def test_a_stall_of_30_s_decides_nothing(policy: Policy, writes: float, at_s: float) -> None:
    free = guest(writes, policy).run()
    run = guest(writes, policy, stall_at_s=at_s, deadline_s=100.0, look=True).run()
    assert run.end == "moved"
    assert Word.WILL_NOT_CONVERGE not in run.words
    assert set(run.kinds()) <= {"pause-limit", *free.kinds()}
    assert run.ended_s is not None
    assert free.ended_s is not None
    again_s = 2 * 30 * writes / run.link  # what it wrote meanwhile
    assert run.ended_s <= free.ended_s + 30 + again_s + 5


def test_the_deadline_may_pass_in_a_stall_and_the_last_seconds_are_waited_for() -> None:
    free = guest(5 * MB, GENTLE).run()
    assert free.ended_s is not None
    run = guest(5 * MB, GENTLE, stall_at_s=free.ended_s - 2, deadline_s=free.ended_s + 25).run()
    assert run.end == "moved"


def test_a_stream_that_stays_cut_is_given_up_after_its_deadline() -> None:
    run = guest(5 * MB, GENTLE, stall_at_s=4.0, stall_s=500.0, deadline_s=30.0).run()
    assert run.end == "stayed"
    ((t_s, action),) = [one for one in run.actions if one[1].kind == "abort"]
    assert 60 <= t_s < 75
    assert "nothing has been sent for" in action.reason


def test_a_refused_post_copy_does_not_end_the_steering() -> None:
    run = guest(60 * MB, MUST_FINISH, deadline_s=60.0, refuses=frozenset({"post-copy"})).run()
    assert run.tuning.switch is Moment.AT_ONCE
    assert run.kinds()["post-copy"] == 1
    assert run.kinds()["abort"] == 1
    assert run.ended_s is not None
    assert run.ended_s <= 62


def test_an_operators_limit_stays() -> None:
    run = guest(20 * MB, BALANCED).run()
    view = View(
        samples=run.samples,
        policy=BALANCED,
        tuning=run.tuning,
        prior=run.prior,
        pause_limit_ms=20,
        elapsed_s=20.0,
        deadline_s=None,
        pass_ended=True,
        post_copy=False,
        suspended=False,
        hold=False,
        by_operator=True,
    )
    assert decide(view) is None
    assert decide(replace(view, by_operator=False, hold=True)) is None
    assert decide(replace(view, post_copy=True, deadline_s=1.0)) is None
    assert decide(replace(view, suspended=True, deadline_s=1.0)) is None
    assert decide(replace(view, samples=[])) is None


@given(st.integers(1, 2_000_000))
def test_the_first_limit_is_below_the_most_and_both_below_the_budget(pause_ms: int) -> None:
    policy = replace(BALANCED, pause_ms=pause_ms)
    low, most = first_pause_limit_ms(policy), most_pause_limit_ms(policy)
    assert 1 <= low <= most <= pause_ms
