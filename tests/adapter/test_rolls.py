"""Rolls through the engine's door, on libvirt's test driver, which moves nothing: what is refused,
what the next engine makes of one that was killed."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backend.errors import BadInput
from backend.fleet import config
from backend.model import Roll, RollControl, RollHost, RollState, RollStep, RollWish
from backend.run.engine import Engine
from backend.run.journal import Journal
from backend.run.journal_runs import RunRows
from backend.service.answers import answer
from backend.service.hub import Hub
from backend.service.protocol import (
    GetFleet,
    ListRolls,
    PlanRoll,
    Reply,
    Request,
    RollReply,
    RollsReply,
    SetMaintenance,
    StartRoll,
    SteerRoll,
)

ONE = '[hosts.one]\nuri = "test:///default"\n'
TWO = ONE + '[hosts.two]\nuri = "test:///default"\n'
Ask = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def engine(journal: Path, fleet: str = TWO) -> AsyncIterator[Ask]:
    """One life of an engine on that journal."""
    settings = config.parse(fleet, Path("/fleet.toml"))
    made = Engine(settings, Hub(), lambda: None, time.time, journal=journal)
    made.begin()
    try:
        yield lambda request: answer(made, (), request)
    finally:
        await made.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def rolls(ask: Ask) -> tuple[Roll, ...]:
    reply = await ask(ListRolls())
    assert isinstance(reply, RollsReply)
    return reply.rolls


async def left_open(journal: Path, step: RollStep, **fields: object) -> None:
    """What an engine that was killed in the middle leaves."""
    key = config.parse(TWO, Path("/fleet.toml")).key
    written = Journal(journal, time.time, key)
    host = RollHost("one", step, **fields)  # type: ignore[arg-type]
    hosts = (host, RollHost("two"))
    wish = RollWish(("one", "two"), "true")
    assert await RunRows(written).keep_roll(Roll("o1", wish, RollState.RUNNING, hosts, started=1.0))
    await written.close()


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (RollWish(("one", "nine")), "no host 'nine'"),
        (RollWish(("one", "one")), "named twice"),
        (RollWish(("one",), "true"), "No command can be run on one"),
        (RollWish(("one",), targets=("one",)), "is to be emptied"),
    ],
)
async def test_bad_input_is_refused_and_nothing_is_touched(
    journal: Path, wish: RollWish, says: str
) -> None:
    async with engine(journal) as ask:
        for request in (PlanRoll(wish), StartRoll(wish)):
            with pytest.raises(BadInput, match=says):
                await ask(request)
        assert await rolls(ask) == ()


async def test_the_only_host_has_nowhere_to_send_its_vms(journal: Path) -> None:
    async with engine(journal, ONE) as ask:
        with pytest.raises(BadInput, match="only host"):
            await ask(PlanRoll(RollWish(("one",))))


@pytest.mark.long
async def test_a_plan_says_what_cannot_go_and_a_start_refuses_it(journal: Path) -> None:
    async with engine(journal) as ask:
        reply = await ask(PlanRoll(RollWish(("one", "two"))))
        assert isinstance(reply, RollReply)
        assert reply.roll.trouble.startswith("one cannot be emptied: test: ")
        with pytest.raises(BadInput, match="one cannot be emptied"):
            await ask(StartRoll(RollWish(("one", "two"))))
        assert await rolls(ask) == ()


async def test_a_host_in_maintenance_is_somebody_elses(journal: Path) -> None:
    async with engine(journal) as ask:
        await ask(GetFleet(settle_s=10))
        await ask(SetMaintenance("two", True))
        with pytest.raises(BadInput, match="two is in maintenance already"):
            await ask(PlanRoll(RollWish(("one", "two"))))


async def test_the_next_engine_offers_it_and_does_nothing_unasked(journal: Path) -> None:
    await left_open(journal, RollStep.HOOK, runs=("e1",), hook_began=2.0, left=("u1",))
    async with engine(journal) as ask:
        (roll,) = await rolls(ask)
        assert roll.state is RollState.INTERRUPTED
        assert "while the hook ran on one: its end is not known" in roll.trouble
        with pytest.raises(BadInput, match="A roll of one, two is interrupted"):
            await ask(StartRoll(RollWish(("two",))))
        await ask(SteerRoll(RollControl.ABORT))
        (roll,) = await rolls(ask)
        assert (roll.state, roll.exit_code) == (RollState.ENDED, 1)
        assert "`virt-ferry return one`" in roll.trouble
        with pytest.raises(BadInput, match="no open roll"):
            await ask(SteerRoll(RollControl.RESUME))
    async with engine(journal) as ask:
        assert (await rolls(ask))[0].state is RollState.ENDED
