"""The forecast before the start: right on the lab, ordered, honest about what it needs."""

from hypothesis import given
from hypothesis import strategies as st

from backend.model import Forecast, Moment, Policy, Tuning
from backend.plan.forecast import can_be_held, forecast_before
from backend.plan.outset import Outset, Past, views
from backend.plan.policy import BALANCED, BUILT_IN, GENTLE, MUST_FINISH, deadline_s
from backend.plan.tuning import choose
from backend.plan.writes import Count

MB = 1_000_000
MEMORY = 512 * 2**20
PAGE = MEMORY / 256
"""What one sampled page of 512 MiB stands for."""


def outset(writes: float, over: float, in_use: float, cpu: float, link: float = 24 * MB) -> Outset:
    counts = tuple(
        Count(period_s, min(writes * period_s, over), PAGE)
        for _ in range(3)
        for period_s in (1.0, 2.0, 4.0, 8.0)
    )
    return Outset(
        MEMORY,
        round(in_use),
        link_bytes_s=link,
        link_origin="probed",
        counts=counts,
        cpu_part=cpu,
    )


QUIET = outset(0, MB, 111 * MB, 0.01)
WEB = outset(5 * MB, 100 * MB, 211 * MB, 0.1)
NEAR = outset(20 * MB, 200 * MB, 312 * MB, 0.22)
ABOVE = outset(60 * MB, 200 * MB, 312 * MB, 0.6)


def foresee(start: Outset, policy: Policy) -> tuple[Forecast, Tuning]:
    seen = views(start)
    tuning = choose(start, policy, seen)
    limit_s = deadline_s(policy, start.memory_bytes)
    return forecast_before(start, seen, policy, tuning, limit_s), tuning


def test_the_labs_guests_lie_in_their_bands() -> None:
    """Measured over 200 Mbit/s, with a low pause limit and a throttle of 90 % where needed."""
    for start, took_s in ((QUIET, 6.4), (WEB, 13.2), (NEAR, 35.0), (ABOVE, 35.7)):
        forecast, _ = foresee(start, BALANCED)
        assert forecast.converges
        assert forecast.total_s is not None
        assert forecast.total_s.low <= took_s <= forecast.total_s.high
        assert abs(forecast.total_s.mid - took_s) <= 0.15 * took_s


def test_a_busy_vm_is_throttled_from_the_start_as_far_as_it_needs() -> None:
    """A VM that uses a fifth of its CPU does not feel a throttle of 20 or 50 %."""
    for start in (NEAR, ABOVE):
        _, tuning = foresee(start, BALANCED)
        assert tuning.throttle_start_percent is not None
        assert tuning.throttle_start_percent >= 80
    forecast, tuning = foresee(QUIET, BALANCED)
    assert forecast.throttle_percent is None
    assert tuning.throttle_start_percent is not None, "it may become busy on the way"


def test_gentle_never_throttles_and_says_what_would_help() -> None:
    forecast, tuning = foresee(ABOVE, GENTLE)
    assert not forecast.converges
    assert tuning.throttle_start_percent is None
    for way in ("a throttle of", "a link of", "post-copy", "a pause of"):
        assert way in forecast.needs


def test_post_copy_begins_when_forecast_says_that_copying_ahead_takes_longer() -> None:
    for start in (NEAR, ABOVE):
        forecast, tuning = foresee(start, MUST_FINISH)
        assert tuning.switch is Moment.AT_ONCE
        assert forecast.post_copy
        assert forecast.total_s is not None
        assert forecast.total_s.mid < 16
    for start in (QUIET, WEB):
        _, tuning = foresee(start, MUST_FINISH)
        assert tuning.switch is None


def test_a_small_hot_set_is_copied_ahead_once_before_post_copy() -> None:
    small = outset(80 * MB, 40 * MB, 312 * MB, 0.5)
    _, tuning = foresee(small, MUST_FINISH)
    assert tuning.switch is Moment.AFTER_PASS_1


def test_what_is_not_known_is_said() -> None:
    nothing = Outset(MEMORY, link_why=" (there is no SSH to kvm-b)")
    seen = views(nothing)
    assert seen is None
    forecast = forecast_before(nothing, seen, BALANCED, choose(nothing, BALANCED, seen), None)
    assert forecast.total_s is None
    assert forecast.needs == "the link's speed is not known (there is no SSH to kvm-b)"
    unseen = views(Outset(MEMORY, 200 * MB, link_bytes_s=24 * MB))
    assert unseen is not None
    assert "how fast the VM writes is not known" in unseen.basis


def test_earlier_moves_come_first_while_they_still_explain_what_is_read() -> None:
    past = (Past(((9.0, 45.0 * MB), (1.9, 9.5 * MB)), 19.0 * MB),)
    same = Outset(MEMORY, 211 * MB, link_bytes_s=24 * MB, counts=WEB.counts, past=past)
    seen = views(same)
    assert seen is not None
    assert "1 earlier move and" in seen.basis
    changed = Outset(MEMORY, 312 * MB, link_bytes_s=24 * MB, counts=ABOVE.counts, past=past)
    seen = views(changed)
    assert seen is not None
    assert "has changed since" in seen.basis
    assert 50 * MB < seen.likely.writing.rate_bytes_s < 70 * MB


def test_only_a_vm_that_writes_can_be_held() -> None:
    assert not can_be_held(views(QUIET))
    assert can_be_held(views(ABOVE))
    assert not can_be_held(None)


@given(
    st.integers(50 * MB, 10**12),
    st.floats(MB, 10**10),
    st.lists(st.floats(0, 10**10), max_size=6),
    st.sampled_from(BUILT_IN),
    st.integers(1, 2_000_000),
    st.floats(0, 1),
)
def test_bands_are_ordered_and_nothing_is_negative(
    in_use: int, link: float, seen: list[float], policy: Policy, pause_ms: int, cpu: float
) -> None:
    counts = tuple(Count(2.0**i, dirtied, PAGE) for i, dirtied in enumerate(seen))
    start = Outset(in_use, in_use, link_bytes_s=link, counts=counts, cpu_part=cpu)
    own = Policy(policy.name, pause_ms, "", policy.deadline_s, policy.deadline_s_per_gib,
                 policy.throttle_percent, policy.post_copy, policy.suspend)  # fmt: skip
    forecast, tuning = foresee(start, own)
    for band in (forecast.total_s, forecast.pause_ms):
        if band is not None:
            assert 0 <= band.low <= band.mid <= band.high
    assert forecast.converges or forecast.needs
    assert 1 <= tuning.pause_limit_ms <= max(1, pause_ms)


@given(st.floats(0, 5e7), st.floats(1.1, 4.0))
def test_a_faster_link_is_never_slower(writes: float, times: float) -> None:
    slow = outset(writes, 150 * MB, 260 * MB, 0.3)
    fast = outset(writes, 150 * MB, 260 * MB, 0.3, link=24 * MB * times)
    one, other = foresee(slow, GENTLE)[0], foresee(fast, GENTLE)[0]
    if one.total_s is not None and one.converges:
        assert other.total_s is not None
        assert other.total_s.mid <= one.total_s.mid * 1.02 + 0.1
