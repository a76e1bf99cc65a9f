"""What the rules advise on the fleet screen: shown, asked, taken to the screen that starts it."""

from dataclasses import replace
from typing import Any

import pytest

from backend.model import (
    Advice,
    AdvisedMove,
    Advising,
    Band,
    Evacuation,
    EvacuationChoice,
    Forecast,
    RuleKind,
    RuleLevel,
    Vm,
)
from backend.service.protocol import (
    AdviceChanged,
    EvacuationReply,
    MakePlan,
    PlanEvacuation,
    Start,
    StartEvacuation,
)
from tests.console.conftest import Console, Open
from tui.screens.evacuate import EvacuateScreen
from tui.screens.fleet import FleetScreen
from tui.screens.plan import PlanScreen
from tui.widgets.prompt import Question

FORECAST = Forecast(True, Band(24, 27, 31), Band(60, 80, 110))
REASON = "memory of kvm-c was above 80 % in the last 3 rounds, 91 % on average"
SIZES = [(80, 24), (120, 36), (200, 50)]


def vm_of(c: Console) -> Vm:
    """The one whose plans were recorded."""
    return next(vm for vm in c.app.store.fleet.vms if vm.name == "web-1")


def balance(c: Console, target: str = "kvm-a", **more: Any) -> Advice:
    vm = vm_of(c)
    move = AdvisedMove(vm.uuid, vm.name, vm.host, target, FORECAST)
    gain = f"{vm.name} to kvm-a: kvm-c 91 → 60 %, kvm-a to 35 %"
    made = Advice("even", RuleKind.BALANCE, RuleLevel.ADVISE, (move,), REASON, gain, 31.0)
    return replace(made, **more)


DRAIN = Advice(
    "night",
    RuleKind.DRAIN,
    RuleLevel.AUTOMATIC,
    (),
    "it is 02:10: kvm-b is to be empty, from 02:00 on",
    "4 VMs leave kvm-b; what would not end by 05:00 stays",
    drain="kvm-b",
    until=1_790_010_000.0,
)


async def says(c: Console, *advice: Advice) -> None:
    await c.publish(AdviceChanged(Advising(1, c.link.clock(), advice=advice)))
    await c.settle()


def starts(c: Console) -> int:
    return len(c.asked(Start)) + len(c.asked(StartEvacuation))


@pytest.mark.parametrize("size", SIZES)
async def test_advice_is_a_calm_panel_and_nothing_without_any(
    console: Open, size: tuple[int, int]
) -> None:
    async with console("web", size=size) as c:
        rows = c.table("vms").size.height
        assert "ADVICE" not in c.text
        await says(c, balance(c))
        said = " ".join(c.text.split())
        for part in (
            "ADVICE even",
            "a apply",
            f"{vm_of(c).name} to kvm-a: kvm-c 91 → 60 %, kvm-a to 35 %",
            "24–31 s, pause 60–110 ms",
            "memory of kvm-c was above 80 %",
        ):
            assert part in said, part
        assert "VMS" in c.text
        assert rows - 5 < c.table("vms").size.height < rows
        assert all(len(row) <= size[0] for row in c.text.splitlines())
        await says(c)
        assert "ADVICE" not in c.text
        assert c.table("vms").size.height == rows


@pytest.mark.parametrize("target", ["kvm-a", "kvm-b"])
async def test_one_key_plans_the_move_and_the_usual_one_starts_it(
    console: Open, target: str
) -> None:
    async with console("web") as c:
        await c.press("a")
        assert "No rule advises anything now." in c.text
        await says(c, balance(c, target))
        await c.press("a")
        assert isinstance(c.screen, PlanScreen)
        (asked,) = c.asked(MakePlan)
        assert asked.vms == ("web-1",)
        assert c.table("targets").cursor_key == target
        assert not starts(c)
        await c.press("enter")
        (start,) = c.asked(Start)
        assert (start.vms, start.target) == (("web-1",), target)


async def test_a_drain_is_reviewed_with_its_window(console: Open) -> None:
    async with console("web") as c:
        assert DRAIN.wish is not None
        c.link.answers[PlanEvacuation] = EvacuationReply(Evacuation("r1", DRAIN.wish))
        await says(c, DRAIN)
        assert "`virt-ferry run` does it, a apply now" in c.text
        await c.press("a")
        assert isinstance(c.screen, EvacuateScreen)
        (asked,) = c.asked(PlanEvacuation)
        assert asked.wish.host == "kvm-b"
        assert asked.wish.until == DRAIN.until
        assert not starts(c)


async def test_a_consolidated_host_is_reviewed_with_the_advised_targets(console: Open) -> None:
    async with console("web") as c:
        pack = balance(c, kind=RuleKind.CONSOLIDATE)
        assert pack.wish is not None
        c.link.answers[PlanEvacuation] = EvacuationReply(Evacuation("r1", pack.wish))
        await says(c, pack)
        await c.press("a")
        (asked,) = c.asked(PlanEvacuation)
        assert asked.wish.choices == (EvacuationChoice(vm_of(c).uuid, "kvm-a"),)
        assert not asked.wish.maintenance


async def test_several_are_shown_one_after_the_other(console: Open) -> None:
    async with console("web") as c:
        await says(c, balance(c), DRAIN)
        assert "1 of 2, A next" in c.text
        await c.press("A")
        assert "ADVICE night" in c.text
        assert "2 of 2" in c.text
        await c.press("A")
        assert "ADVICE even" in c.text
        await says(c, DRAIN)
        assert "ADVICE night" in c.text
        await c.press("A")
        assert "There is no other advice." in c.text


async def test_what_is_to_be_asked_is_asked_once_and_a_no_changes_nothing(console: Open) -> None:
    async with console("web") as c:
        asking = balance(c, level=RuleLevel.ASK)
        await says(c, asking)
        assert c.screen.query_one(Question).display
        assert "even asks:" in c.text
        await c.press("n")
        assert isinstance(c.screen, FleetScreen)
        await says(c, replace(asking, reason=REASON.replace("91", "92")))
        assert not c.screen.query_one(Question).display
        assert "asks: a apply" in c.text, "it still stands"
        await says(c)
        await says(c, asking)
        assert c.screen.query_one(Question).display
        await c.press("y")
        assert isinstance(c.screen, PlanScreen)
        assert c.table("targets").cursor_key == "kvm-a"
        assert not starts(c)


async def test_a_question_waits_for_the_fleet_screen(console: Open) -> None:
    async with console("web") as c:
        await c.press("question_mark")
        await says(c, balance(c, level=RuleLevel.ASK))
        assert not any(box.display for box in c.app.screen.query(Question))
        await c.press("escape")
        await c.settle()
        assert c.screen.query_one(Question).display


async def test_a_vm_that_has_gone_is_not_planned(console: Open) -> None:
    async with console("web") as c:
        gone = AdvisedMove("no-such-uuid", "gone-1", "kvm-c", "kvm-a")
        await says(c, balance(c, moves=(gone,)))
        await c.press("a")
        assert isinstance(c.screen, FleetScreen)
        assert "The VM is not there any more" in c.text
