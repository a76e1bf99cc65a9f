"""A run with a window begins what ends inside it, leaves the rest out, and says why."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from backend.errors import BadInput
from backend.model import (
    Band,
    Candidate,
    Evacuation,
    EvacuationMove,
    EvacuationState,
    EvacuationWish,
    Forecast,
    Mode,
    MoveState,
    Way,
)
from backend.plan.queue_types import LinkMap, QueuedMove
from backend.run.evacuation_draw import Drawn
from backend.run.evacuation_kit import Kit
from backend.run.evacuation_moves import summary, too_late
from backend.run.evacuation_run import EvacuationRun

NOW = 1_790_000_000.0
PAIRS = {("a", "b"): 100e6}
FORECAST = Forecast(True, Band(20, 30, 40))


def move(name: str, forecast: Forecast | None = FORECAST) -> EvacuationMove:
    target = Candidate("b", Mode.LIVE, forecast=forecast)
    return EvacuationMove(name, f"id-{name}", "a", Way.LIVE, "b", candidates=(target,))


@dataclass
class Around:
    """The engine of a run: it refuses every start, and keeps which were asked for."""

    asked: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def plan(self, *_asked: object, **_known: object) -> Any:
        return ()

    async def start(
        self,
        vms: tuple[str, ...],
        _target: str,
        _options: object,
        _ready: object,
        _link: object,
    ) -> Any:
        self.asked += vms
        raise BadInput("Not in this test.")

    def going(self, _uuid: str) -> None:
        return None

    async def keep(self, _run: Evacuation) -> bool:
        return True

    def links(self, pairs: Mapping[tuple[str, str], float], _limit: int | None) -> LinkMap:
        return LinkMap(pairs)

    def publish(self, run: Evacuation) -> None:
        if not run.state.open:
            self.ended.set()


def long(name: str, seconds: float | None = 30.0) -> QueuedMove:
    alone = None if seconds is None else Band(seconds - 10, seconds, seconds + 10)
    return QueuedMove(f"id-{name}", name, "a", "b", disk_bytes=10**9, alone_s=alone)


async def ran(until: float | None, *queued: QueuedMove) -> tuple[Evacuation, list[str]]:
    """The run at its end, and what it tried to start."""
    around = Around()
    fake = cast("Any", around)
    wish = EvacuationWish("a", until=until)
    moves = tuple(move(one.vm, None if one.alone_s is None else FORECAST) for one in queued)
    state = Evacuation("r", wish, EvacuationState.RUNNING, moves, started=NOW)
    run = EvacuationRun(state, Kit(fake, around.plan, fake, fake, around.publish, lambda: NOW))
    run.begin(Drawn(moves, {one.id: one for one in queued}, PAIRS))
    async with asyncio.timeout(10):
        await around.ended.wait()
    await run.close()
    return run.state, around.asked


async def test_nothing_that_would_end_after_the_window_is_begun() -> None:
    run, asked = await ran(NOW + 39, long("x"))
    assert asked == []
    [left] = run.moves
    assert left.state is MoveState.LEFT_OUT
    assert "when the window ends" in left.reason
    assert any("x is not moved" in note.sentence for note in run.notes)


async def test_what_ends_inside_is_begun_also_behind_one_that_does_not() -> None:
    run, asked = await ran(NOW + 120, long("huge", 5000), long("x"))
    assert asked == ["a/id-x"]
    states = {one.vm: one.state for one in run.moves}
    assert states == {"huge": MoveState.LEFT_OUT, "x": MoveState.STAYED}


async def test_without_a_window_all_of_it_is_begun() -> None:
    _, asked = await ran(None, long("huge", 5000), long("x"))
    assert sorted(asked) == ["a/id-huge", "a/id-x"]


async def test_of_what_nothing_is_known_nothing_is_promised() -> None:
    run, asked = await ran(NOW + 3600, long("x", None))
    assert asked == []
    assert "it is not known how long it takes" in run.moves[0].reason


def test_the_reason_names_the_hour() -> None:
    assert "window ends at" in too_late(move("x", None), NOW)
    assert too_late(move("x"), NOW).startswith("it would not end before ")


def test_a_consolidated_host_is_not_called_in_maintenance() -> None:
    run = Evacuation("r", EvacuationWish("a", maintenance=False), moves=(move("x"),))
    assert "maintenance" not in summary(run)
    assert "maintenance" in summary(replace(run, wish=EvacuationWish("a")))
