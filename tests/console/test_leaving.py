"""Leaving the console, losing the engine, and finding everything by its name."""

import subprocess
import sys
from dataclasses import replace

from rich.text import Text
from textual.command import CommandPalette, Hit

from backend.model import HostState
from backend.service.client import EngineUnavailable
from backend.service.protocol import FleetChanged, MakePlan, Watch
from tests.console.conftest import Console, Open
from tui import themes
from tui.palette import FerryCommands
from tui.screens.migration import MigrationScreen

GONE = EngineUnavailable("The engine is gone.", "Any command starts it again.")


def left(console: Console) -> bool:
    return console.app._exit


async def running(c: Console) -> None:
    await c.at(c.link.when(lambda m: m.sample is not None))


async def test_quitting_with_nothing_running_just_quits(console: Open) -> None:
    async with console("idle") as c:
        await c.pilot.press("q")
        assert left(c)


async def test_quitting_says_what_goes_on_and_how_to_come_back(console: Open) -> None:
    async with console("db") as c:
        await running(c)
        await c.press("q")
        assert not left(c)
        m = c.app.store.running[0]
        assert f"{m.vm} {m.source} ⇢ {m.target}: it goes on without this console" in c.text
        assert "Come back with: virt-ferry" in c.text
        await c.press("n")
        assert not left(c)
        await c.press("ctrl+c")
        await c.pilot.press("y")
        assert left(c)
        assert all(
            isinstance(call, Watch) or "Get" in repr(call) or "List" in repr(call)
            for call in c.link.calls
        )


async def test_a_lost_engine_is_a_sentence_and_what_was_known_stays_greyed(console: Open) -> None:
    async with console("db") as c:
        await running(c)
        await c.link.lose(GONE)
        await c.settle()
        assert "The engine is gone. Any command starts it again." in c.text
        assert "Next try in" in c.text or "Connecting" in c.text
        assert "web-1" in c.text
        assert c.screen.has_class("-stale")
        await c.press("m")
        assert not c.asked(MakePlan)
        assert "The engine is gone." in c.text


async def test_an_engine_that_comes_back_is_found(console: Open) -> None:
    async with console("idle") as c:
        await c.link.lose(GONE)
        await c.settle()
        c.link.failing = None
        c.link.rewind()
        c.app.bridge.retry_now()
        await c.link.watched()
        await c.at(0.5)
        assert not c.screen.has_class("-stale")
        assert "The engine is gone" not in c.text
        await c.press("m")
        assert "TARGET" in c.text


async def test_a_control_refused_by_a_lost_engine_says_so(console: Open) -> None:
    async with console("db") as c:
        await running(c)
        await c.press("M", "enter")
        assert isinstance(c.screen, MigrationScreen)
        await c.link.lose(GONE)
        await c.press("a")
        assert "The engine is gone" in c.text
        assert "Abort moving" not in c.text


async def test_every_action_is_in_the_palette_with_its_reason(console: Open) -> None:
    async with console("idle") as c:
        await c.link.lose(GONE)
        await c.settle()
        commands = FerryCommands(c.screen)
        entries = {label: about for label, about, _ in commands._entries()}
        for action in c.screen.ACTIONS:
            assert action.label in entries
        assert entries["migrate"].startswith("m · not now: The engine is not there")


async def test_the_palette_does_what_it_says(console: Open) -> None:
    async with console("idle") as c:
        commands = FerryCommands(c.screen)
        (hit,) = [hit async for hit in commands.search("Sort the VMs")]
        assert isinstance(hit, Hit)
        hit.command()
        assert "HOST▴" in c.box("vms")


async def test_ctrl_p_opens_the_palette(console: Open) -> None:
    async with console("idle") as c:
        await c.pilot.press("ctrl+p")
        assert isinstance(c.app.screen, CommandPalette)
        await c.pilot.press("escape")
        assert not isinstance(c.app.screen_stack[-1], CommandPalette)


async def test_sixteen_colours_and_none(console: Open) -> None:
    assert themes.choose({"TERM": "xterm-16color"}) == "ferry-16"
    assert themes.choose({"TERM": "linux"}) == "ferry-16"
    assert themes.choose({"TERM": "xterm-256color"}) == "ferry-dark"
    assert themes.choose({"TERM": "xterm-256color", "NO_COLOR": "1"}) == "ferry-16"
    async with console("idle") as c:
        dark = c.text
        for theme in ("ferry-16", "ferry-light"):
            c.app.theme = theme
            await c.settle()
            assert c.text == dark


async def test_a_dead_host_blocks_no_key(console: Open) -> None:
    async with console("host-cut") as c:
        await c.at(c.link.length / 2)
        before = c.table("vms").cursor_key
        await c.press("j")
        assert c.table("vms").cursor_key != before
        change = next(e.change for e in c.link.entries if isinstance(e.change, FleetChanged))
        assert all(host.state is not HostState.UNREACHABLE for host in change.hosts)


def test_the_console_starts_light() -> None:
    code = "import sys, tui.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"libvirt", "asyncssh", "psutil", "textual.widgets._data_table", "numpy"}
    assert not loaded & heavy


async def test_the_last_words_on_the_terminal_are_only_words(console: Open) -> None:
    async with console("db") as c:
        await running(c)
        hostile = replace(c.app.store.running[0], vm="[red]x[/]\x1b[2J")
        c.app.leave([hostile])
        (said,) = c.app._exit_renderables
        assert isinstance(said, Text)
        assert said.plain.startswith(f"[red]x[/][2J is moving from {hostile.source}")


async def test_a_new_engine_that_knows_nothing_leaves_nothing_running(console: Open) -> None:
    async with console("db") as c:
        await running(c)
        assert c.app.store.running
        await c.link.lose(GONE)
        c.link.failing = None
        c.link.rewind()
        c.app.bridge.retry_now()
        await c.link.watched()
        await c.at(0.5)
        assert not c.app.store.running
        assert "0 moving" in c.text


async def test_an_engine_that_is_not_there_at_the_start_is_a_sentence(console: Open) -> None:
    async with console("idle", failing=GONE) as c:
        assert "The engine is gone. Any command starts it again." in c.text
        assert "waiting for the engine" in c.text
        await c.press("m")
        assert not c.asked(MakePlan)


async def test_the_palette_has_every_control_with_its_reason(console: Open) -> None:
    async with console("db") as c:
        await running(c)
        await c.press("M", "enter")
        entries = {label: about for label, about, _ in FerryCommands(c.screen)._entries()}
        assert "p · not now: The policy balanced does not permit post-copy" in entries["post-copy"]
        assert entries["suspend VM"].startswith("z · Stop the VM")
        assert "Nothing is broken" in entries["recover"]


async def test_the_palette_and_the_help_have_the_plans_choices(console: Open) -> None:
    async with console("web") as c:
        await c.press("slash", *"web-1", "enter", "m")
        entries = {label: about for label, about, _ in FerryCommands(c.screen)._entries()}
        assert "w · not now: web-1 writes too little to be held" in entries["hold"]
        assert {"policy", "policy before", "deadline", "at", "bandwidth"} <= entries.keys()
        await c.press("question_mark")
        for about in ("The next policy", "The VM stays where it is", "the pause falls at a set"):
            assert about in c.text
