"""One migration on the screen: chart, words, controls, report."""

from dataclasses import replace

import pytest

from backend.model import (
    Control,
    DiskAction,
    DiskMove,
    DiskProgress,
    Migration,
    Phase,
    Tuning,
    Word,
)
from backend.service.protocol import (
    Abort,
    GetMigration,
    MigrationChanged,
    Operate,
    SetBandwidth,
    SetPauseLimit,
)
from tests.console.conftest import Console, Open
from tui.screens.fleet import FleetScreen
from tui.screens.migration import MigrationScreen
from tui.screens.plan import PlanScreen


def passing(number: int, migration: Migration) -> bool:
    return migration.sample is not None and migration.sample.pass_number >= number


def hopeless(migration: Migration) -> bool:
    return migration.outlook is not None and migration.outlook.word is Word.WILL_NOT_CONVERGE


def over(migration: Migration) -> bool:
    return migration.verdict is not None


async def opened(c: Console, t: float) -> None:
    """Play to `t` and open the newest migration, as an operator would."""
    await c.at(t)
    await c.press("M", "enter")
    assert isinstance(c.screen, MigrationScreen)


def braille(text: str) -> int:
    return sum(0x2800 < ord(char) <= 0x28FF for char in text)


async def test_it_converges_with_a_number_and_a_reason(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)) + 1)
        outlook = c.app.store.running[0].outlook
        assert outlook is not None
        assert f"⇢ {outlook.word}  {outlook.reason}"[:90] in c.text
        assert "┊2" in c.text
        assert "memory ●" in c.text
        assert "MB/s written" in c.text
        assert braille(c.box("left-chart")) > 10
        assert braille(c.box("rates-chart")) > 10


async def test_what_will_not_converge_says_so_within_three_passes(console: Open) -> None:
    async with console("cache-abort") as c:
        await opened(c, c.link.when(hopeless))
        migration = c.app.store.running[0]
        assert migration.sample is not None
        # Said at the end of the third pass at the latest: the next may just have begun.
        assert migration.sample.pass_number <= 4
        assert "! WILL NOT CONVERGE" in c.text
        assert "%" not in c.box("big")
        await c.press("escape", "escape")
        assert f"! ⇢ {migration.target}" in c.text


@pytest.mark.parametrize("answer", ["n", "enter", "escape", "x"])
async def test_an_abort_needs_a_clear_yes(console: Open, answer: str) -> None:
    async with console("cache-abort") as c:
        await opened(c, c.link.when(hopeless))
        await c.press("a")
        assert "Abort moving cache-1" in c.text
        await c.press(answer)
        assert not c.asked(Abort)


async def test_a_yes_aborts(console: Open) -> None:
    async with console("cache-abort") as c:
        await opened(c, c.link.when(hopeless))
        await c.press("a", "y")
        assert [call.id for call in c.asked(Abort)] == [c.app.store.running[0].id]


async def test_after_an_abort_the_report_says_it_stayed(console: Open) -> None:
    async with console("cache-abort") as c:
        await opened(c, c.link.when(over))
        verdict = c.app.store.migrations[-1].verdict
        assert verdict is not None
        assert "○ STAYED" in c.text
        assert f"{verdict.owner}, as seen from both ends" in c.text
        assert "a abort" not in c.text
        assert all(key in c.text for key in ("m replan", "space replay", "x export", "esc back"))
        await c.press("a")
        assert "This migration has ended." in c.text
        assert not c.asked(Abort)


async def test_limits_go_to_the_engine(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        await c.press("b", "ctrl+u", *"12", "enter", "d", "ctrl+u", *"200", "enter")
        (bandwidth,), (pause,) = c.asked(SetBandwidth), c.asked(SetPauseLimit)
        assert isinstance(bandwidth, SetBandwidth)
        assert isinstance(pause, SetPauseLimit)
        assert (bandwidth.rate_bytes_s, pause.pause_ms) == (12_000_000, 200)


async def test_the_report_has_every_figure(console: Open) -> None:
    async with console("web") as c:
        await opened(c, c.link.length)
        verdict = c.app.store.migrations[-1].verdict
        assert verdict is not None
        assert f"✓ MOVED  to {verdict.target}" in c.text
        for part in (
            f"{verdict.total_s:.1f} s, {verdict.wall_s:.1f} s from the confirm",
            f"{verdict.pause_ms} ms of 300 ms allowed",
            "– not measured",
            "least possible",
            f"{verdict.passes}, ",
            f"{verdict.owner}, as seen from both ends",
            "leftovers none",
        ):
            assert part in c.text
        assert braille(c.box("left-chart")) > 10


async def test_a_console_that_comes_later_has_the_whole_chart(console: Open) -> None:
    async with console("db") as c:
        moment = c.link.when(lambda m: passing(2, m)) + 1
        await opened(c, moment)
        whole = c.box("left-chart")
    async with console("db", t=moment, late=True) as c:
        await opened(c, moment)
        assert c.asked(GetMigration)
        assert c.box("left-chart") == whole


async def test_a_resize_loses_nothing(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)) + 1)
        before = c.text
        await c.resize(80, 24)
        for part in ("LEFT TO SEND", "┊2", "⇢ CONVERGING", "esc leave it running"):
            assert part in c.text
        assert len(c.text.splitlines()) <= 24
        await c.resize(120, 36)
        assert c.text == before


async def test_a_report_fits_a_terminal_that_has_become_smaller(console: Open) -> None:
    async with console("web") as c:
        await opened(c, c.link.length)
        await c.resize(80, 24)
        resized = c.text
        assert len(resized.splitlines()) <= 24
        await c.settle()
        assert c.text == resized


async def test_escape_leaves_it_running(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        calls = len(c.link.calls)
        await c.press("escape", "escape")
        assert isinstance(c.screen, FleetScreen)
        assert len(c.link.calls) == calls


async def test_tab_goes_to_the_next_running_migration(console: Open) -> None:
    async with console("two-at-once") as c:
        both = list(c.link.migrations().values())[-2:]
        await opened(c, max(seen.t for seen in both) + 2)
        assert isinstance(c.screen, MigrationScreen)
        ids = {c.screen.migration_id}
        await c.press("tab")
        ids.add(c.screen.migration_id)
        assert ids == {seen.migration.id for seen in both}
        first = c.screen.migration_id
        await c.press("n", "N")
        assert c.screen.migration_id == first


async def test_the_list_shows_both(console: Open) -> None:
    async with console("two-at-once") as c:
        both = list(c.link.migrations().values())[-2:]
        await c.at(max(seen.t for seen in both) + 2)
        await c.press("M")
        for seen in both:
            assert f"{seen.migration.source} ⇢ {seen.migration.target}" in c.text
        assert "2 moving" in c.text


async def test_enter_on_a_moving_vm_opens_its_migration(console: Open) -> None:
    async with console("db") as c:
        await c.at(c.link.when(lambda m: passing(2, m)))
        await c.press("slash", *"db-1", "enter", "enter")
        assert isinstance(c.screen, MigrationScreen)


async def test_a_pass_never_runs_backwards(console: Open) -> None:
    async with console("db") as c:
        last: tuple[int, float] = (0, 0.0)
        for step in range(int(c.link.length * 2)):
            await c.link.play_to(step / 2)
            for id in c.link.migrations().keys() & c.app.store.tracks.keys():
                track = c.app.store.tracks[id]
                now = (track.pass_number, track.pass_progress)
                assert now >= last
                last = now


async def test_the_chart_in_plain_ascii(console: Open) -> None:
    async with console("db", ascii_only=True) as c:
        await opened(c, c.link.when(lambda m: passing(2, m)) + 1)
        assert c.text.isascii()
        assert "|2" in c.text


RUNNING = (Control.BANDWIDTH, Control.PAUSE_LIMIT, Control.SUSPEND, Control.ABORT)


async def changed(c: Console, **changes: object) -> Migration:
    """The running migration as the engine would publish it, changed so."""
    m = replace(c.app.store.running[0], **changes)  # type: ignore[arg-type]
    await c.publish(MigrationChanged(m))
    return m


def operated(c: Console) -> list[Control]:
    return [call.control for call in c.asked(Operate) if isinstance(call, Operate)]


async def test_post_copy_is_asked_once_with_its_risk(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        m = await changed(
            c, tuning=Tuning(50, post_copy=True), controls=(*RUNNING, Control.POST_COPY)
        )
        await c.press("p")
        text = " ".join(c.box("question").split())
        assert "Switch db-1 to post-copy now?" in text
        assert "There is no way back and no abort." in text
        assert f"if {m.source} or {m.target} dies then, db-1 is lost" in text
        await c.press("enter")
        assert not operated(c)
        await c.press("p", "y")
        assert operated(c) == [Control.POST_COPY]


async def test_at_eighty_columns_the_whole_risk_is_on_the_screen(console: Open) -> None:
    async with console("db", size=(80, 24)) as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        controls = (*RUNNING, Control.POST_COPY)
        m = await changed(c, tuning=Tuning(50, post_copy=True), controls=controls)
        await c.press("p")
        assert f"{m.target} dies then, db-1 is lost." in " ".join(c.text.split())
        assert "ctrl+p commands" in c.text
        await c.press("n")
        assert len(c.box("log").splitlines()) > 1


async def test_after_the_switch_to_post_copy_the_controls_change(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        await changed(c, post_copy=True, phase=Phase.SWITCHOVER, controls=(Control.BANDWIDTH,))
        assert "post-copy" in c.box("title")
        await c.press("a")
        assert "only its memory follows: no way back" in c.text
        assert not c.asked(Abort)
        await c.press("b", *"12", "enter")
        assert c.asked(SetBandwidth)
        await changed(c, recoverable=True, controls=(Control.RECOVER,))
        await c.press("b")
        assert "recover it" in c.text
        await c.press("r")
        assert operated(c) == [Control.RECOVER]


async def test_a_suspend_says_how_long_the_vm_will_stand_still(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(3, m)) + 1)
        await c.press("z")
        text = " ".join(c.box("question").split())
        assert "Suspend db-1 until it has moved?" in text
        assert "It stands still for about" in text
        assert "a pause of 300 ms" in text
        await c.press("z", "n")
        assert not operated(c)
        await c.press("z", "y")
        assert operated(c) == [Control.SUSPEND]


async def test_a_hold_is_one_key_and_its_end_a_question(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        await changed(c, can_hold=True, controls=(*RUNNING, Control.HOLD))
        assert "w hold" in c.text
        await c.press("w")
        assert operated(c) == [Control.HOLD]
        at = c.link.clock.now + 3600
        await changed(c, hold=True, at=at, controls=(*RUNNING, Control.SWITCH))
        assert "held · at" in c.box("title")
        assert "w switch over" in c.text
        await c.press("w", "n")
        assert operated(c) == [Control.HOLD]
        await c.press("w", "y")
        assert operated(c) == [Control.HOLD, Control.SWITCH]


async def test_what_cannot_be_done_says_why(console: Open) -> None:
    async with console("db") as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        for key, reason in (
            ("p", "does not permit post-copy"),
            ("w", "writes too little to be held"),
            ("r", "Nothing is broken"),
        ):
            await c.press(key)
            assert reason in " ".join(c.text.split())
            assert c.screen.why_not({"p": "post_copy", "w": "hold", "r": "recover"}[key])
        assert not operated(c)


async def test_the_deadline_and_the_outage_are_shown(console: Open) -> None:
    async with console("db", size=(80, 24)) as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        m = c.app.store.running[0]
        assert m.called_at is not None
        took_s = c.link.clock.now - m.called_at
        await changed(c, deadline_s=took_s + 125.5, outage_ms=40, probe="ping from kvm-a")
        assert "deadline 2 m 05 s" in c.box("phases")
        assert "outage so far 40 ms" in c.box("figures")
        await changed(c, outage_ms=None, probe="outage not measured: no address")
        assert "outage not measured: no address" in c.box("figures")


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_lane_for_each_disk_before_the_charts(console: Open, size: tuple[int, int]) -> None:
    move = DiskMove("vda", DiskAction.COPY, "/a", pool="default", volume="a", destination="/b/a")
    two = (move, replace(move, target="vdb"))
    async with console("db", size) as c:
        await opened(c, c.link.when(lambda m: passing(2, m)))
        assert c.box("disks") == ""
        half = (DiskProgress("vda", 50 << 20, 100 << 20, 20e6, 0.5), DiskProgress("vdb"))
        controls = (Control.PAUSE_LIMIT, Control.ABORT)
        copying = replace(
            *c.app.store.running, moves=two, disks=half, phase=Phase.DISK, controls=controls
        )
        await c.publish(MigrationChanged(copying))
        first, second = c.box("disks").splitlines()
        assert first.startswith(" vda  ██████░░░░░░  50%  50 M of 100 M  50 M left  20 MB/s  2 s")
        assert "not begun yet" in second
        lines = c.text.splitlines()
        lane = next(n for n, text in enumerate(lines) if text.startswith(" vda"))
        assert lane < next(n for n, text in enumerate(lines) if "LEFT TO SEND" in text)
        assert braille(c.box("left-chart")) > 0
        await c.press("b")
        assert not c.asked(SetBandwidth)
        assert "sets a mirror's rate only at its start" in " ".join(c.text.split())


async def test_start_again_aborts_and_then_plans_anew(console: Open) -> None:
    """What can only be set at the start: offered as abort and restart, in one go."""
    async with console("cache-abort") as c:
        await opened(c, c.link.when(hopeless))
        await c.press("m")
        assert "Abort moving cache-1 and plan it anew?" in c.text
        await c.press("y")
        assert len(c.asked(Abort)) == 1
        assert isinstance(c.screen, MigrationScreen)
        await c.at(c.link.length)
        assert isinstance(c.screen, PlanScreen)
        assert "MOVE cache-1 FROM" in c.text


async def test_start_again_needs_a_clear_yes(console: Open) -> None:
    async with console("cache-abort") as c:
        await opened(c, c.link.when(hopeless))
        await c.press("m", "n")
        await c.at(c.link.length)
        assert not c.asked(Abort)
        assert isinstance(c.screen, MigrationScreen)


async def test_one_that_stayed_can_be_planned_anew_one_that_moved_cannot(console: Open) -> None:
    async with console("cache-abort") as c:
        await opened(c, c.link.length)
        await c.press("m")
        assert isinstance(c.screen, PlanScreen)
    async with console("web") as c:
        await opened(c, c.link.length)
        await c.press("m")
        assert isinstance(c.screen, MigrationScreen)
        assert "is not on" in c.text


async def test_who_watched_the_first_attempt_goes_on_with_the_second(console: Open) -> None:
    async with console("cache-abort") as c:
        await opened(c, c.link.when(over))
        m = c.app.store.migrations[-1]
        assert m.verdict is not None
        waiting = replace(m, verdict=replace(m.verdict, again=True), controls=(Control.ABORT,))
        await c.publish(MigrationChanged(waiting))
        await c.press("a")
        assert "Give up moving cache-1" in c.text
        await c.press("n")
        second = replace(m, id="second", after=m.id, verdict=None, started=m.started + 60)
        await c.publish(MigrationChanged(second))
        assert isinstance(c.screen, MigrationScreen)
        assert c.screen.migration_id == "second"
