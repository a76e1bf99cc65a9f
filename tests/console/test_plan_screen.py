"""The plan: nothing is touched before the explicit start, and the start asks nothing else."""

import asyncio
import time
from dataclasses import replace

import pytest

from backend.model import (
    Band,
    DiskAction,
    DiskChoice,
    DiskMove,
    Finding,
    Forecast,
    LayerMove,
    MoveOptions,
    Plan,
    Preparation,
    PreparationKind,
    Severity,
    TrackRecord,
)
from backend.service.client import FerryError
from backend.service.protocol import MakePlan, PlanReply, Refused, Start, Started
from tests.console.conftest import Console, Open
from tests.console.recorded import load
from tui.screens.fleet import FleetScreen
from tui.screens.migration import MigrationScreen
from tui.screens.migrations import MigrationsScreen
from tui.screens.plan import PlanScreen

TOUCHING = {"Start", "Abort", "SetBandwidth", "SetPauseLimit", "StopEngine"}


def touched(console: Console) -> list[str]:
    return [type(call).__name__ for call in console.link.calls if type(call).__name__ in TOUCHING]


async def plan(c: Console, vm: str) -> None:
    """Find it and plan it."""
    await c.press("slash", *vm, "enter", "m")
    assert isinstance(c.screen, PlanScreen)


def plans_shown(c: Console) -> tuple[Plan, ...]:
    assert isinstance(c.screen, PlanScreen)
    return c.screen._plans


async def test_a_plan_shows_targets_findings_and_the_equal_virsh_line(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        (request,) = c.asked(MakePlan)
        assert isinstance(request, MakePlan)
        assert request.vms == ("web-1",)
        assert request.target is None
        chosen = c.screen._plan  # type: ignore[attr-defined]
        assert isinstance(chosen, Plan)
        for finding in chosen.findings:
            assert finding.sentence[:30] in c.text
        assert "VIRSH EQUAL  virsh" in c.text
        assert "pause ≤ 300 ms" in c.text
        for other in {p.target for p in plans_shown(c)}:
            assert other in c.text


async def test_nothing_is_touched_until_enter_and_nothing_is_asked_after(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("tab", "tab", "j", "k", "question_mark", "escape", "tab")
        assert not touched(c)
        await c.press("enter")
        assert touched(c) == ["Start"]
        assert isinstance(c.screen, MigrationScreen)


async def test_escape_goes_back_and_nothing_was_touched(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("escape")
        assert isinstance(c.screen, FleetScreen)
        assert not touched(c)


async def test_the_cursor_chooses_the_target(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("j")
        second = c.table("targets").keys[1]
        assert f"FINDINGS web-1 ⇢ {second}" in c.text
        await c.press("enter")
        (start,) = c.asked(Start)
        assert isinstance(start, Start)
        assert start.target == second
        assert start.vms == ("web-1",)


async def test_limits_are_set_before_the_start(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("d", "ctrl+u", *"180", "enter", "b", *"12.5", "enter")
        last = c.asked(MakePlan)[-1]
        assert isinstance(last, MakePlan)
        assert (last.options.pause_ms, last.options.bandwidth_bytes_s) == (180, 12_500_000)
        assert "pause ≤ 180 ms" in c.text
        assert "bandwidth 12.5 MB/s" in c.text
        await c.press("enter")
        (start,) = c.asked(Start)
        assert isinstance(start, Start)
        assert (start.options.pause_ms, start.options.bandwidth_bytes_s) == (180, 12_500_000)


async def test_a_limit_that_cannot_be_is_said_where_it_is_typed(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("d", "ctrl+u", *"soon", "enter")
        assert "soon is not a pause" in c.text
        assert not touched(c)
        await c.press("escape", "enter")
        assert touched(c) == ["Start"]


async def test_a_blocked_vm_cannot_be_started_and_says_why(console: Open) -> None:
    async with console("idle") as c:
        await plan(c, "files-1")
        assert all(p.blocked for p in plans_shown(c))
        await c.press("enter")
        assert isinstance(c.screen, PlanScreen)
        assert "files-1 cannot go to" in c.text
        assert not touched(c)


async def plan_with_a_blocked_one(c: Console) -> tuple[str, str]:
    """web-1's recorded plans, and the same of a neighbour with files-1's recorded blocks."""
    (fits,) = c.app.store.fleet.vms_named("web-1")
    neighbour = next(v for v in c.app.store.fleet.vms if v.host == fits.host and v != fits)
    recorded = [plan for entry in c.link.entries for plan in entry.plans]
    good = tuple({p.target: p for p in recorded if p.vm == "web-1"}.values())
    block = next(f for p in load("idle") for q in p.plans for f in q.findings if is_block(f))
    bad = tuple(replace(p, vm=neighbour.name, uuid=neighbour.uuid, findings=(block,)) for p in good)
    c.link.answers[MakePlan] = PlanReply(good + bad)
    c.app.open_plan((fits, neighbour))
    await c.settle()
    await c.press("g")
    return fits.name, neighbour.name


def is_block(finding: Finding) -> bool:
    return finding.severity is Severity.BLOCK


@pytest.mark.parametrize("answer", ["n", "escape", "enter"])
async def test_blocked_ones_of_several_are_named_before_the_rest_starts(
    console: Open, answer: str
) -> None:
    async with console("web") as c:
        fits, blocked = await plan_with_a_blocked_one(c)
        assert "! 1 of 2 fit" in c.text
        await c.press("enter")
        assert f"{blocked} cannot go to" in c.text
        assert f"Move {fits} alone?" in c.text
        await c.press(answer)
        assert not touched(c)
        assert isinstance(c.screen, PlanScreen)


async def test_those_that_fit_start_on_a_yes(console: Open) -> None:
    async with console("web") as c:
        fits, _ = await plan_with_a_blocked_one(c)
        await c.press("enter", "y")
        (start,) = c.asked(Start)
        assert isinstance(start, Start)
        assert start.vms == (fits,)


async def test_several_started_go_to_the_list(console: Open) -> None:
    async with console("two-at-once") as c:
        await plan(c, "web-1")
        both = tuple(seen.migration for seen in c.link.migrations().values())
        c.link.answers[Start] = Started(both[-2:])
        await c.press("enter")
        assert isinstance(c.screen, MigrationsScreen)
        for migration in both[-2:]:
            assert f"{migration.source} ⇢ {migration.target}" in c.text


async def test_a_refusal_starts_nothing_and_shows_the_new_findings(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        c.link.answers[Start] = Refused(plans_shown(c))
        await c.press("enter")
        assert isinstance(c.screen, PlanScreen)
        assert "Nothing was started" in c.text


async def test_what_the_engine_refuses_is_one_sentence_with_its_remedy(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        c.link.answers[Start] = FerryError("web-1 is gone from kvm-a.", "Look where it is now.")
        await c.press("enter")
        assert "web-1 is gone from kvm-a. Look where it is now." in c.text
        assert "Traceback" not in c.text


async def test_a_plan_fits_eighty_columns(console: Open) -> None:
    async with console("web", size=(80, 24)) as c:
        await plan(c, "web-1")
        for part in ("TARGET", "FORECAST", "FINDINGS", "POLICY", "VIRSH EQUAL", "enter start"):
            assert part in c.text


def foreseen(p: Plan, **changes: object) -> Plan:
    """A recorded plan with a forecast of its own."""
    forecast = Forecast(True, Band(24, 27, 31), Band(60, 84, 110), 5, 600 << 20, basis="6 readings")
    whole = replace(p, forecast=forecast, record=TrackRecord(12, 8, 92), can_hold=True)
    return replace(whole, **changes)  # type: ignore[arg-type]


def recorded_plans(c: Console, vm: str) -> tuple[Plan, ...]:
    found = {p.target: p for e in c.link.entries for p in e.plans if p.vm == vm and not p.blocked}
    return tuple(found.values())


def options(c: Console) -> MoveOptions:
    """Of the newest plan that was asked for."""
    last = c.asked(MakePlan)[-1]
    assert isinstance(last, MakePlan)
    return last.options


async def test_each_target_has_its_forecast_and_the_chosen_one_all_of_it(console: Open) -> None:
    async with console("web") as c:
        first, *rest = recorded_plans(c, "web-1")
        stuck = Forecast(False, needs="writes 30 MB/s, sends 24 MB/s; would help: post-copy")
        risk = "Post-copy begins at once: if either host dies then, the VM is lost."
        made = (
            foreseen(first, remarks=(risk,), fit=99),
            *(foreseen(p, forecast=stuck) for p in rest),
        )
        c.link.answers[MakePlan] = PlanReply(made)
        await plan(c, "web-1")
        for part in (
            "24–31 s, pause 60–110 ms",
            "! will not converge",
            "most likely 27 s",
            risk,
            "6 readings",
            "over 12 moves: off by 8 % in the middle, 92 % inside the band",
        ):
            assert part in c.text


async def test_another_policy_asks_for_another_plan_and_is_started(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        assert "◂ balanced ▸" in c.text
        await c.press("right")
        assert options(c).policy == "must-finish"
        await c.press("h", "left")
        assert options(c).policy == "gentle"
        assert "◂ gentle ▸" in c.text
        await c.press("enter")
        (start,) = c.asked(Start)
        assert isinstance(start, Start)
        assert start.options.policy == "gentle"


async def test_an_untouched_plan_starts_with_each_vms_own_policy(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("enter")
        (start,) = c.asked(Start)
        assert isinstance(start, Start)
        assert start.options == MoveOptions()


async def test_while_a_new_plan_is_made_the_old_one_stays_and_cannot_be_started(
    console: Open,
) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        shown = plans_shown(c)
        c.link.held = asyncio.Event()
        await c.pilot.press("right")
        await c.settle()
        assert plans_shown(c) == shown
        assert "◌ old: a new plan is being made" in c.text
        await c.pilot.press("enter")
        await c.settle()
        assert "Both hosts are being asked" in c.text
        assert not touched(c)
        c.link.held.set()
        await c.press("r")
        assert "◌ old" not in c.text


async def test_a_choice_the_engine_refuses_goes_back(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        c.link.answers[MakePlan] = FerryError("The time for the pause has passed.", "Name another.")
        await c.press("t", *"2020-01-01 02:00", "enter")
        assert "The time for the pause has passed. Name another." in c.text
        assert "pause as soon as it can" in c.text
        del c.link.answers[MakePlan]
        await c.press("r")
        assert options(c) == MoveOptions()


async def test_deadline_and_time_of_the_pause_are_typed(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("D", *"10min", "enter", "at", *"2030-01-01 02:00", "enter")
        assert options(c).deadline_s == 600
        assert options(c).at == time.mktime((2030, 1, 1, 2, 0, 0, 0, 0, -1))
        assert "deadline 10 m 00 s" in c.text
        assert "pause at 02:00:00" in c.text
        await c.press("t", "ctrl+u", *"soon", "enter")
        assert "is not a time" in c.text
        await c.press("ctrl+u", "enter")
        assert options(c).at is None


async def test_a_quiet_vm_cannot_be_held_and_the_time_is_offered(console: Open) -> None:
    async with console("web") as c:
        first = foreseen(recorded_plans(c, "web-1")[0], can_hold=False)
        c.link.answers[MakePlan] = PlanReply((first,))
        await plan(c, "web-1")
        await c.press("w")
        assert "writes too little to be held" in c.text
        assert "in 24–31 s" in c.text
        assert "time of the pause instead: t" in " ".join(c.text.split())
        assert not options(c).hold
        c.link.answers[MakePlan] = PlanReply((replace(first, can_hold=True),))
        await c.press("r", "w")
        assert options(c).hold
        assert "hold ON" in c.text
        await c.press("w")
        assert not options(c).hold


async def test_each_disk_is_shown_with_its_way(console: Open) -> None:
    async with console("web") as c:
        first = foreseen(recorded_plans(c, "web-1")[0])
        disk = DiskMove(
            *("vda", DiskAction.COPY, "/images/a", "qcow2", 1 << 30, 100 << 20, "default"),
            *("fast", "a", "/fast/a", 20 << 30, "format and size"),
        )
        c.link.answers[MakePlan] = PlanReply((replace(first, disks=(disk,)),))
        await plan(c, "web-1")
        text = " ".join(c.box("findings").split())
        assert "vda copy 100 M of 1 G (qcow2) from /images/a to /fast/a on" in text
        assert "20 G free in pool fast verified by format and size" in text


def with_a_disk(c: Console, **changes: object) -> Plan:
    disk = DiskMove(
        *("vda", DiskAction.COPY, "/images/a", "qcow2", 1 << 30, 100 << 20, "default"),
        *("fast", "a", "/fast/a", 20 << 30, "format and size"),
    )
    made = replace(disk, **changes)  # type: ignore[arg-type]
    first = foreseen(recorded_plans(c, "web-1")[0])
    return replace(first, disks=(made,), pools=("default", "fast"))


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_pool_is_chosen_for_a_disk(console: Open, size: tuple[int, int]) -> None:
    async with console("web", size=size) as c:
        c.link.answers[MakePlan] = PlanReply((with_a_disk(c),))
        await plan(c, "web-1")
        assert "DISKS  p vda to fast" in c.text
        await c.press("p")
        assert "default, fast" in c.text
        await c.press("ctrl+u", *"default:new.img", "enter")
        assert options(c).disks == (DiskChoice("vda", "default", "new.img"),)
        await c.press("p", "ctrl+u", *"vda=fast", "enter")
        assert options(c).disks == (DiskChoice("vda", "fast"),)
        await c.press("p", "ctrl+u", *"vda=", "enter")
        assert "is not DISK=POOL" in c.text
        await c.press("ctrl+u", "enter")
        assert options(c).disks == ()
        for part in ("TARGET", "FORECAST", "FINDINGS", "POLICY", "VIRSH EQUAL", "enter start"):
            assert part in c.text


async def test_a_chain_is_kept_whole_or_made_one_image(console: Open) -> None:
    async with console("web") as c:
        base = LayerMove("/images/base", "qcow2", "base", "/fast/base", "base")
        c.link.answers[MakePlan] = PlanReply((with_a_disk(c, layers=(base,)),))
        await plan(c, "web-1")
        assert "f one image off: chains are kept whole" in c.text
        text = " ".join(c.box("findings").split())
        assert "below it: copy" in text
        await c.press("f")
        assert options(c).flatten
        await c.press("f")
        assert not options(c).flatten


async def test_keys_for_disks_say_why_where_there_is_none(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("p")
        assert "none needs a pool" in c.text
        await c.press("f")
        assert "lies on other images" in c.text


READY = Preparation(
    PreparationKind.START_POOL, "kvm-b", "fast", "start the pool fast on kvm-b", "/srv/fast"
)


async def plan_that_lacks_a_pool(c: Console, *, blocked: bool = True) -> None:
    """web-1's plan; once it is to be prepared, nothing blocks it."""
    (first, *_) = recorded_plans(c, "web-1")
    lacks = Finding("storage-no-pool", "storage", Severity.BLOCK, "no active pool", "Start one.")
    c.link.answers[MakePlan] = PlanReply(
        (replace(first, preparations=(READY,), findings=(lacks,) if blocked else first.findings),)
    )
    await plan(c, "web-1")


async def test_what_could_be_made_ready_is_shown_and_one_key_turns_it_on(console: Open) -> None:
    async with console("web") as c:
        await plan_that_lacks_a_pool(c)
        assert "x prepare off; it would start the pool fast on kvm-b" in c.text
        assert not options(c).prepare
        await plan_again_without_blocks(c)
        assert options(c).prepare
        assert "x prepare ON: start the pool fast on kvm-b" in c.text
        assert not touched(c)
        await c.press("x")
        assert not options(c).prepare


async def plan_again_without_blocks(c: Console) -> None:
    (first, *_) = recorded_plans(c, "web-1")
    c.link.answers[MakePlan] = PlanReply((replace(first, preparations=(READY,)),))
    await c.press("x")


@pytest.mark.parametrize("answer", ["n", "escape", "enter"])
async def test_the_start_asks_before_the_target_is_changed(console: Open, answer: str) -> None:
    async with console("web") as c:
        await plan_that_lacks_a_pool(c)
        await plan_again_without_blocks(c)
        await c.press("enter")
        assert "first: start the pool fast on kvm-b" in c.text
        assert "Do this, then move web-1?" in c.text
        await c.press(answer)
        assert not touched(c)
        assert isinstance(c.screen, PlanScreen)


async def test_one_yes_prepares_and_starts(console: Open) -> None:
    async with console("web") as c:
        await plan_that_lacks_a_pool(c)
        await plan_again_without_blocks(c)
        await c.press("enter", "y")
        (start,) = c.asked(Start)
        assert isinstance(start, Start)
        assert start.options.prepare


async def test_off_it_starts_without_a_question(console: Open) -> None:
    async with console("web") as c:
        await plan_that_lacks_a_pool(c, blocked=False)
        await c.press("enter")
        (start,) = c.asked(Start)
        assert isinstance(start, Start)
        assert not start.options.prepare


async def test_where_nothing_lacks_the_key_says_so(console: Open) -> None:
    async with console("web") as c:
        await plan(c, "web-1")
        await c.press("x")
        assert "lacks nothing that could be made ready from here" in c.text
        assert not options(c).prepare
        await c.press("question_mark")
        assert "Make the target ready first; undone if the VM stays." in c.text
