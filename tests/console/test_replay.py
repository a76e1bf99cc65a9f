"""An ended migration played again: its screen shows what it showed then."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backend.model import Migration, Sample
from backend.run.turns import Turns
from backend.service.client import BadInput
from backend.service.protocol import GetMigration, MigrationChanged, MigrationReply, SampleArrived
from tests.console.conftest import Console, Open
from tests.console.pty_meter import Meter
from tests.console.recorded import Entry, answered, begun
from tui.recording import read
from tui.replay import Recording
from tui.screens.migration import MigrationScreen
from tui.screens.replay import STEP_S, ReplayScreen

BOXES = ("phases", "left-chart", "rates-chart", "big", "figures", "log")


def recording(entries: list[Entry], id: str) -> Recording:
    """A migration of a recorded engine as that engine keeps it, its turns included."""
    epoch = entries[0].epoch
    assert epoch is not None
    turns, state = Turns(), None
    samples: list[Sample] = []
    for entry in entries:
        match entry.change:
            case MigrationChanged(migration=m) if m.id == id:
                known = state.turns if state else ()
                state = turns.follow(state or m, replace(m, turns=known), epoch + entry.t)
            case SampleArrived(id=of, sample=sample) if of == id:
                samples.append(sample)
    assert state is not None
    return Recording(state, tuple(samples))


def judged_after(entries: list[Entry], at_s: float) -> tuple[float, Migration]:
    """When the engine next told the whole state with the sample it was just judged by."""
    newest, began = None, max(seen.t for seen in begun(entries).values())
    for entry in entries:
        match entry.change:
            case SampleArrived(sample=sample):
                newest = sample
            case MigrationChanged(migration=m) if entry.t > began + at_s and m.sample == newest:
                return entry.t, m
    raise AssertionError("the recording is too short")


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def newest(c: Console) -> Migration:
    return c.app.store.migrations[-1]


async def replayed(c: Console) -> ReplayScreen:
    """The newest migration's replay, opened as an operator would."""
    if not isinstance(c.screen, MigrationScreen):
        await c.press("M", "enter")
    own = recording(c.link.entries, newest(c).id)
    c.link.answers[GetMigration] = MigrationReply(own.migration, own.samples)
    await c.press("space")
    assert isinstance(c.screen, ReplayScreen)
    return c.screen


def shown(c: Console) -> dict[str, str]:
    """The panes; what stands beside the phases is not of then, nor are the axes' old limits."""
    boxes = {name: c.box(name) for name in BOXES}
    boxes["phases"] = boxes["phases"].split("   ")[0]
    return boxes


@pytest.mark.parametrize(
    ("name", "at_s"), [("web", 6.0), ("db", 30.0), ("db", 60.0), ("cache-abort", 45.0)]
)
async def test_it_shows_what_it_showed_then(console: Open, name: str, at_s: float) -> None:
    async with console(name) as c:
        t, m = judged_after(c.link.entries, at_s)
        t += 0.05  # the engine notes why a moment after it has judged
        await c.at(t)
        await c.press("M", "enter")
        then = shown(c)
        await c.at(c.link.length)
        screen = await replayed(c)
        screen._go_to(c.link.epoch + t - m.started)
        await c.settle()
        assert shown(c) == then


async def test_space_plays_and_pauses_at_the_recorded_pace(console: Open) -> None:
    async with console("web") as c:
        await c.at(c.link.length)
        screen = await replayed(c)
        length_s = screen.position_s
        assert "space play" in c.text
        await c.press("space")
        assert screen.position_s == 0.0
        c.link.clock.now += 4.0
        await c.settle()
        assert screen.position_s == pytest.approx(4.0)
        assert "memory ●" in c.text
        assert "space pause" in c.text
        await c.press("space")
        c.link.clock.now += 100.0
        assert screen.position_s == pytest.approx(4.0)
        await c.press("space", "plus", "plus")
        c.link.clock.now += 1.0
        await c.settle()
        assert screen.position_s == pytest.approx(8.0)
        c.link.clock.now += 1000.0
        await c.settle()
        assert screen.position_s == length_s
        assert "✓ MOVED" in c.text
        assert "leftovers none" in c.text
        assert "space play" in c.text


async def test_steps_go_by_seconds_and_by_events(console: Open) -> None:
    async with console("web") as c:
        await c.at(c.link.length)
        screen = await replayed(c)
        length_s = screen.position_s
        await c.press("left")
        assert screen.position_s == pytest.approx(length_s - STEP_S)
        await c.press("0")
        assert screen.position_s == 0.0
        assert "prepare" in c.text
        await c.press("n")
        first = screen.position_s
        await c.press("n")
        assert screen.position_s > first > 0.0
        await c.press("N")
        assert screen.position_s == first
        await c.press("dollar_sign")
        assert screen.position_s == length_s
        await c.press("right")
        assert screen.position_s == length_s


async def test_a_speed_has_its_ends(console: Open) -> None:
    async with console("web") as c:
        await c.at(c.link.length)
        await replayed(c)
        await c.press(*["plus"] * 7)
        assert "It cannot be played faster." in c.text
        await c.press(*["minus"] * 9)
        assert "It cannot be played slower." in c.text


async def test_no_control_of_a_running_migration_is_there(console: Open) -> None:
    async with console("cache-abort") as c:
        await c.at(c.link.length)
        screen = await replayed(c)
        screen._go_to(20.0)
        calls = len(c.link.calls)
        await c.press("a", "b", "p", "z", "m", "d")
        assert isinstance(c.screen, ReplayScreen)
        assert len(c.link.calls) == calls


async def test_one_that_is_not_known_any_more_says_so(console: Open) -> None:
    async with console("web") as c:
        await c.at(c.link.length)
        await c.press("M", "enter")
        c.link.answers[GetMigration] = BadInput("No migration web-9 is known.")
        await c.press("space")
        assert "No migration web-9 is known." in c.text
        await c.press("space", "escape")
        assert isinstance(c.screen, MigrationScreen)


async def test_what_runs_cannot_be_played(console: Open) -> None:
    async with console("web") as c:
        start = max(seen.t for seen in c.link.migrations().values())
        await c.at(start + 5.0)
        await c.press("M", "enter", "space")
        assert isinstance(c.screen, MigrationScreen)
        assert "It has not ended yet: then replay works." in c.text


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
async def test_it_fits(console: Open, size: tuple[int, int]) -> None:
    async with console("db", size=size) as c:
        await c.at(c.link.length)
        screen = await replayed(c)
        screen._go_to(40.0)
        await c.settle()
        print(c.text)
        assert "verify" in c.box("phases")
        assert "40 s" in c.box("phases")
        assert "┊2" in c.text
        await c.press("dollar_sign")
        assert "esc leave" in c.text
        await c.press("x")
        assert "write to" in c.text
        assert "esc leave" in c.text
        assert c.app.screen.max_scroll_y == 0


async def test_x_writes_a_report_and_never_over_another(
    console: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with console("web") as c:
        await c.at(c.link.length)
        await replayed(c)
        m = newest(c)
        await c.press("x", "enter")
        await answered(c.app)
        await c.settle()
        made = only_file(tmp_path)
        assert made.name.startswith("web-1-20")
        assert f"{m.vm}: {m.source} → {m.target}" in made.read_text()
        assert "Written: " in c.text
        await c.press("x", "enter")
        assert f"{made.name} exists and is left as it is." in c.text
        await c.press("x", "ctrl+u", *"a.txt", "enter")
        assert "A name ends in one of .html .md .jsonl." in c.text
        await c.press("ctrl+u", *"a.jsonl", "enter")
        await answered(c.app)
        (one,) = read(tmp_path / "a.jsonl")
        assert one.migration.id == m.id
        assert one.samples


def test_the_command_plays_the_shipped_one_without_libvirt_or_an_engine(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['libvirt'] = sys.modules['asyncssh'] = None\n"
        "from tui.command import main\n"
        "sys.exit(main(['replay', '--speed', '64']))\n"
    )
    state = tmp_path / "state"
    with Meter([sys.executable, "-c", code], env={"XDG_STATE_HOME": str(state)}) as meter:
        meter.read_until("▸ replay".encode(), 20)
        meter.read_until(b"MOVED", 20)
        meter.press(b"q")
        assert meter.ended(10) == 0
    assert not state.exists()
