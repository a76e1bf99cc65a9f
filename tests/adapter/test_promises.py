"""A second attempt that an engine has promised is the next one's, on libvirt's test driver."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from backend.fleet import config
from backend.model import Migration, MoveOptions, Outcome, Phase, Verdict
from backend.plan.policy import BALANCED
from backend.run.again import WAIT_S, promise
from backend.run.engine import Engine
from backend.run.journal import Journal
from backend.service.hub import Hub

FLEET = config.parse(
    '[hosts.one]\nuri = "test:///default"\n[hosts.two]\nuri = "test:///default"\n',
    Path("/fleet.toml"),
)
TEST_UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


def promised(ago_s: float, asked: MoveOptions | None) -> Migration:
    """It stayed, and its verdict of so long ago promises another attempt."""
    began = time.time() - ago_s - 40.0
    reason = f"It runs on one; two has nothing of it. {promise('one', 'two')}"
    verdict = Verdict(
        "a1", "test", "one", "two", Outcome.STAYED, "one", reason, 38.0, 40.0, again=True
    )
    return Migration(
        "a1", "test", TEST_UUID, "one", "two", began, BALANCED, phase=Phase.VERIFY,
        called_at=began, asked=asked, verdict=verdict,
    )  # fmt: skip


@asynccontextmanager
async def engine(path: Path, *left: Migration) -> AsyncIterator[Engine]:
    """The engine after the one that has left these."""
    journal = Journal(path, time.time, FLEET.key)
    for state in left:
        journal.migration(state)
    await journal.close()
    made = Engine(FLEET, Hub(), lambda: None, time.time, journal=path)
    made.begin()
    await made.opened()
    try:
        yield made
    finally:
        await made.close()


async def kept(made: Engine) -> Verdict:
    """Its verdict once it promises nothing any more."""
    async with asyncio.timeout(20):
        while True:
            state, _ = await made.migration("a1")
            assert state.verdict is not None
            if not state.verdict.again:
                return state.verdict
            await asyncio.sleep(0.05)


async def test_the_next_engine_plans_it_anew(tmp_path: Path) -> None:
    """Which the test driver's hosts refuse: the plan's own sentence is why it is not tried."""
    async with engine(tmp_path / "journal.db", promised(5.0, MoveOptions())) as made:
        verdict = await kept(made)
        assert "It was not tried again: " in verdict.reason
        assert "begin it anew" not in verdict.reason
        assert promise("one", "two") not in verdict.reason
        assert verdict.outcome is Outcome.STAYED
    async with engine(tmp_path / "journal.db") as later:
        assert not later.knows("a1"), "it is done with"


@pytest.mark.parametrize("left", [promised(WAIT_S + 1, MoveOptions()), promised(5.0, None)])
async def test_what_was_promised_long_ago_or_by_another_version_is_not_begun(
    tmp_path: Path, left: Migration
) -> None:
    async with engine(tmp_path / "journal.db", left) as made:
        assert "begin it anew" in (await kept(made)).reason


async def test_one_that_was_begun_already_is_not_begun_twice(tmp_path: Path) -> None:
    first = promised(5.0, MoveOptions())
    second = replace(first, id="b2", after="a1", verdict=None, phase=Phase.PREPARE, called_at=None)
    async with engine(tmp_path / "journal.db", first, second) as made:
        assert "It was tried again: migration b2." in (await kept(made)).reason
        assert [one.id for one in made.migrations(running_only=False)] == ["a1", "b2"]


async def test_it_can_be_called_off_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr("backend.run.again.reaches", never)
    async with engine(tmp_path / "journal.db", promised(5.0, MoveOptions())) as made:
        await made.abort("a1")
        assert "called off, as asked" in (await kept(made)).reason
