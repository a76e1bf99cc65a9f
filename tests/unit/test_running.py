"""How a running migration goes on: earlier knowledge and what its passes have shown."""

from dataclasses import replace

import pytest

from backend.model import Sample
from backend.plan.passes import PassSeen
from backend.plan.running import NOTHING, Prior, ahead
from backend.plan.writes import Count

MB = 1_000_000.0
NOW = Sample(20.0, 3, 50_000_000, 512 * 2**20, 400_000_000, 24 * MB, 5 * MB, 50)
PRIOR = Prior(
    counts=tuple(Count(s, 5 * MB * s, 2 * MB) for s in (1.0, 2.0, 4.0, 8.0)),
    most_bytes=300 * MB,
    cpu_part=0.5,
    link_bytes_s=24 * MB,
)


def ended(number: int, took_s: float, writes: float, throttle: int = 0) -> PassSeen:
    return PassSeen(
        number, 0.0, 100 * MB, 0, took_s, 24 * MB, MB, writes, throttle_percent=throttle
    )


RUNNING = PassSeen(3, 18.0, 60 * MB, 390_000_000)


def rate_now(passes: tuple[PassSeen, ...], prior: Prior = PRIOR, now: Sample = NOW) -> float:
    found = ahead(now, passes, prior)
    assert found is not None
    return found.likely[0].rate_bytes_s


def test_nothing_known() -> None:
    assert ahead(NOW, (RUNNING,), NOTHING) is None
    assert ahead(NOW, (ended(1, 0.1, 5 * MB), RUNNING), NOTHING) is None, "too short to tell"


def test_before_the_first_end_of_a_pass_the_readings_tell() -> None:
    assert rate_now((RUNNING,)) == pytest.approx(5 * MB, rel=0.2)


def test_passes_alone_tell_too() -> None:
    assert rate_now((ended(1, 8.0, 5 * MB), RUNNING), NOTHING) == pytest.approx(5 * MB, rel=0.2)


def test_passes_that_agree_join_the_readings() -> None:
    assert rate_now((ended(1, 8.0, 5.2 * MB), RUNNING)) == pytest.approx(5.1 * MB, rel=0.1)


def test_a_vm_that_got_busy_is_judged_by_its_newest_pass() -> None:
    passes = (ended(1, 8.0, 5 * MB), ended(2, 2.0, 40 * MB), RUNNING)
    assert rate_now(passes) == pytest.approx(40 * MB, rel=0.2)


def test_a_vm_that_went_quiet_too() -> None:
    passes = (ended(1, 8.0, 30 * MB), ended(2, 8.0, 1 * MB), RUNNING)
    assert rate_now(passes) == pytest.approx(1 * MB, rel=0.3)


def test_a_vm_that_stopped_writing_is_quiet() -> None:
    assert rate_now((ended(1, 8.0, 0.0), RUNNING)) < 1 * MB


def test_under_a_throttle_the_pass_before_tells() -> None:
    now = replace(NOW, throttle_percent=80)
    passes = (ended(1, 8.0, 60 * MB), ended(2, 4.0, 12 * MB, 80), RUNNING)
    prior = replace(PRIOR, throttle_start_percent=80)
    assert rate_now(passes, prior, now) == pytest.approx(12 * MB)


def test_a_throttle_that_will_come_is_reckoned_with() -> None:
    prior = replace(PRIOR, throttle_start_percent=90)
    found = ahead(NOW, (ended(1, 8.0, 60 * MB), RUNNING), prior)
    assert found is not None
    assert found.likely[-1].rate_bytes_s < 0.5 * found.likely[0].rate_bytes_s
    quiet = ahead(NOW, (ended(1, 8.0, 5 * MB), RUNNING), prior)
    assert quiet is not None
    assert quiet.likely[-1].rate_bytes_s == quiet.likely[0].rate_bytes_s


def test_the_likely_course_lies_between_the_ends() -> None:
    found = ahead(NOW, (ended(1, 8.0, 8 * MB), RUNNING), PRIOR)
    assert found is not None
    middle = found.go(50 * MB, 24 * MB, 50, 0.5)
    low, high = found.band(50 * MB, 24 * MB, 50, 0.5)
    assert low.seconds <= middle.seconds <= high.seconds
