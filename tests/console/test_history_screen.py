"""The history: what has ended, live, filtered, sorted; enter opens one as it was."""

from dataclasses import replace
from pathlib import Path

import pytest

from backend.model import Mode, Outcome, Past, past_of
from backend.service.client import EngineUnavailable
from backend.service.protocol import GetMigration, ListPast, MigrationReply, PastReply
from tests.console.conftest import Console, Open
from tests.console.recorded import answered
from tests.console.test_replay import only_file, recording
from tui.screens.fleet import FleetScreen
from tui.screens.history import AT_A_TIME, HistoryScreen
from tui.screens.replay import ReplayScreen

DAY_S = 86_400.0
NEWEST = 1_790_000_000.0
ONE = Past(
    "db-1-a",
    "db-1",
    "u-1",
    "kvm-a",
    "kvm-b",
    NEWEST,
    NEWEST + 30,
    Mode.LIVE,
    "balanced",
    Outcome.MOVED,
    "kvm-b",
    "It runs on kvm-b.",
    27.4,
    28.1,
    84,
    120,
    900 << 20,
    5,
)
STAYED = replace(
    ONE,
    id="web-1-b",
    vm="web-1",
    started=NEWEST - DAY_S,
    outcome=Outcome.STAYED,
    owner="kvm-a",
    reason="aborted",
    total_s=200.0,
    pause_ms=None,
    outage_ms=None,
)
COLD = replace(
    ONE, id="arch-c", vm="archive", started=NEWEST - 2 * DAY_S, mode=Mode.COLD, source="kvm-c"
)
PAST = (COLD, STAYED, ONE)


async def opened(c: Console, past: tuple[Past, ...] = PAST) -> HistoryScreen:
    c.link.answers[ListPast] = PastReply(past)
    await c.press("h")
    assert isinstance(c.screen, HistoryScreen)
    return c.screen


def vms(c: Console) -> list[str]:
    rows = c.box("past").splitlines()[1:]
    return [next((one.vm for one in PAST if f" {one.vm} " in row), "") for row in rows]


async def test_the_newest_is_on_top_with_every_figure(console: Open) -> None:
    async with console("web") as c:
        await opened(c)
        assert vms(c) == ["db-1", "web-1", "archive"]
        row = c.box("past").splitlines()[1]
        for part in ("kvm-a ⇢ kvm-b", "✓ moved", "27 s", "84 ms", "120 ms", "balanced", "live"):
            assert part in row
        assert "○ stayed" in c.box("past").splitlines()[2]
        assert "3 migrations · 2 moved" in c.text


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
async def test_it_fits(console: Open, size: tuple[int, int]) -> None:
    async with console("web", size=size) as c:
        await opened(c)
        for row in c.box("past").splitlines():
            assert len(row.rstrip()) < size[0]
        for part in ("VM", "FROM ⇢ TO", "OUTCOME", "TOTAL", "PAUSE", "enter open", "esc back"):
            assert part in c.text
        assert ("REASON" in c.text) == (size[0] == 200)


async def test_words_filter_and_a_key_clears_them(console: Open) -> None:
    async with console("web") as c:
        await opened(c)
        await c.press("slash", *"cold", "enter")
        assert vms(c) == ["archive"]
        assert "/cold 1 of 3" in c.box("past-rule")
        await c.press("slash", "ctrl+u", *"kvm-a db", "enter")
        assert vms(c) == ["db-1"]
        await c.press("slash", "ctrl+u", *"nothing", "enter")
        assert "no migration matches /nothing: c clears it" in c.text
        await c.press("c")
        assert len(vms(c)) == 3


async def test_it_sorts_by_every_column_and_back(console: Open) -> None:
    async with console("web") as c:
        await opened(c)
        await c.press("s")
        assert vms(c) == ["archive", "db-1", "web-1"]
        await c.press("S")
        assert vms(c) == ["web-1", "db-1", "archive"]
        await c.press("s", "s", "s")
        assert vms(c) == ["db-1", "archive", "web-1"]
        assert "TOTAL▴" in c.text


async def test_what_ends_meanwhile_appears(console: Open) -> None:
    async with console("web") as c:
        ended = c.link.when(lambda m: m.verdict is not None)
        await c.at(ended - 1.0)
        await opened(c)
        asked = len(c.asked(ListPast))
        c.link.answers[ListPast] = PastReply((*PAST, replace(ONE, id="new", vm="brand-new")))
        await c.at(ended - 0.9)
        assert len(c.asked(ListPast)) == asked
        await c.at(ended + 0.1)
        await c.settle()
        assert len(c.asked(ListPast)) == asked + 1
        assert "brand-new" in c.text


async def test_enter_opens_the_report_with_its_chart_and_space_plays_it(console: Open) -> None:
    async with console("web") as c:
        await c.at(c.link.length)
        own = recording(c.link.entries, c.app.store.migrations[-1].id)
        past = past_of(own.migration)
        assert past is not None
        c.link.answers[GetMigration] = MigrationReply(own.migration, own.samples)
        await opened(c, (past,))
        await c.press("enter")
        assert isinstance(c.screen, ReplayScreen)
        assert "✓ MOVED" in c.text
        assert "leftovers none" in c.text
        await c.press("space")
        c.link.clock.now += 6
        await c.settle()
        assert "⇢ CONVERGING" in c.text
        await c.press("escape")
        assert isinstance(c.screen, HistoryScreen)
        await c.press("escape")
        assert isinstance(c.screen, FleetScreen)


async def test_older_ones_come_when_asked_for(console: Open) -> None:
    async with console("web") as c:
        many = tuple(replace(ONE, id=f"m-{n}", started=NEWEST - n) for n in range(AT_A_TIME))
        await opened(c, many[::-1])
        await c.press("o")
        assert [one.wanted.limit for one in c.asked(ListPast)] == [
            AT_A_TIME,
            2 * AT_A_TIME,
        ]
        await c.press("o")
        assert "These are all that are known." in c.text


async def test_of_a_long_list_each_row_is_there_when_it_is_seen(console: Open) -> None:
    async with console("web", size=(80, 24)) as c:
        many = tuple(
            replace(ONE, id=f"m-{n}", vm=f"vm-{n}", started=NEWEST - n) for n in range(10_000)
        )
        await opened(c, many[::-1])
        assert "vm-0 " in c.text
        assert "…" not in c.box("past").splitlines()[10]
        await c.press("G")
        assert "vm-9999 " in c.text
        assert "vm-9990 " in c.text
        await c.press("pageup", "pageup")
        assert "▸" in c.text
        await c.press("g")
        assert "vm-0 " in c.text
        assert "10,000 migrations" in c.text


async def test_an_empty_history_and_a_journal_in_trouble_say_so(console: Open) -> None:
    async with console("web") as c:
        c.link.answers[ListPast] = PastReply(())
        await c.press("h")
        assert "no VM has been moved yet" in c.text
        await c.press("escape")
        c.link.answers[ListPast] = PastReply((), "The journal cannot be read (locked).")
        await c.press("h")
        assert "no migration is known" in c.text
        assert "no VM has been moved yet" not in c.text
        assert "The journal cannot be read (locked)." in c.text
        await c.press("enter", "space")
        assert "There is no migration in this list." in c.text


async def test_without_an_engine_the_list_stays_and_one_opens_when_it_is_back(
    console: Open,
) -> None:
    async with console("web") as c:
        await c.at(c.link.length)
        own = recording(c.link.entries, c.app.store.migrations[-1].id)
        await opened(c)
        await c.link.lose(EngineUnavailable("The engine is gone."))
        await c.settle()
        assert len(vms(c)) == 3
        await c.press("enter")
        assert isinstance(c.screen, ReplayScreen)
        await c.press("space")
        assert "The engine is not there" in c.text
        c.link.failing = None
        c.link.answers[GetMigration] = MigrationReply(own.migration, own.samples)
        c.app.bridge.retry_now()
        await c.link.watched()
        await c.settle()
        await answered(c.app)
        await c.settle()
        assert "✓ MOVED" in c.text


async def test_marked_ones_go_into_one_report(
    console: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with console("two-at-once") as c:
        await c.at(c.link.length)
        own = [m for m in c.app.store.migrations if m.id in c.link.migrations()]
        past = tuple(one for m in own if (one := past_of(m)))
        assert len(past) > 1
        await opened(c, past)
        await c.press("space", "space", "x", "enter")
        await answered(c.app)
        made = only_file(tmp_path)
        assert made.name.startswith("migrations-")
        assert made.read_text().count("<section>") == 2


async def test_the_palette_finds_it(console: Open) -> None:
    async with console("web") as c:
        c.link.answers[ListPast] = PastReply(PAST)
        await c.press("ctrl+p", *"history", "enter")
        await c.settle()
        assert isinstance(c.screen, HistoryScreen)
