"""Waiting for the time at which the pause is to fall."""

import asyncio
import time
from dataclasses import replace
from typing import Any, cast

import pytest

from backend.model import Band, Forecast, Migration, Now
from backend.plan.policy import BALANCED
from backend.run.departure import UNKNOWN_TAKES_S, Departure
from backend.run.told import Told

STATE = Migration("a1", "db-1", "u-1", "kvm-a", "kvm-b", 1000.0, BALANCED)
FORECAST = Forecast(True, Band(20, 30, 45))


class Silent:
    """A publisher nobody listens to."""

    def migration(self, _state: Migration) -> None: ...
    def decision(self, _id: str, _decision: object) -> None: ...


class Clock:
    """The engine's; a wait takes no time but its own."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.waited_s = 0.0

    def now(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    timeout = asyncio.timeout

    def quick(span_s: float) -> asyncio.Timeout:
        clock.now_s += span_s
        clock.waited_s += span_s
        return timeout(0)

    monkeypatch.setattr(asyncio, "timeout", quick)
    return clock


def told(now: Now, **changes: Any) -> Told:
    return Told(replace(STATE, **changes), cast("Any", Silent()), 0.0, now)


async def test_without_a_time_it_goes_at_once(clock: Clock) -> None:
    assert await Departure(told(clock.now)).wait()
    assert not await Departure(told(clock.now, abort_asked=True)).wait()
    assert clock.waited_s == 0


@pytest.mark.parametrize(
    ("changes", "early_s"),
    [
        ({"forecast": FORECAST}, 30),
        ({"forecast": FORECAST, "hold": True}, 45),
        ({}, UNKNOWN_TAKES_S),
        ({"forecast": Forecast(False)}, UNKNOWN_TAKES_S),
    ],
)
async def test_it_starts_early_by_the_forecast(
    clock: Clock, changes: dict[str, Any], early_s: float
) -> None:
    at = clock.now_s + 3600
    state = told(clock.now, at=at, **changes)
    assert await Departure(state).wait()
    assert clock.now_s == pytest.approx(at - early_s)
    assert state.state.outlook is not None
    assert "starts at" in state.state.outlook.reason


async def test_a_time_that_is_too_near_or_over_starts_at_once(clock: Clock) -> None:
    for ahead_s in (-500, 0, 10):
        assert await Departure(told(clock.now, at=clock.now_s + ahead_s, forecast=FORECAST)).wait()
    assert clock.waited_s == 0


async def test_a_clock_that_is_set_while_waiting_is_noticed(clock: Clock) -> None:
    state = told(clock.now, at=clock.now_s + 86_400, forecast=FORECAST)
    waiting = asyncio.create_task(Departure(state).wait())
    await asyncio.sleep(0)
    clock.now_s += 90_000
    assert await waiting
    assert clock.waited_s <= 60


async def test_an_abort_ends_the_waiting() -> None:
    state = told(time.time, at=time.time() + 3600, forecast=FORECAST)
    departure = Departure(state)
    waiting = asyncio.create_task(departure.wait())
    await asyncio.sleep(0)
    state.update(abort_asked=True)
    departure.wake()
    assert not await asyncio.wait_for(waiting, 5)
