"""A run's next move is planned before its turn, and begins by that plan if nothing has changed."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from backend.errors import BadInput
from backend.model import (
    Band,
    Evacuation,
    EvacuationMove,
    EvacuationState,
    EvacuationWish,
    Mode,
    MoveOptions,
    MoveState,
    Way,
)
from backend.plan.queue_types import LinkMap, Slot, Timeline
from backend.run.evacuation_draw import Drawn
from backend.run.evacuation_kit import Kit
from backend.run.evacuation_starts import AHEAD_S, FRESH_S, Starts, sharing_of
from backend.run.link_wait import LinkWait
from tests.unit.test_evacuation import planned, vm

LINKS = LinkMap({("kvm-a", "kvm-b"): 2e6})


@dataclass
class Around:
    """The planner, the engine and the fleet of a run."""

    planned: list[tuple[str, MoveOptions]] = field(default_factory=list)
    sharing: list[int | None] = field(default_factory=list)
    begun_with: list[Any] = field(default_factory=list)
    links: list[LinkWait | None] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    unchanged: bool = True
    refuses: bool = False

    async def plan(
        self,
        vms: tuple[str, ...],
        target: str | None,
        options: MoveOptions,
        *,
        sharing: int | None = None,
    ) -> Any:
        self.planned.append((vms[0], options))
        self.sharing.append(sharing)
        await self.go_on.wait()
        if self.refuses:
            raise BadInput("It is not there.")
        return (planned(vm(vms[0].rpartition("-")[2]), target or ""),)

    async def start(
        self, _vms: object, _target: object, _options: object, ready: Any, link: Any
    ) -> Any:
        self.links.append(link)
        self.begun_with.append(ready)
        return (), ()

    def is_as_planned(self, _planned: object) -> bool:
        return self.unchanged


def kit(around: Around) -> Kit:
    fake = cast("Any", around)
    return Kit(fake, around.plan, fake, fake, lambda _: None, lambda: 0.0)


def move(name: str, mode: Mode = Mode.LIVE) -> EvacuationMove:
    return EvacuationMove(
        name, f"uuid-{name}", "kvm-a", Way.LIVE, "kvm-b", mode=mode, state=MoveState.WAITING
    )


def run_of(*moves: EvacuationMove, wish: EvacuationWish | None = None) -> Evacuation:
    wish = wish or EvacuationWish("kvm-a")
    return Evacuation("r", wish, EvacuationState.RUNNING, moves, started=0.0)


def whole(**begins: float) -> Timeline:
    slots = (
        Slot(f"uuid-{name}", begin_s, Band(1, 2, 3), None, 1e6) for name, begin_s in begins.items()
    )
    return Timeline(tuple(slots), Band(1, 2, 3), None)


async def planned_ahead(starts: Starts, around: Around, run: Evacuation, **begins: float) -> None:
    around.go_on.set()
    starts.ahead(run, whole(**begins), LINKS)
    await starts.planned()


async def test_what_begins_soon_is_planned_now_one_at_a_time() -> None:
    around = Around()
    starts, run = Starts(kit(around)), run_of(move("a"), move("b"), move("c"))
    times = whole(a=0.5, b=AHEAD_S - 1, c=AHEAD_S + 1)
    starts.ahead(run, times, LINKS)
    starts.ahead(run, times, LINKS)
    await asyncio.sleep(0)
    assert [name for name, _ in around.planned] == ["kvm-a/uuid-a"]
    await planned_ahead(starts, around, run, a=0.5, b=AHEAD_S - 1, c=AHEAD_S + 1)
    await planned_ahead(starts, around, run, a=0.5, b=AHEAD_S - 1, c=AHEAD_S + 1)
    assert [name for name, _ in around.planned] == ["kvm-a/uuid-a", "kvm-a/uuid-b"]
    await starts.close()


async def test_a_start_takes_what_was_planned_ahead_once() -> None:
    around = Around()
    starts, run = Starts(kit(around)), run_of(move("a"))
    await planned_ahead(starts, around, run, a=1.0)
    await starts.begin(run, move("a"))
    assert len(around.planned) == 1
    await starts.begin(run, move("a"))
    assert len(around.planned) == 2
    assert [len(ready) for ready in around.begun_with] == [1, 1]


async def test_the_first_begin_by_the_plans_that_the_run_was_made_of() -> None:
    now_s = time.monotonic()
    for asked_s, planned_again in ((now_s, 0), (now_s - FRESH_S - 1, 1)):
        around = Around()
        around.go_on.set()
        starts, run = Starts(kit(around)), run_of(move("a"))
        plans = {"uuid-a": planned(vm("a"), "kvm-b")}
        starts.know(run, Drawn(run.moves, {}, {}, plans, asked_s))
        await starts.begin(run, move("a"))
        assert len(around.planned) == planned_again
        assert around.begun_with[0][0].plan.target == "kvm-b"


async def test_a_plan_that_would_be_old_at_its_turn_is_made_anew_before_it() -> None:
    around = Around()
    starts, run = Starts(kit(around)), run_of(move("a"))
    plans = {"uuid-a": planned(vm("a"), "kvm-b")}
    starts.know(run, Drawn(run.moves, {}, {}, plans, time.monotonic() - FRESH_S + 5))
    await planned_ahead(starts, around, run, a=1.0)
    assert around.planned == []
    await planned_ahead(starts, around, run, a=7.0)
    assert len(around.planned) == 1


async def test_a_start_waits_for_the_plan_that_is_being_made_for_it() -> None:
    around = Around()
    starts, run = Starts(kit(around)), run_of(move("a"))
    starts.ahead(run, whole(a=1.0), LINKS)
    begin = asyncio.create_task(starts.begin(run, move("a")))
    await asyncio.sleep(0)
    assert around.begun_with == []
    around.go_on.set()
    await begin
    assert len(around.begun_with) == len(around.planned) == 1


async def test_what_has_changed_since_is_planned_anew() -> None:
    around = Around(unchanged=False)
    starts, run = Starts(kit(around)), run_of(move("a"))
    await planned_ahead(starts, around, run, a=1.0)
    await starts.begin(run, move("a"))
    assert len(around.planned) == 2
    around.unchanged = True
    for other in (replace(move("a"), target="kvm-c"), move("a", Mode.RESTART)):
        around.planned.clear()
        await planned_ahead(starts, around, run, a=1.0)
        await starts.begin(run, other)
        assert len(around.planned) == 2
    assert around.begun_with[1][0].plan.target == "kvm-c"


async def test_a_plan_that_could_not_be_made_ahead_is_told_by_the_start() -> None:
    around = Around(refuses=True)
    starts, run = Starts(kit(around)), run_of(move("a"))
    await planned_ahead(starts, around, run, a=1.0)
    with pytest.raises(BadInput, match="not there"):
        await starts.begin(run, move("a"))
    assert around.begun_with == []


async def test_a_fixed_cap_knows_of_no_next_one() -> None:
    around = Around()
    starts = Starts(kit(around))
    run = run_of(move("a"), wish=EvacuationWish("kvm-a", fixed_cap=1))
    await planned_ahead(starts, around, run, a=0.0)
    assert around.planned == []
    await starts.begin(run, move("a"))
    assert around.sharing == [None], "planned by what runs now"


async def test_it_is_planned_with_the_link_that_its_order_gives_it() -> None:
    around = Around()
    starts, run = Starts(kit(around)), run_of(move("a"))
    await planned_ahead(starts, around, run, a=1.0)
    assert around.sharing == [1], "half of what it gets alone"
    [slot] = whole(a=1.0).slots
    assert sharing_of(replace(slot, rate_bytes_s=1.9e6), LINKS, move("a")) == 0
    assert sharing_of(slot, LinkMap(), move("a")) == 0
