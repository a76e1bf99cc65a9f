"""A clock that is set while no engine runs does not make our own migration look like another's."""

from dataclasses import replace

import pytest

from backend.model import ClockReading, Migration
from backend.run.boot_clock import by_this_clock, read_clocks, set_forward_s
from tests.unit.test_attached import foreign

WAS = ClockReading("one", 5_000.0, 1_800_000_000.0)


def later(real_s: float, set_s: float, boot: str = "one") -> ClockReading:
    return ClockReading(boot, WAS.uptime_s + real_s, WAS.at + real_s + set_s)


@pytest.mark.parametrize("set_s", [-7200.0, -45.0, 60.0, 86_400.0])
def test_a_clock_that_was_set_is_told(set_s: float) -> None:
    assert set_forward_s(WAS, later(600, set_s)) == pytest.approx(set_s)


def test_time_that_passed_is_no_change_nor_is_a_slewed_clock() -> None:
    assert set_forward_s(WAS, later(86_400, 0)) == 0
    assert set_forward_s(WAS, later(600, 0.5)) == 0


def test_of_another_boot_nothing_is_concluded() -> None:
    assert set_forward_s(WAS, later(600, 3600, "two")) == 0
    assert set_forward_s(None, WAS) == 0
    assert set_forward_s(WAS, None) == 0


def begun() -> Migration:
    return replace(foreign(), started=WAS.at - 1, called_at=WAS.at, clocks=WAS)


def test_an_open_migration_began_when_this_clock_says() -> None:
    now = later(20, 3600)
    state = by_this_clock(begun(), now)
    assert state.called_at is not None
    assert (state.started, state.called_at) == (WAS.at + 3599, WAS.at + 3600)
    assert now.at - state.called_at == pytest.approx(20), "so old is the hosts' job too"
    assert by_this_clock(state, later(40, 3600)) == state, "once"
    assert by_this_clock(begun(), later(20, 0)) == begun()


def test_what_was_not_called_stays_so() -> None:
    state = by_this_clock(replace(begun(), called_at=None), later(20, 3600))
    assert (state.started, state.called_at, state.memory_at) == (WAS.at + 3599, None, None)


def test_both_are_read_here() -> None:
    first, second = read_clocks(100.0), read_clocks(101.0)
    assert first is not None
    assert second is not None
    assert first.boot == second.boot
    assert first.uptime_s <= second.uptime_s < first.uptime_s + 60
    assert (first.at, second.at) == (100.0, 101.0)
