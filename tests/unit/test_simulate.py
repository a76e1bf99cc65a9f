"""A whole pre-copy, pass by pass: bounds, order, and QEMU's throttle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.plan.precopy import Writing
from backend.plan.simulate import THROTTLE_MOST, Scenario, simulate, throttled

MB = 1_000_000.0

SCENARIOS = st.builds(
    Scenario,
    first_pass_bytes=st.floats(0, 1e12),
    rate_bytes_s=st.floats(1.0 * MB, 1e10),
    writing=st.builds(Writing, st.floats(0, 1e9), st.just(0.0), st.floats(0, 1e12)),
    cpu_part=st.floats(0, 1),
)


def busy(writes: float, cpu_part: float = 0.5) -> Scenario:
    return Scenario(300 * MB, 24 * MB, Writing(writes, 0.0, 200 * MB), cpu_part)


@given(SCENARIOS, st.integers(1, 2_000_000), st.none() | st.integers(1, 99), st.integers(1, 50))
def test_what_is_sent_takes_its_time(
    scenario: Scenario, limit_ms: int, start: int | None, step: int
) -> None:
    run = simulate(scenario, limit_ms, start, step)
    share = scenario.rate_bytes_s * limit_ms / 1000
    assert run.seconds >= 0
    assert run.sent_bytes == pytest.approx(run.seconds * scenario.rate_bytes_s)
    assert run.sent_bytes >= scenario.first_pass_bytes - share - 1
    assert run.passes >= 1
    if run.converges:
        assert run.left_bytes <= share * 1.0001
    if run.throttle_percent is not None:
        assert start is not None
        assert start <= run.throttle_percent <= THROTTLE_MOST


def test_a_quiet_vm_needs_one_pass_and_sends_each_byte_once() -> None:
    run = simulate(Scenario(111 * MB, 24 * MB, Writing(0.0, 0.0, 0.0), 0.01), 50)
    assert run.converges
    assert run.passes <= 2
    assert run.sent_bytes + run.left_bytes == pytest.approx(111 * MB, rel=0.02)


def test_a_vm_above_the_link_needs_a_throttle() -> None:
    assert not simulate(busy(60 * MB), 50).converges
    run = simulate(busy(60 * MB), 50, 90)
    assert run.converges
    assert run.throttle_percent is not None
    assert run.throttle_percent >= 90
    late = simulate(busy(60 * MB), 50, 20, 10)
    assert late.converges
    assert late.seconds > run.seconds


def test_it_gives_up_when_told() -> None:
    run = simulate(busy(60 * MB), 50, most_s=30.0)
    assert not run.converges
    assert 30 < run.seconds < 60


@given(st.floats(0, 1e9), st.floats(0, 1), st.integers(0, 99))
def test_a_throttle_never_speeds_up(writes: float, cpu_part: float, percent: int) -> None:
    slowed = throttled(Writing(writes, 0.0, 1e9), cpu_part, percent)
    assert 0 <= slowed.rate_bytes_s <= writes
    harder = throttled(Writing(writes, 0.0, 1e9), cpu_part, min(99, percent + 10))
    assert harder.rate_bytes_s <= slowed.rate_bytes_s


def test_a_vm_that_hardly_runs_does_not_feel_it() -> None:
    """A VM that uses 5 % of its CPU has all it needs under a throttle of 80 %."""
    assert throttled(Writing(20 * MB), 0.05, 80).rate_bytes_s == 20 * MB
    assert throttled(Writing(20 * MB), 0.5, 90).rate_bytes_s < 5 * MB
