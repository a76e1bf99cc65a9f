"""The plan: nothing is touched before the explicit start, and the start asks nothing else."""

from dataclasses import replace

import pytest

from backend.model import Finding, Plan, Severity
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
