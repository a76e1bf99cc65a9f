"""Evacuations and maintenance through the engine's door, on libvirt's test driver, which moves
nothing: what is planned, refused, kept in the journal and found again by the next engine."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backend.errors import BadInput
from backend.fleet import config
from backend.model import (
    Evacuation,
    EvacuationControl,
    EvacuationKind,
    EvacuationMove,
    EvacuationState,
    EvacuationWish,
    MoveState,
    Way,
)
from backend.run.engine import Engine
from backend.run.journal import Journal
from backend.run.journal_runs import RunRows
from backend.service.answers import answer
from backend.service.hub import Hub
from backend.service.protocol import (
    Change,
    EvacuationChanged,
    EvacuationReply,
    EvacuationsReply,
    GetFleet,
    ListEvacuations,
    MakePlan,
    PlanEvacuation,
    PlanReply,
    Reply,
    Request,
    SetMaintenance,
    StartEvacuation,
    SteerEvacuation,
)

FLEET = config.parse(
    '[hosts.one]\nuri = "test:///default"\n[hosts.two]\nuri = "test:///default"\n',
    Path("/fleet.toml"),
)
Ask = Callable[[Request], Awaitable[Reply]]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@asynccontextmanager
async def engine(journal: Path, hub: Hub | None = None) -> AsyncIterator[Ask]:
    """One life of an engine on that journal."""
    made = Engine(FLEET, hub or Hub(), lambda: None, time.time, journal=journal)
    made.begin()
    try:
        yield lambda request: answer(made, (), request)
    finally:
        await made.close()


async def marked(ask: Ask) -> list[str]:
    await ask(GetFleet(settle_s=10))
    reply = await ask(GetFleet())
    return [host.name for host in reply.fleet.hosts if host.maintenance_since]  # type: ignore[union-attr]


async def refusals(ask: Ask, target: str) -> set[str]:
    reply = await ask(MakePlan(("one/test",), target))
    assert isinstance(reply, PlanReply)
    return {finding.code for plan in reply.plans for finding in plan.findings}


async def test_a_host_in_maintenance_takes_no_vm_until_it_is_over(journal: Path) -> None:
    async with engine(journal) as ask:
        assert "host-maintenance" not in await refusals(ask, "two")
        await ask(SetMaintenance("two", True))
        assert "host-maintenance" in await refusals(ask, "two")
        assert await marked(ask) == ["two"]
        with pytest.raises(BadInput, match="no host 'nine'"):
            await ask(SetMaintenance("nine", True))
    async with engine(journal) as ask:
        assert await marked(ask) == ["two"]
        assert "host-maintenance" in await refusals(ask, "two")
        await ask(SetMaintenance("two", False))
        assert "host-maintenance" not in await refusals(ask, "two")
    async with engine(journal) as ask:
        assert await marked(ask) == []


async def test_a_plan_touches_nothing_and_says_why_of_each(journal: Path) -> None:
    async with engine(journal) as ask:
        reply = await ask(PlanEvacuation(EvacuationWish("one")))
        assert isinstance(reply, EvacuationReply)
        (move,) = reply.evacuation.moves
        assert (move.vm, move.state) == ("test", MoveState.CANNOT)
        assert move.reason
        assert await marked(ask) == []
        listed = await ask(ListEvacuations())
        assert listed == EvacuationsReply(())
        for wrong in (EvacuationWish("nine"), EvacuationWish("one", targets=("one",))):
            with pytest.raises(BadInput):
                await ask(PlanEvacuation(wrong))


async def test_nothing_to_bring_home_is_a_sentence(journal: Path) -> None:
    async with engine(journal) as ask:
        wish = EvacuationWish("one", EvacuationKind.RETURN)
        reply = await ask(PlanEvacuation(wish))
        assert isinstance(reply, EvacuationReply)
        assert reply.evacuation.moves == ()
        with pytest.raises(BadInput, match="no VM left one"):
            await ask(StartEvacuation(wish))


async def left_open(journal: Path, *moves: EvacuationMove) -> None:
    """What an engine that was killed in the middle leaves."""
    written = Journal(journal, time.time, FLEET.key)
    run = Evacuation(
        "r1", EvacuationWish("one"), EvacuationState.RUNNING, moves, made=1.0, started=1.0
    )
    assert await RunRows(written).keep(run)
    await written.close()


def heard_end(hub: Hub) -> asyncio.Event:
    """Set when a run has ended."""
    ended = asyncio.Event()

    def heard(change: Change, _line: bytes) -> None:
        if isinstance(change, EvacuationChanged) and not change.evacuation.state.open:
            ended.set()

    hub.subscribe(heard)
    return ended


def waiting(uuid: str, **more: object) -> EvacuationMove:
    return EvacuationMove("gone-1", uuid, "one", Way.LIVE, "two", **more)  # type: ignore[arg-type]


async def run_of(ask: Ask) -> Evacuation:
    reply = await ask(ListEvacuations())
    assert isinstance(reply, EvacuationsReply)
    (run,) = reply.evacuations
    return run


async def test_the_next_engine_offers_a_run_and_starts_nothing_unasked(journal: Path) -> None:
    await left_open(journal, waiting("6695eb01-f6a4-8304-79aa-97f2502e193f"))
    async with engine(journal) as ask:
        run = await run_of(ask)
        assert run.state is EvacuationState.INTERRUPTED
        assert run.moves[0].state is MoveState.WAITING
        with pytest.raises(BadInput, match="A run of one is interrupted"):
            await ask(StartEvacuation(EvacuationWish("one")))
        await ask(SteerEvacuation("one", EvacuationControl.ABORT))
        run = await run_of(ask)
        assert (run.state, run.moves[0].state) == (EvacuationState.ENDED, MoveState.LEFT_OUT)
    async with engine(journal) as ask:
        assert (await run_of(ask)).state is EvacuationState.ENDED


async def test_an_ended_run_ends_also_what_its_engine_had_only_meant_to_begin(
    journal: Path,
) -> None:
    known = "6695eb01-f6a4-8304-79aa-97f2502e193f"
    await left_open(journal, waiting(known, state=MoveState.MOVING, began=2.0))
    hub = Hub()
    ended = heard_end(hub)
    async with engine(journal, hub) as ask:
        await ask(SteerEvacuation("one", EvacuationControl.ABORT))
        async with asyncio.timeout(20):
            await ended.wait()
        assert (await run_of(ask)).moves[0].state is MoveState.LEFT_OUT


async def test_what_is_not_there_any_more_is_not_waited_for(journal: Path) -> None:
    await left_open(journal, waiting("no-such-uuid", state=MoveState.MOVING, began=2.0))
    hub = Hub()
    ended = heard_end(hub)
    async with engine(journal, hub) as ask:
        async with asyncio.timeout(20):
            await ended.wait()
        run = await run_of(ask)
        assert run.moves[0].state is MoveState.CANNOT
        assert run.exit_code == 1
        with pytest.raises(BadInput, match="has ended"):
            await ask(SteerEvacuation("r1", EvacuationControl.RESUME))
        with pytest.raises(BadInput, match="no run 'two'"):
            await ask(SteerEvacuation("two", EvacuationControl.RESUME))
