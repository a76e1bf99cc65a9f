"""From QEMU's rounded figure to a reading that says what it does not know."""

import random

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.fleet.readings import (
    PERIODS_S,
    agree,
    long_mean,
    reading,
    recent,
    resolution_bytes,
    steady,
)
from backend.hypervisor.dirty_rate import DirtyRate, Refusal, Status, dirty_rate, start
from backend.model import Reading

MIB = 2**20
MEMORY = 512 * MIB


def of(period_s: int, unique_mib: float, at: float = 0.0) -> Reading:
    return Reading(at, float(period_s), unique_mib * MIB, 2.0 * MIB)


@pytest.mark.parametrize("memory_mib", [2, 128, 512, 4096])
def test_one_sampled_page_stands_for_two_mib(memory_mib: int) -> None:
    assert resolution_bytes(memory_mib * MIB) == 2 * MIB


def test_memory_too_small_to_be_sampled_has_a_resolution_too() -> None:
    assert resolution_bytes(MIB) == 2 * MIB
    assert resolution_bytes(0) == 2 * MIB


@given(hits=st.integers(0, 256), period_s=st.sampled_from(PERIODS_S))
def test_what_qemu_counted_lies_within_the_rounding(hits: int, period_s: int) -> None:
    told = hits * 512 // (256 * period_s) * MIB
    found = reading(5.0, period_s, told, MEMORY + 8192)
    assert abs(found.unique_bytes - hits * 2 * MIB) <= found.rounding_bytes + 0.02 * 2 * MIB
    assert found.unique_bytes <= MEMORY + 8192


def test_a_short_period_is_exact_and_a_long_one_is_not() -> None:
    assert reading(0, 1, 12 * MIB, MEMORY) == Reading(0, 1.0, 12 * MIB, 2 * MIB, 0)
    assert reading(0, 8, 0, MEMORY) == Reading(0, 8.0, 3 * MIB, 2 * MIB, 3 * MIB)


def test_the_rounding_is_put_back_in_the_mean() -> None:
    """Over many readings the middle is right; the figure as told is 4 MiB/8 s too low."""
    chance = random.Random(7)
    hits = [chance.randrange(20, 60) for _ in range(2000)]
    told = [reading(0, 8, hit * 2 // 8 * MIB, MEMORY).unique_bytes for hit in hits]
    assert sum(told) / len(told) == pytest.approx(sum(hits) / len(hits) * 2 * MIB, rel=0.01)


def test_the_counting_error_is_that_of_a_count() -> None:
    assert of(8, 200).error_bytes == pytest.approx((200 * 2) ** 0.5 * MIB)
    assert of(8, 0).error_bytes == pytest.approx(2 * MIB)


def test_old_readings_are_left_out() -> None:
    assert recent([of(1, 0, 5.0), of(1, 0, 60.0)], 100.0) == (of(1, 0, 60.0),)


def test_steady_needs_two_of_each_period_that_agree() -> None:
    cycle = [of(period, 20 * period) for period in PERIODS_S]
    assert not steady(cycle)
    assert steady(cycle * 2)
    assert not steady([*cycle * 2, of(8, 400)])
    assert agree(of(1, 20), of(1, 30))
    assert not agree(of(1, 20), of(1, 60))


def test_the_mean_is_of_the_longest_period() -> None:
    assert long_mean([]) is None
    mean = long_mean([of(1, 40), of(8, 100), of(8, 140)])
    assert mean is not None
    assert mean[0] == pytest.approx(15 * MIB)
    assert mean[1] == pytest.approx((100 * 2 + 140 * 2) ** 0.5 * MIB / 2 / 8)


def test_an_idle_vm_writes_nothing() -> None:
    mean = long_mean([reading(0, 8, 0, MEMORY)] * 3)
    assert mean is not None
    assert mean[0] == 0.0


MEASURED = {
    "dirtyrate.calc_status": 2,
    "dirtyrate.calc_start_time": 1235,
    "dirtyrate.calc_period": 4,
    "dirtyrate.calc_mode": "page-sampling",
    "dirtyrate.megabytes_per_second": 12,
}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, None),
        ({"dirtyrate.calc_status": 9}, None),
        (MEASURED, DirtyRate(Status.MEASURED, 1235, 4, 12 * MIB)),
        (MEASURED | {"dirtyrate.calc_mode": "dirty-ring"}, None),
        (MEASURED | {"dirtyrate.megabytes_per_second": -1}, DirtyRate(Status.UNSTARTED, 1235, 4)),
        (MEASURED | {"dirtyrate.calc_status": 1}, DirtyRate(Status.MEASURING, 1235, 4)),
        (
            {"dirtyrate.calc_status": 0, "dirtyrate.calc_start_time": 0},
            DirtyRate(Status.UNSTARTED),
        ),
    ],
)
def test_libvirts_record(raw: dict[str, object], expected: DirtyRate | None) -> None:
    assert dirty_rate(raw) == expected


class FakeDomain:
    def __init__(self, job: int | Exception = 0, refusal: int = 0) -> None:
        self.job, self.refusal, self.began = job, refusal, 0

    def jobInfo(self) -> list[int]:  # noqa: N802 - libvirt's name
        if isinstance(self.job, Exception):
            raise self.job
        return [self.job]

    def startDirtyRateCalc(self, seconds: int, _flags: int) -> None:  # noqa: N802
        if self.refusal:
            raise libvirt_error(self.refusal)
        self.began = seconds


class FakeConnection:
    def __init__(self, domains: dict[str, FakeDomain]) -> None:
        self.domains = domains

    def lookupByUUIDString(self, uuid: str) -> FakeDomain:  # noqa: N802
        if uuid not in self.domains:
            raise libvirt_error(42)
        return self.domains[uuid]


def libvirt_error(code: int) -> libvirt.libvirtError:
    error = libvirt.libvirtError("refused")
    error.err = (code, 10, "refused", 2, None, None, None, 0, 0)
    return error


def test_nothing_is_started_where_a_job_runs_or_the_driver_cannot() -> None:
    domains = {
        "free": FakeDomain(),
        "moves": FakeDomain(job=2),
        "comes": FakeDomain(job=libvirt_error(84)),
        "off": FakeDomain(refusal=55),
        "old": FakeDomain(refusal=3),
    }
    asked = {**dict.fromkeys(domains, 4), "gone": 4}
    now, never = Refusal.NOT_NOW, Refusal.NEVER
    expected = {"moves": now, "comes": now, "off": now, "old": never, "gone": now}
    assert start(FakeConnection(domains), asked) == expected
    assert [dom.began for dom in domains.values()] == [4, 0, 0, 0, 0]
