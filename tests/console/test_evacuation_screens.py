"""Emptying a host on the screen: reviewed, changed, started by one yes, watched, steered."""

from dataclasses import replace

import pytest

from backend.model import (
    Band,
    Candidate,
    Evacuation,
    EvacuationControl,
    EvacuationKind,
    EvacuationMove,
    EvacuationNote,
    EvacuationState,
    EvacuationWish,
    Forecast,
    Migration,
    Mode,
    MoveState,
    Phase,
    Roll,
    RollHost,
    RollState,
    RollStep,
    RollWish,
    Way,
)
from backend.plan.policy import BALANCED
from backend.service.protocol import (
    EvacuationChanged,
    EvacuationReply,
    MigrationChanged,
    PlanEvacuation,
    RollChanged,
    SetMaintenance,
    StartEvacuation,
    SteerEvacuation,
)
from tests.console.conftest import Console, Open
from tui.screens.evacuate import EvacuateScreen
from tui.screens.evacuation import EvacuationScreen
from tui.screens.fleet import FleetScreen

FORECAST = Forecast(True, Band(20, 24, 31), Band(60, 80, 110))
SIZES = [(80, 24), (120, 36), (200, 50)]


def candidates(mode: Mode = Mode.LIVE, refused: str = "") -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            to, mode, refused, forecast=None if refused else FORECAST, summary="live, balanced"
        )
        for to in ("kvm-b", "kvm-c")
    )


def move(name: str, way: Way = Way.LIVE, **more: object) -> EvacuationMove:
    made = EvacuationMove(
        name,
        f"uuid-{name}",
        "kvm-a",
        way,
        "kvm-b",
        reason="13.9 G stay free on kvm-b",
        candidates=candidates(),
        begins_s=0.0,
        ends_s=24.0,
    )
    return replace(made, **more)  # type: ignore[arg-type]


STAYS = move(
    "gpu-1",
    Way.CANNOT,
    state=MoveState.CANNOT,
    target=None,
    reason="host device 0000:01:00.0 is bound to its host",
    candidates=candidates(refused="host device 0000:01:00.0 is bound to its host"),
)
PLANNED = Evacuation(
    "r1",
    EvacuationWish("kvm-a"),
    moves=(move("web-1"), move("db-1", target="kvm-c"), STAYS),
    total_s=Band(40, 48, 60),
)


def running(c: Console, **more: object) -> Evacuation:
    now = c.link.clock()
    first = replace(PLANNED.moves[0], state=MoveState.MOVING, began=now - 10, ids=("m1",))
    rest = (replace(PLANNED.moves[1], begins_s=24.0, ends_s=48.0), STAYS)
    note = EvacuationNote(now - 10, "web-1 begins to move to kvm-b: the link is free")
    run = replace(
        PLANNED,
        state=EvacuationState.RUNNING,
        started=now - 10,
        moves=(first, *rest),
        notes=(note,),
    )
    return replace(run, **more)  # type: ignore[arg-type]


async def review(c: Console, key: str = "e") -> EvacuateScreen:
    c.link.answers[PlanEvacuation] = EvacuationReply(PLANNED)
    await c.press("tab", key)
    assert isinstance(c.screen, EvacuateScreen)
    return c.screen


def touching(c: Console) -> int:
    return len(c.asked(StartEvacuation)) + len(c.asked(SteerEvacuation))


@pytest.mark.parametrize("size", SIZES)
async def test_the_review_says_who_where_how_when_and_why_not(
    console: Open, size: tuple[int, int]
) -> None:
    async with console("web", size=size) as c:
        await review(c)
        (request,) = c.asked(PlanEvacuation)
        assert isinstance(request, PlanEvacuation)
        assert (request.wish.host, request.wish.kind) == ("kvm-a", EvacuationKind.EVACUATE)
        for said in ("EVACUATE kvm-a", "web-1", "db-1", "gpu-1", "✕ cannot", "2 VMs to move"):
            assert said in c.text, said
        assert "1 stays" in c.text
        assert "worst pause 110 ms" in c.text
        await c.press("G")
        assert "host device 0000:01:00.0" in c.text
        assert "enter start" in c.text
        assert all(len(row) <= size[0] for row in c.text.splitlines())
        assert not touching(c)


async def test_one_yes_starts_exactly_what_was_shown(console: Open) -> None:
    async with console("web") as c:
        await review(c)
        await c.press("enter", "n")
        assert not touching(c)
        await c.press("enter")
        assert "stay: gpu-1" in c.text
        assert "kvm-a is in maintenance from then on" in c.text
        c.link.answers[StartEvacuation] = EvacuationReply(running(c))
        await c.press("y")
        (request,) = c.asked(StartEvacuation)
        assert isinstance(request, StartEvacuation)
        assert request.wish.choices == PLANNED.pinned
        assert isinstance(c.screen, EvacuationScreen)


async def test_a_plan_that_is_not_true_any_more_starts_nothing_and_says_so(console: Open) -> None:
    async with console("web") as c:
        await review(c)
        changed = replace(PLANNED, changed="new-1 has come to kvm-a")
        c.link.answers[StartEvacuation] = EvacuationReply(changed)
        await c.press("enter", "y")
        assert isinstance(c.screen, EvacuateScreen)
        assert "Nothing was started" in c.text
        assert "new-1 has come to kvm-a" in c.text


async def test_target_mode_and_leaving_out_are_asked_for_without_asking_hosts_again(
    console: Open,
) -> None:
    async with console("web") as c:
        await review(c)
        await c.press("t", "o", "x")
        last = [request.wish.choices for request in c.asked(PlanEvacuation)[1:]]
        assert [one[0].target for one in last] == ["kvm-c", None, None]
        assert [one[0].mode for one in last] == [None, Mode.RESTART, Mode.RESTART]
        assert [one[0].leave for one in last] == [False, False, True]
        assert not any(request.fresh for request in c.asked(PlanEvacuation)[1:])


async def test_the_way_home_has_the_same_review(console: Open) -> None:
    async with console("web") as c:
        await review(c, "R")
        (request,) = c.asked(PlanEvacuation)
        assert isinstance(request, PlanEvacuation)
        assert request.wish.kind is EvacuationKind.RETURN
        await c.press("escape")
        assert isinstance(c.screen, FleetScreen)


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_shows_its_timeline_and_its_controls(
    console: Open, size: tuple[int, int]
) -> None:
    async with console("web", size=size) as c:
        await c.publish(EvacuationChanged(running(c)))
        await c.press("tab", "e")
        assert isinstance(c.screen, EvacuationScreen)
        for said in ("⇢ running", "⇢ moves", "○ waits", "✕ cannot", "0 of 2 done", "█", "░"):
            assert said in c.text, said
        assert "web-1 begins to move to kvm-b" in c.text
        assert "a abort all" in c.text
        rows = c.text.splitlines()
        assert all(len(row) <= size[0] for row in rows)
        web, db = (
            next(r for r in rows if name in r and "⇢ kvm" in r) for name in ("web-1", "db-1")
        )
        assert web.index("█") < db.index("░")


async def test_a_move_that_waits_for_its_link_is_not_said_to_move(console: Open) -> None:
    async with console("web") as c:
        run = running(c)
        began = Migration("m1", "web-1", "uuid-web-1", "kvm-a", "kvm-b", c.link.clock(), BALANCED)
        await c.publish(EvacuationChanged(run))
        await c.press("tab", "e")
        for phase, said in ((Phase.PREPARE, "⇢ gets ready"), (Phase.MEMORY, "⇢ moves")):
            await c.publish(MigrationChanged(replace(began, phase=phase)))
            row = next(r for r in c.text.splitlines() if "web-1" in r and "⇢ kvm" in r)
            assert said in row


async def test_the_controls_reach_the_engine(console: Open) -> None:
    async with console("web") as c:
        await c.publish(EvacuationChanged(running(c)))
        await c.press("tab", "e", "p", "J")
        assert "does not wait" in c.text
        await c.press("j", "K", "J", "x", "a", "n", "a", "y")
        asked = [one for one in c.asked(SteerEvacuation) if isinstance(one, SteerEvacuation)]
        sent = [(one.control, one.uuid) for one in asked]
        assert sent == [
            (EvacuationControl.PAUSE, None),
            (EvacuationControl.SOONER, "uuid-db-1"),
            (EvacuationControl.LATER, "uuid-db-1"),
            (EvacuationControl.SKIP, "uuid-db-1"),
            (EvacuationControl.ABORT, None),
        ]


async def test_an_interrupted_run_is_said_everywhere_and_goes_on_when_told(console: Open) -> None:
    async with console("web") as c:
        await c.publish(EvacuationChanged(running(c, state=EvacuationState.INTERRUPTED)))
        assert "evacuate of kvm-a was interrupted" in c.text
        await c.press("tab", "e", "p")
        (sent,) = c.asked(SteerEvacuation)
        assert isinstance(sent, SteerEvacuation)
        assert sent.control is EvacuationControl.RESUME


async def test_a_roll_that_stands_is_said_everywhere(console: Open) -> None:
    roll = Roll(
        "o1",
        RollWish(("kvm-a", "kvm-b"), "true"),
        RollState.STOPPED,
        (RollHost("kvm-a", RollStep.HOOK), RollHost("kvm-b")),
        trouble="The hook on kvm-a ended with exit code 4. \x1b[31mkvm-a is empty.",
    )
    async with console("web") as c:
        await c.publish(RollChanged(roll))
        assert "The roll is stopped. The hook on kvm-a ended with exit code 4." in c.text
        assert "r on the fleet screen shows it, p there goes on" in " ".join(c.text.split())
        assert "\x1b" not in c.text
        await c.publish(RollChanged(replace(roll, state=RollState.RUNNING, trouble="")))
        assert "The roll is" not in c.text


async def test_a_host_is_put_in_maintenance_by_a_key(console: Open) -> None:
    async with console("web") as c:
        await c.press("tab", "X")
        (sent,) = c.asked(SetMaintenance)
        assert isinstance(sent, SetMaintenance)
        assert (sent.host, sent.on) == ("kvm-a", True)
