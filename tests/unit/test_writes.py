"""The meter over a lane that is scripted: it asks little, tells who waits, and survives."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import pytest

from backend.errors import CallTimedOut
from backend.fleet import write_turns, writes
from backend.fleet.write_turns import Measurable
from backend.fleet.writes import Seen, WriteMeter
from backend.hypervisor import dirty_rate
from backend.hypervisor.connection import Lane
from backend.hypervisor.dirty_rate import DirtyRate, Refusal, Status
from backend.model import Now

MIB = 2**20
VM = Measurable(512 * MIB)
EVER_S = math.inf
SINCE_NOW_S = 0.0


class ScriptedLane:
    """Answers as a host would on which every VM writes at one rate, and no time passes."""

    def __init__(self) -> None:
        self.alive = True
        self.rate_mib_s = 10
        self.refusals: dict[str, Refusal] = {}
        self.started: list[dict[str, int]] = []
        self.fails = False

    async def call(self, function: Callable[..., Any], timeout_s: float, what: str) -> Any:
        await asyncio.sleep(0)
        if self.fails:
            self.fails = False
            raise CallTimedOut("It did not answer.")
        asked = cast("partial[Any]", function)
        if asked.func is dirty_rate.start:
            periods = asked.keywords["periods_s"]
            self.started.append(dict(periods))
            return {u: self.refusals[u] for u in periods if u in self.refusals}
        newest = {uuid: s for started in self.started for uuid, s in started.items()}
        return {
            uuid: DirtyRate(Status.MEASURED, 1, newest[uuid], self.rate_mib_s * MIB)
            for uuid in asked.keywords["uuids"]
        }

    async def close(self) -> None:
        self.alive = False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A period of one second is over at once."""
    monkeypatch.setattr(writes, "_READ_AFTER_S", 0.0)
    monkeypatch.setattr(writes, "_AFTER_ERROR_S", 0.0)
    begun = write_turns.Turns.begun
    monkeypatch.setattr(write_turns.Turns, "begun", lambda t, u, now_s: begun(t, u, now_s - 60))


@asynccontextmanager
async def metering(
    lane: ScriptedLane, seen: Callable[[], Seen], now: Now = time.time
) -> AsyncIterator[WriteMeter]:
    async def open_lane(_purpose: str) -> Lane:
        lane.alive = True
        return cast("Lane", lane)

    meter = WriteMeter("kvm-a", seen, open_lane, now)
    task = asyncio.create_task(meter.run())
    try:
        yield meter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await meter.close()


def seen(*uuids: str) -> Seen:
    return dict.fromkeys(uuids, VM), frozenset(uuids)


async def test_who_waits_is_told_when_there_is_a_reading() -> None:
    async with metering(ScriptedLane(), lambda: seen("a")) as meter:
        found = await meter.measured("a", 8, EVER_S, 5.0)
    assert 8.0 in {one.period_s for one in found}
    assert meter.figures["a"][0] == pytest.approx(10.4 * MIB, rel=0.05)


async def test_what_is_there_already_is_given_at_once() -> None:
    async with metering(ScriptedLane(), lambda: seen("a")) as meter:
        await meter.measured("a", 1, EVER_S, 5.0)
        assert await meter.measured("a", 1, EVER_S, 0.0)


async def test_a_vm_that_refuses_holds_nobody_up() -> None:
    lane = ScriptedLane()
    lane.refusals["a"] = Refusal.NEVER
    async with metering(lane, lambda: seen("a")) as meter:
        assert await meter.measured("a", 1, EVER_S, 30.0) == ()
        assert await meter.measured("nobody", 1, EVER_S, 30.0) == ()
    assert len(lane.started) == 1


async def test_a_vm_with_a_job_is_not_waited_for() -> None:
    lane = ScriptedLane()
    async with metering(lane, lambda: ({}, frozenset("a"))) as meter:
        assert await meter.measured("a", 1, EVER_S, 30.0) == ()
    assert lane.started == []


async def test_a_lane_that_failed_is_tried_again() -> None:
    lane = ScriptedLane()
    lane.fails = True
    now: list[Seen] = [seen("a")]
    async with metering(lane, lambda: now[0]) as meter:
        await meter.measured("a", 1, EVER_S, 5.0)
        now[0] = seen("b")
        assert await meter.measured("b", 1, EVER_S, 5.0)


async def test_a_figure_changes_only_by_more_than_chance() -> None:
    lane = ScriptedLane()
    async with metering(lane, lambda: seen("a")) as meter:
        await meter.measured("a", 8, EVER_S, 5.0)
        first = meter.figures["a"]
        lane.rate_mib_s = 11
        await meter.measured("a", 8, SINCE_NOW_S, 5.0)
        assert meter.figures["a"] == first
        lane.rate_mib_s = 60
        await meter.measured("a", 8, SINCE_NOW_S, 5.0)
        assert meter.figures["a"][0] > first[0]


async def test_after_a_job_the_figure_is_new() -> None:
    now: list[Seen] = [seen("a")]
    async with metering(ScriptedLane(), lambda: now[0]) as meter:
        await meter.measured("a", 8, EVER_S, 5.0)
        first = meter.figures["a"]
        now[0] = ({}, frozenset("a"))
        await meter.measured("a", 8, SINCE_NOW_S, 5.0)
        assert meter.figures["a"] == first
        now[0] = seen("a")
        await meter.measured("a", 8, SINCE_NOW_S, 5.0)
        assert meter.figures["a"][1] > first[1]


async def test_a_reading_that_has_aged_is_not_enough() -> None:
    now_s = [1000.0]
    lane = ScriptedLane()
    async with metering(lane, lambda: seen("a"), lambda: now_s[0]) as meter:
        await meter.measured("a", 8, 60.0, 5.0)
        made = len(lane.started)
        now_s[0] += 50
        assert await meter.measured("a", 8, 60.0, 5.0)
        assert len(lane.started) == made
        now_s[0] += 20
        found = await meter.measured("a", 8, 60.0, 5.0)
        assert found[-1].at == now_s[0]
