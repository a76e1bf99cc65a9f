"""Every screen at three sizes: nothing that is needed is missing, the way out and the help are
always in the footer, and a key that can do nothing says why."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from textual.command import CommandPalette

from backend.model import Migration, Outcome, Phase, PhaseState, Word
from backend.service.protocol import Abort, MigrationChanged
from tests.console import scenes
from tests.console.conftest import Console, Open
from tests.console.scenes import Scene, played
from tui.actions import COMMON
from tui.render.room import LEAST_COLUMNS, LEAST_ROWS
from tui.screens.base import FerryScreen
from tui.widgets.key_bar import ALWAYS, KeyBar
from tui.widgets.live_table import LiveTable

SIZES = [(80, 24), (120, 36), (200, 50)]


@dataclass(frozen=True, slots=True)
class Case:
    """A scene, what it must show at every size, and what where there is room."""

    scene: Scene
    needs: tuple[str, ...]
    roomy: tuple[str, ...] = ()
    """From 120x36 on."""


CHART = ("LEFT TO SEND", "RATES", "prepare", "memory", "switchover", "verify")
CONTROLS = ("b bandwidth", "d pause limit", "a abort", "esc leave it running")
REPORT = ("owner", "leftovers", "total", "space replay", "x export", "esc back")
CASES: dict[str, Case] = {
    "fleet": Case(
        scenes.FLEET,
        ("HOSTS", "VMS", "kvm-a", "kvm-b", "kvm-c", "2 moving", "db-1", "web-1", "⇢ kvm-"),
        ("LINK OUT/IN", "DISK", "NETWORK", "LAST MOVE", "encrypted"),
    ),
    "a host is cut off": Case(scenes.FLEET_CUT, ("✕ no answer", "did not answer", "? unknown")),
    "plan": Case(
        scenes.PLAN,
        ("MOVE db-1 FROM", "FIT", "FORECAST", "POLICY", "pause ≤", "VIRSH EQUAL", "enter start"),
        ("cpu", "memory", "storage", "network"),
    ),
    "blocked": Case(scenes.BLOCKED, ("MOVE files-1 FROM", "✕ ", "fix:")),
    "cold plan": Case(scenes.COLD_PLAN, ("MOVE batch-1 FROM", "cold", "DISKS", "vda")),
    "STARTING": Case(scenes.STARTING, (*CHART, *CONTROLS, "STARTING", "no samples yet")),
    "COPYING DISK": Case(scenes.COPYING, ("COPYING DISK", "vda", "disk ●", "a abort")),
    "CONVERGING": Case(
        scenes.CONVERGING,
        (*CHART, *CONTROLS, "CONVERGING", "switchover in", "a pause of", "allowed", "sent", "pass"),
    ),
    "WILL NOT CONVERGE": Case(
        scenes.WILL_NOT_CONVERGE, (*CHART, *CONTROLS, "WILL NOT CONVERGE", "would help:")
    ),
    "MOVED": Case(scenes.MOVED, ("MOVED", "pause", *REPORT), ("outage", "passes", "sent", "link")),
    "STAYED": Case(scenes.STAYED, ("STAYED", "pause", *REPORT)),
    "moved cold": Case(scenes.COLD, ("MOVED", "kept", *REPORT)),
    "migrations": Case(scenes.MIGRATIONS, ("MIGRATIONS", "STATE", "DONE", "TIME", "PAUSE")),
    "history": Case(
        scenes.HISTORY, ("HISTORY", "OUTCOME", "TOTAL", "PAUSE", "✓ moved"), ("MODE", "POLICY")
    ),
    "replay": Case(scenes.REPLAY, (*CHART, "space play", "esc leave", "×1"), ("replay",)),
    "evacuate": Case(
        scenes.REVIEW,
        (
            "EVACUATE kvm-b",
            "to move",
            "worst pause",
            "HOW",
            "WHEN",
            "db-1",
            "POLICY",
            "enter start",
        ),
        ("WHY", "x leave out"),
    ),
    "evacuate?": Case(
        scenes.REVIEW_ASKED,
        ("is in maintenance from then on", "stay:", "db-1", "y start", "n back"),
    ),
    "timeline": Case(
        scenes.TIMELINE,
        ("EVACUATE kvm-b", "running", "TIMELINE", "⇢ moves", "a abort all"),
        ("SENDS", "PAUSE"),
    ),
    "evacuated": Case(scenes.EVACUATED, ("ended", "moved in", "longest pause", "✓ moved")),
    "fleet while hosts are rolled": Case(
        scenes.FLEET_ROLLED,
        ("ROLL EMPTYING kvm-b for 1 m 10 s", "1 of 3 hosts done", "r shows it", "r rolls", "VMS"),
    ),
    "roll": Case(
        scenes.ROLL,
        (
            "ROLL kvm-a, kvm-b, kvm-c",
            "⇢ running",
            "EMPTYING kvm-b for 1 m 10 s: 1 of 2 done",
            "empty ● ── hook ○ ── back ○ ── VMs home ○ then kvm-c",
            "1 of 3 done",
            "hook apt-get -y upgrade",
            "✓ done",
            "⇢ emptying",
            "1 of 2 gone",
            "○ next",
            "LOG",
            "enter open · p pause",
        ),
        ("EVACUATION OR RETURN",),
    ),
    "a roll that stopped": Case(
        scenes.ROLL_STOPPED,
        (
            "✕ STOPPED",
            "The hook on kvm-b ended with exit code 100",
            "kvm-b is in maintenance, and empty; 2 VMs of it are on other hosts.",
            "p runs the hook again · x goes on without the hook · a ends the roll",
            "✕ hook",
            "✕ exit 100",
            "2 away",
            "p try again",
        ),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", "away 2 VMs not seen"),
    ),
    "end the roll?": Case(
        scenes.ROLL_ASKED,
        ("End this roll?", "y end it", "n back", "Not begun: kvm-c.", "✕ STOPPED", "p runs the"),
    ),
    "a roll of twelve": Case(
        scenes.ROLL_OF_TWELVE,
        ("node-04 and 8 more", "COMING BACK node-07", "after 15 m 00 s the roll stops"),
        ("node-01", "node-12"),
    ),
    "a recorded roll": Case(
        scenes.ROLL_RECORDED,
        (
            "ROLL kvm-b, kvm-a",
            "✕ STOPPED",
            "The hook on kvm-a ended with exit code 4",
            "kvm-a is in maintenance, and empty; 3 VMs of it are on other hosts.",
            "p runs the hook again",
            "✓ done",
            "✕ exit 4",
            "3 away",
        ),
        ("the firmware is too old",),
    ),
    "no roll": Case(
        scenes.NO_ROLL, ("ROLLS", "no hosts have been rolled", "virt-ferry roll HOST…", "esc back")
    ),
    "doctor": Case(scenes.DOCTOR, ("DOCTOR", "to mend", "pause limit of 777 ms", "r again")),
    "abort?": Case(
        replace(scenes.CONVERGING, keys=(*scenes.OPEN, "a")),
        (*CONTROLS, "Abort moving db-1", "y abort", "n go on", "CONVERGING"),
    ),
    "quit?": Case(
        replace(scenes.CONVERGING, keys=("q",)), ("Quit the console?", "y quit", "n stay", "db-1")
    ),
    "bandwidth": Case(
        replace(scenes.CONVERGING, keys=(*scenes.OPEN, "b")),
        ("bandwidth (MB/s, empty: unlimited)",),
    ),
    "keys": Case(
        replace(scenes.FLEET, keys=("question_mark",)),
        ("KEYS OF THE FLEET SCREEN", "ctrl+p"),
        ("GLYPHS",),
    ),
    "keys of a migration": Case(
        replace(scenes.CONVERGING, keys=(*scenes.OPEN, "question_mark")),
        ("KEYS OF THE MIGRATION SCREEN", "post-copy"),
    ),
}


@asynccontextmanager
async def shown(console: Open, scene: Scene, size: tuple[int, int]) -> AsyncIterator[Console]:
    """A console brought to the scene."""
    async with console(scene.recording, size=size, t=0.0) as c:
        await played(c.app, c.pilot, c.link, scene)
        yield c


async def resized(c: Console, size: tuple[int, int]) -> None:
    """To that size, and until nothing changes any more."""
    await c.pilot.resize_terminal(*size)
    before = ""
    while c.app.screen.size != size or c.text != before:
        before = c.text
        await c.settle()


def flat(text: str) -> str:
    return " ".join(text.split())


def assert_whole(c: Console, size: tuple[int, int]) -> None:
    """Nothing sticks out, no title of a column is cut, the footer holds what it must."""
    rows = c.app.screen._compositor.render_strips(c.app.size)
    assert len(rows) == size[1]
    assert {row.cell_length for row in rows} == {size[0]}
    assert c.app.screen.query_one(KeyBar).size.width == size[0]
    assert not c.app.screen.show_vertical_scrollbar
    for table in c.app.screen.query(LiveTable):
        assert "…" not in table.painted[0].text
    assert_footer(c.screen, size)


def assert_footer(screen: FerryScreen, size: tuple[int, int]) -> None:
    named = [a.name for row in screen.query_one(KeyBar).rows(size[0]) for a in row]
    wanted = [a.name for a in (*screen.ACTIONS, *COMMON) if screen.in_footer(a)]
    assert [name for name in wanted if name in ALWAYS and name not in named] == []
    if size[0] >= 120:
        assert named == wanted


@pytest.mark.parametrize("name", CASES)
async def test_nothing_needed_is_missing(console: Open, name: str) -> None:
    case = CASES[name]
    async with shown(console, case.scene, SIZES[0]) as c:
        for size in (*SIZES, SIZES[0]):
            await resized(c, size)
            assert_whole(c, size)
            said = flat(c.text)
            wanted = case.needs + (case.roomy if size[0] >= 120 else ())
            assert [need for need in wanted if need not in said] == [], c.text


async def publish_as(c: Console, **fields: object) -> Migration:
    """The newest migration, changed."""
    changed = replace(c.app.store.migrations[-1], **fields)  # type: ignore[arg-type]
    await c.publish(MigrationChanged(changed))
    return changed


async def test_switching_over_and_who_needs_you_are_whole(console: Open) -> None:
    async with shown(console, scenes.CONVERGING, SIZES[0]) as c:
        m = c.app.store.migrations[-1]
        assert m.outlook is not None
        phases = {**m.phases, Phase.MEMORY: PhaseState.DONE, Phase.SWITCHOVER: PhaseState.ACTIVE}
        outlook = replace(m.outlook, word=Word.SWITCHING_OVER, reason="the last pages are sent")
        await publish_as(c, phase=Phase.SWITCHOVER, phases=phases, outlook=outlook)
        for size in SIZES:
            await resized(c, size)
            assert_whole(c, size)
            assert "SWITCHING OVER" in c.text
    async with shown(console, scenes.MOVED, SIZES[0]) as c:
        verdict = c.app.store.migrations[-1].verdict
        assert verdict is not None
        reason = " ".join(f"word-{n}" for n in range(45))
        left = "db-1 is paused on kvm-b. Run: virsh destroy db-1"
        unknown = replace(
            verdict, outcome=Outcome.UNKNOWN, owner=None, reason=reason, leftovers=(left,)
        )
        await publish_as(c, verdict=unknown)
        for size in SIZES:
            await resized(c, size)
            assert_whole(c, size)
            said = flat(c.text)
            assert [part for part in ("NEEDS YOU", "word-44", left) if part not in said] == [], (
                c.text
            )


@pytest.mark.parametrize("size", SIZES)
async def test_a_stranger_s_migration_is_named_so_beside_its_vm(
    console: Open, size: tuple[int, int]
) -> None:
    async with shown(console, scenes.MIGRATIONS, size) as c:
        await publish_as(c, vm="cache-1", foreign=True)
        assert "cache-1 foreign " in c.text


@pytest.mark.parametrize(
    "name",
    [
        "plan",
        "STARTING",
        "MOVED",
        "evacuate",
        "evacuated",
        "replay",
        "roll",
        "a roll that stopped",
        "no roll",
    ],
)
async def test_a_key_that_can_do_nothing_says_why(console: Open, name: str) -> None:
    async with shown(console, CASES[name].scene, SIZES[0]) as c:
        screen = c.screen
        for action in screen.ACTIONS:
            reason = screen.why_not(action.name)
            if reason:
                assert reason[0].isupper() or reason.split()[0] in c.text, reason
                assert reason.rstrip()[-1] in ".…", reason
                await c.press(action.keys.split(",")[0])
                assert c.screen is screen
                assert reason[:50] in flat(c.text)


async def test_the_palette_gives_the_same_reasons(console: Open) -> None:
    async with shown(console, scenes.CONVERGING, SIZES[1]) as c:
        reason = c.screen.why_not("recover")
        assert reason
        await c.pilot.press("ctrl+p")
        assert isinstance(c.app.screen, CommandPalette)
        while "recover" not in c.text:
            await c.pilot.pause()
        assert f"not now: {reason[:40]}" in flat(c.text)


async def test_a_terminal_that_is_too_small_shows_nothing_but_that(console: Open) -> None:
    async with shown(console, scenes.CONVERGING, (LEAST_COLUMNS, LEAST_ROWS)) as c:
        assert_whole(c, (LEAST_COLUMNS, LEAST_ROWS))
        assert "CONVERGING" in c.text
        await resized(c, (40, 10))
        assert "This terminal has 40 columns and 10 rows" in flat(c.text)
        assert "CONVERGING" not in c.text
        await c.press("a", "y")
        assert not c.asked(Abort)
        await resized(c, SIZES[0])
        assert "CONVERGING" in c.text
        assert "This terminal has" not in c.text
