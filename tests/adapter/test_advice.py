"""What rules say through the engine's door, on libvirt's test driver: asked, told, begun once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backend.fleet import config
from backend.model import (
    Advising,
    Evacuation,
    EvacuationKind,
    EvacuationState,
    EvacuationWish,
    RuleKind,
    RuleLevel,
)
from backend.run import advising
from backend.run.engine import Engine
from backend.run.journal import Journal
from backend.run.journal_runs import RunRows
from backend.service.answers import answer
from backend.service.hub import Hub
from backend.service.protocol import (
    AdviceChanged,
    AdviceReply,
    Change,
    GetAdvice,
)

HOSTS = '[hosts.one]\nuri = "test:///default"\n[hosts.two]\nuri = "test:///default"\n'
DRAIN = (
    '[rules.night]\nkind = "drain"\nlevel = "ask"\nhost = "one"\nat = "00:00"\nuntil = "00:00"\n'
)
EVEN = '[rules.even]\nkind = "balance"\nrounds = 2\n'


@asynccontextmanager
async def engine(
    rules: str, hub: Hub | None = None, journal: Path | None = None
) -> AsyncIterator[Engine]:
    settings = config.parse(HOSTS + rules, Path("/fleet.toml"))
    made = Engine(settings, hub or Hub(), lambda: None, time.time, journal=journal)
    made.begin()
    try:
        yield made
    finally:
        await made.close()


async def asked(made: Engine, after: int | None = None, settle: bool = False) -> Advising:
    reply = await answer(made, (), GetAdvice(after, settle))
    assert isinstance(reply, AdviceReply)
    return reply.advising


async def test_a_window_that_is_open_asks_for_an_empty_host() -> None:
    heard: list[Advising] = []
    hub = Hub()

    def hear(change: Change, _line: bytes) -> None:
        if isinstance(change, AdviceChanged):
            heard.append(change.advising)

    hub.subscribe(hear)
    async with engine(DRAIN, hub) as made:
        said = await asked(made, settle=True)
        [advice] = said.advice
        assert (advice.rule, advice.kind, advice.level) == ("night", RuleKind.DRAIN, RuleLevel.ASK)
        assert advice.wish == EvacuationWish("one", until=advice.until)
        assert advice.until is not None
        assert [line.name for line in said.rules] == ["night"]
        assert said.rules[0].opens is not None
        assert heard[0] == Advising(), "what was so when it began to listen"
        assert heard[-1].advice == said.advice


async def test_what_was_begun_in_the_window_is_not_begun_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with engine(DRAIN, journal=journal) as made:
        [advice] = (await asked(made, settle=True)).advice
        assert advice.until is not None
    written = Journal(journal, time.time, "/fleet.toml")
    run = Evacuation("r1", EvacuationWish("one"), EvacuationState.ENDED, started=advice.until - 60)
    assert run.kind is EvacuationKind.EVACUATE
    assert await RunRows(written).keep(run)
    await written.close()
    async with engine(DRAIN, journal=journal) as made:
        assert (await asked(made, settle=True)).advice == ()


async def test_rounds_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advising, "LOOK_S", 0.01)
    async with engine(EVEN) as made:
        first = await asked(made)
        assert any("loads are known of" in note for note in first.notes)
        settled = await asked(made, settle=True)
        assert not any("loads are known of" in note for note in settled.notes)
        assert settled.advice == (), "the test driver tells no load"
        later = await asked(made, after=settled.round)
        assert later.round > settled.round


async def test_a_fleet_without_rules_says_nothing_at_once() -> None:
    async with engine("") as made, asyncio.timeout(5):
        assert await asked(made, after=0) == Advising()
        assert await asked(made, settle=True) == Advising()


async def test_without_the_past_nothing_is_moved_on_load(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    journal.mkdir()
    follow = '[rules.home]\nkind = "follow"\n'
    async with engine(DRAIN + follow, journal=journal) as made:
        said = await asked(made, settle=True)
        assert [advice.rule for advice in said.advice] == ["night"]
        assert any("past ones are not known" in note for note in said.notes)
