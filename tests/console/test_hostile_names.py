"""Every screen on a recording in which each name and text means harm: nothing is obeyed.

What is looked at is what the compositor would send to the terminal, all screens, both widths.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from textual.command import CommandPalette

from backend.model import Finding, Severity
from backend.service.client import FerryError
from backend.service.protocol import MakePlan, PlanReply, RollChanged
from tests.console import rolls
from tests.console.conftest import Console, Open
from tests.console.recorded import Entry
from tests.hostile import ALL_AT_ONCE, obeyed, spoilt
from tui.screens.fleet import FleetScreen
from tui.screens.migration import MigrationScreen
from tui.screens.plan import PlanScreen
from tui.screens.replay import ReplayScreen

SIZES = [(80, 24), (200, 50)]


@pytest.fixture
def recordings(recordings: Callable[[str], list[Entry]]) -> Callable[[str], list[Entry]]:
    """The recordings with every text in them spoilt, at its end and at its beginning."""

    def by_name(name: str) -> list[Entry]:
        name, _, where = name.partition(":")
        entries = recordings(name)
        if where == "front":
            return [spoilt(one, lambda text: ALL_AT_ONCE + text) for one in entries]
        return [spoilt(one, lambda text: text + ALL_AT_ONCE) for one in entries]

    return by_name


def looked_at(c: Console) -> None:
    """Nothing on the screen is obeyed, and every row is as wide as the terminal."""
    strips = c.app.screen._compositor.render_strips(c.app.size)
    assert len(strips) == c.app.size.height
    for strip in strips:
        assert obeyed(strip.text) == []
        assert strip.cell_length == c.app.size.width


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["db:front", "cache-abort"])
async def test_no_screen_obeys_a_name(console: Open, name: str, size: tuple[int, int]) -> None:
    async with console(name, size=size) as c:
        looked_at(c)
        await c.press("slash", *"db", "enter")
        looked_at(c)
        await c.press("slash", "ctrl+u", "enter", "tab", "j", "k", "question_mark")
        looked_at(c)
        await c.press("escape")
        assert isinstance(c.screen, FleetScreen)
        await c.publish(
            RollChanged(spoilt(rolls.stopped(c.link.clock()), lambda t: t + ALL_AT_ONCE))
        )
        for other in ("h", "D", "r"):
            await c.press(other)
            looked_at(c)
            await c.press("escape")
        assert isinstance(c.screen, FleetScreen)
        await c.at(c.link.length)
        await c.press("h")
        looked_at(c)
        await c.press("enter")
        assert isinstance(c.screen, ReplayScreen)
        looked_at(c)
        await c.press("space", "n", "n", "n")
        looked_at(c)
        await c.press("x")
        looked_at(c)
        await c.press("escape", "escape", "escape")
        assert isinstance(c.screen, FleetScreen)
        await c.press("M")
        looked_at(c)
        await c.press("enter")
        assert isinstance(c.screen, MigrationScreen)
        looked_at(c)
        await c.press("m")
        looked_at(c)


async def test_a_running_migration_obeys_none(
    console: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    async with console("db:front") as c:
        await c.at(c.link.when(lambda m: m.sample is not None) + 3)
        await c.press("M", "enter")
        looked_at(c)
        for key in ("a", "b", "d"):
            await c.press(key)
            looked_at(c)
            await c.press("escape")
        await c.press("q")
        looked_at(c)
        await c.press("y")
    said = capsys.readouterr().err
    assert "is moving from" in said
    assert "[@click=app.exit]" in said
    assert obeyed(said.replace("\n", "")) == []


async def test_a_plan_obeys_none(console: Open) -> None:
    async with console("db") as c:
        await c.press("m")
        assert isinstance(c.screen, PlanScreen)
        looked_at(c)
        finding = Finding("x", "storage", Severity.BLOCK, ALL_AT_ONCE, ALL_AT_ONCE)
        [asked] = c.asked(MakePlan)
        assert isinstance(asked, MakePlan)
        recorded = [one for entry in c.link.entries for one in entry.plans]
        c.link.answers[MakePlan] = PlanReply(
            tuple(
                replace(one, findings=(finding,), virsh=ALL_AT_ONCE)
                for one in recorded
                if one.uuid in asked.vms or one.vm in asked.vms
            )
        )
        await c.press("escape", "m", "tab", "tab", "enter")
        looked_at(c)


async def test_an_error_obeys_none(console: Open) -> None:
    async with console("db") as c:
        c.link.answers[MakePlan] = FerryError(ALL_AT_ONCE, ALL_AT_ONCE)
        await c.press("m")
        looked_at(c)
    failing = FerryError(ALL_AT_ONCE, ALL_AT_ONCE)
    async with console("db", failing=failing) as c:
        looked_at(c)


async def test_the_command_palette_shows_a_reason_as_it_is(
    console: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Textual reads markup in a palette's help texts: a name in it could have run an action."""
    reason = "[@click=app.exit]db-1[/] [bold]is moving[/bold] [/nothing"
    async with console("db") as c:
        monkeypatch.setattr(type(c.screen), "why_not", lambda _self, _name: reason)
        await c.pilot.press("ctrl+p")
        await c.pilot.pause()
        assert isinstance(c.app.screen, CommandPalette)
        while reason[:20] not in c.text:
            await c.pilot.pause()
        shown = [
            segment
            for strip in c.app.screen._compositor.render_strips(c.app.size)
            for segment in strip
            if segment.style is not None and "@click" in segment.style.meta
        ]
        assert shown == []
