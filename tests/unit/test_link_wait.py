"""A move of a run sends nothing before those it waits for have left its link."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from backend.model import (
    DiskProgress,
    EvacuationMove,
    Migration,
    Mode,
    MoveState,
    Phase,
    PhaseState,
    Sample,
)
from backend.plan.policy import BALANCED
from backend.run import link_wait
from backend.run.departure import Departure
from backend.run.evacuation_starts import Starts
from backend.run.link_wait import LinkWait
from backend.run.told import Told
from tests.unit.test_departure import Silent
from tests.unit.test_evacuation_starts import Around, kit, move, run_of

BEFORE = Migration("m1", "a", "uuid-a", "kvm-a", "kvm-b", 1000.0, BALANCED)


def told() -> Told:
    state = Migration("m2", "b", "uuid-b", "kvm-a", "kvm-b", 1000.0, BALANCED)
    return Told(state, cast("Any", Silent()), 0.0, lambda: 1000.0)


async def waits(wait: LinkWait) -> bool:
    """Still, after everything that can go on went on."""
    over = asyncio.create_task(wait.over(told()))
    for _ in range(5):
        await asyncio.sleep(0)
    over.cancel()
    return not over.done()


async def begun(mode: Mode = Mode.LIVE) -> tuple[Starts, tuple[EvacuationMove, ...], LinkWait]:
    """`b` is begun, moved as `mode` says, while `a` sends."""
    around = Around()
    around.go_on.set()
    moving = replace(move("a"), state=MoveState.MOVING)
    starts, moves = Starts(kit(around)), (moving, replace(move("b"), mode=mode))
    await starts.begin(run_of(*moves), moves[1], ("uuid-a",))
    [wait] = around.links
    assert wait is not None
    return starts, moves, wait


def now(**changes: Any) -> dict[str, Migration]:
    return {"uuid-a": replace(BEFORE, **changes)}


def in_phase(phase: Phase) -> dict[Phase, PhaseState]:
    return {phase: PhaseState.ACTIVE}


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.COLD])
async def test_it_goes_when_the_one_before_it_runs_at_the_target(mode: Mode) -> None:
    starts, moves, wait = await begun(mode)
    assert starts.waits == {"uuid-b": ("uuid-a",)}
    pauses = in_phase(Phase.SWITCHOVER)
    for before in ({}, now(phases=in_phase(Phase.MEMORY)), now(phases=pauses)):
        starts.look(run_of(*moves), before)
        assert await waits(wait)
    starts.look(run_of(*moves), now(phases=pauses, post_copy=True))
    assert await waits(wait), "most of its memory is yet to come"
    starts.look(run_of(*moves), now(phases=pauses, runs_there=True))
    assert not await waits(wait)
    assert starts.waits == {}


@pytest.mark.parametrize(("mode", "goes"), [(Mode.LIVE, True), (Mode.COLD, False)])
async def test_a_running_vm_goes_shortly_before_a_disk_is_sent(mode: Mode, goes: bool) -> None:
    starts, moves, wait = await begun(mode)
    sample = Sample(9.0, 0, 0, 0, 0, 20e6, None, disk_total_bytes=10**9, disk_remaining_bytes=10**7)
    off = now(mode=Mode.COLD, sample=sample, disks=(DiskProgress("vda"),))
    starts.look(run_of(*moves), off)
    assert await waits(wait) is not goes


async def test_it_goes_when_the_one_before_it_has_ended_whatever_became_of_it() -> None:
    starts, (before, itself), wait = await begun()
    starts.look(run_of(replace(before, state=MoveState.STAYED), itself), {})
    assert not await waits(wait)


async def test_one_that_has_nobody_before_it_waits_for_none() -> None:
    around = Around()
    around.go_on.set()
    gone = replace(move("a"), state=MoveState.MOVED)
    await Starts(kit(around)).begin(run_of(gone, move("b")), move("b"), ("uuid-a",))
    assert around.links == [None]


async def test_the_operator_is_told_for_whom_it_waits_and_an_abort_ends_it() -> None:
    its = told()
    departure = Departure(its, LinkWait({"uuid-a": "a"}))
    waiting = asyncio.create_task(departure.link_free())
    for _ in range(5):
        await asyncio.sleep(0)
    assert its.state.outlook is not None
    assert its.state.outlook.reason == "ready; sends once a has left its link"
    its.update(abort_asked=True)
    departure.wake()
    assert not await waiting
    assert await Departure(told()).link_free()


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_wait, "PATIENCE_S", 0.01)
    its, wait = told(), LinkWait({"uuid-a": "a"})
    await wait.over(its)
    assert wait.ahead == ()
    assert its.state.decisions[-1].reason == "a has not left the link in 0.01 s: it sends beside"
