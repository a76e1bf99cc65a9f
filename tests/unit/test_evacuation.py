"""What a run says of its moves: pure, on plans and verdicts written down."""

from dataclasses import replace

import pytest

from backend.hypervisor.migrate import MigrationOrder
from backend.model import (
    Band,
    Evacuation,
    EvacuationChoice,
    EvacuationKind,
    EvacuationMove,
    EvacuationState,
    EvacuationWish,
    Finding,
    FleetSnapshot,
    Forecast,
    Host,
    HostState,
    Migration,
    Mode,
    MoveOptions,
    MoveState,
    Outcome,
    Outlook,
    Phase,
    PhaseState,
    Plan,
    Policy,
    Sample,
    Severity,
    Verdict,
    Vm,
    VmState,
    Way,
    Word,
)
from backend.plan.move_course import IDLE_START_S, LIVE_START_S
from backend.plan.queue_types import LinkMap, QueuedMove, Slot, Stage, Timeline
from backend.plan.timeline import EARLY_S
from backend.run.evacuation_draw import draw, refusal, why_not
from backend.run.evacuation_moves import judged, summary
from backend.run.evacuation_queue import foreseen, in_order, next_look_s, queue_state
from backend.run.evacuation_survey import Considered, next_name
from backend.run.together import Planned

GIB = 2**30
POLICY = Policy("balanced", 300)


def host(name: str, free_gib: int = 8) -> Host:
    return Host(
        name,
        HostState.UP,
        cpus=8,
        cpu_percent=10.0,
        memory_bytes=16 * GIB,
        memory_used_bytes=(16 - free_gib) * GIB,
    )


def vm(name: str, state: VmState = VmState.RUNNING) -> Vm:
    return Vm(f"uuid-{name}", name, "kvm-a", state, vcpus=1, memory_bytes=GIB)


def planned(of: Vm, target: str, *blocks: str, mode: Mode = Mode.LIVE) -> Planned:
    findings = tuple(Finding("x", "x", Severity.BLOCK, one, "Mend it.") for one in blocks)
    plan = Plan(
        of.name,
        of.uuid,
        of.host,
        target,
        findings,
        POLICY,
        mode=mode,
        free_bytes=8 * GIB,
        forecast=None if blocks else Forecast(True, Band(4, 5, 6), Band(60, 80, 100)),
    )
    order = MigrationOrder.__new__(MigrationOrder)
    return Planned(plan, of, order, needed_bytes=GIB)


FLEET = FleetSnapshot("lab", (host("kvm-a"), host("kvm-b"), host("kvm-c", 2)))
WISH = EvacuationWish("kvm-a")


def both(of: Vm, *blocks: str, mode: Mode = Mode.LIVE) -> tuple[Planned, ...]:
    return tuple(planned(of, to, *blocks, mode=mode) for to in ("kvm-b", "kvm-c"))


def test_what_can_go_is_placed_and_what_cannot_says_why_once() -> None:
    able, bound = vm("web-1"), vm("gpu-1")
    drawn = draw(
        WISH,
        [Considered(able, both(able)), Considered(bound, both(bound, "a device is bound"))],
        FLEET,
    )
    goes, stays = drawn.moves
    assert (goes.way, goes.state) == (Way.LIVE, MoveState.WAITING)
    assert goes.target in ("kvm-b", "kvm-c")
    assert set(drawn.queued) == {able.uuid}
    assert (stays.way, stays.state, stays.target) == (Way.CANNOT, MoveState.CANNOT, None)
    assert stays.reason == "a device is bound (Mend it)"


def test_reasons_that_differ_are_told_by_target() -> None:
    one = vm("web-1")
    plans = [planned(one, "kvm-b", "no room").plan, planned(one, "kvm-c", "no bridge").plan]
    assert why_not(plans) == "kvm-b: no room (Mend it); kvm-c: no bridge (Mend it)"
    assert refusal(planned(one, "kvm-b").plan) == ""


def test_a_restart_is_only_done_where_it_was_chosen() -> None:
    bound = vm("gpu-1")
    plans = (*both(bound, "bound"), *both(bound, mode=Mode.RESTART))
    (left,) = draw(WISH, [Considered(bound, plans)], FLEET).moves
    assert (left.way, left.state) == (Way.RESTART, MoveState.LEFT_OUT)
    assert left.can_restart
    assert "if that is chosen" in left.reason
    wish = replace(WISH, choices=(EvacuationChoice(bound.uuid, mode=Mode.RESTART),))
    (goes,) = draw(wish, [Considered(bound, plans)], FLEET).moves
    assert (goes.way, goes.mode, goes.state) == (Way.RESTART, Mode.RESTART, MoveState.WAITING)


def test_choices_are_kept() -> None:
    one, other = vm("web-1"), vm("web-2")
    choices = (EvacuationChoice(one.uuid, target="kvm-c"), EvacuationChoice(other.uuid, leave=True))
    wish = replace(WISH, choices=choices)
    considered = [Considered(each, both(each)) for each in (one, other)]
    first, second = draw(wish, considered, FLEET).moves
    assert (first.target, first.state) == ("kvm-c", MoveState.WAITING)
    assert (second.target, second.state) == (None, MoveState.LEFT_OUT)


def test_what_was_reviewed_is_pinned() -> None:
    goes = move("web-1", MoveState.WAITING, target="kvm-b")
    off = replace(move("gpu-1", MoveState.WAITING, target="kvm-c"), mode=Mode.RESTART)
    stays = replace(move("bad-1", MoveState.CANNOT), target=None)
    run = Evacuation("r", WISH, moves=(goes, off, stays))
    assert run.pinned == (
        EvacuationChoice(goes.uuid, "kvm-b"),
        EvacuationChoice(off.uuid, "kvm-c", Mode.RESTART),
        EvacuationChoice(stays.uuid),
    )


def move(name: str, state: MoveState, target: str = "kvm-b", **more: object) -> EvacuationMove:
    made = EvacuationMove(name, f"uuid-{name}", "kvm-a", Way.LIVE, target, state=state)
    return replace(made, **more)  # type: ignore[arg-type]


def migration(outcome: Outcome | None, again: bool = False) -> Migration:
    verdict = None
    if outcome is not None:
        owner = {Outcome.MOVED: "kvm-b", Outcome.STAYED: "kvm-a"}.get(outcome)
        verdict = Verdict(
            "m1", "web-1", "kvm-a", "kvm-b", outcome, owner, "because", 5.0, 7.0, again=again
        )
    return Migration("m1", "web-1", "uuid-web-1", "kvm-a", "kvm-b", 100.0, POLICY, verdict=verdict)


def test_a_move_ends_as_its_verdict_says() -> None:
    going = move("web-1", MoveState.MOVING)
    assert judged(going, migration(Outcome.MOVED)).state is MoveState.MOVED
    assert judged(going, migration(Outcome.MOVED)).ended == 107.0
    assert judged(going, migration(Outcome.STAYED)).state is MoveState.STAYED
    for unclear in (Outcome.UNKNOWN, Outcome.LOST, Outcome.SPLIT):
        assert judged(going, migration(unclear)).state is MoveState.NEEDS_YOU


def test_one_that_is_tried_again_has_not_ended() -> None:
    going = move("web-1", MoveState.MOVING)
    assert judged(going, migration(Outcome.STAYED, again=True)).state is MoveState.MOVING
    assert judged(going, migration(None)).state is MoveState.MOVING


def test_exit_codes() -> None:
    def code(*states: MoveState) -> int:
        moves = tuple(move(f"vm-{n}", state) for n, state in enumerate(states))
        return Evacuation("r", WISH, moves=moves).exit_code

    assert code() == 0
    assert code(MoveState.MOVED, MoveState.MOVED) == 0
    assert code(MoveState.MOVED, MoveState.CANNOT) == 1
    assert code(MoveState.MOVED, MoveState.LEFT_OUT) == 1
    assert code(MoveState.STAYED, MoveState.NEEDS_YOU) == 3


def test_the_summary_names_what_is_not_moved_and_how_maintenance_ends() -> None:
    moves = (move("web-1", MoveState.MOVED), move("gpu-1", MoveState.CANNOT))
    said = summary(Evacuation("r", WISH, moves=moves))
    assert "1 of 2 moved" in said
    assert "gpu-1" in said
    assert "maintenance kvm-a off" in said
    home = summary(Evacuation("r", replace(WISH, kind=EvacuationKind.RETURN), moves=moves))
    assert "maintenance" not in home


def queued(name: str) -> QueuedMove:
    return QueuedMove(f"uuid-{name}", name, "kvm-a", "kvm-b", alone_s=Band(4, 5, 6))


def test_only_what_waits_and_moves_is_in_the_queue() -> None:
    moves = (
        move("a", MoveState.WAITING, rank=-1),
        move("b", MoveState.MOVING, began=90.0),
        move("c", MoveState.MOVED),
        move("d", MoveState.CANNOT),
    )
    run = Evacuation("r", WISH, EvacuationState.RUNNING, moves, started=80.0)
    known = {f"uuid-{name}": queued(name) for name in "abcd"}
    state = queue_state(run, known, {}, LinkMap(), 100.0)
    assert [(one.id, one.rank) for one in state.waiting] == [("uuid-a", -1)]
    assert [(one.move.id, one.since_s) for one in state.going] == [("uuid-b", 10.0)]
    assert not state.paused
    paused = replace(run, state=EvacuationState.INTERRUPTED)
    assert queue_state(paused, known, {}, LinkMap(), 100.0).paused


def test_a_post_copy_holds_its_link_after_its_switchover() -> None:
    run = Evacuation(
        "r", WISH, EvacuationState.RUNNING, (move("a", MoveState.MOVING, began=90.0),), started=80.0
    )
    over = replace(migration(None), phases={Phase.SWITCHOVER: PhaseState.ACTIVE})
    for post_copy, stage in ((False, Stage.FINISHING), (True, Stage.COPYING)):
        known = {"uuid-a": replace(over, post_copy=post_copy)}
        [going] = queue_state(run, {"uuid-a": queued("a")}, known, LinkMap(), 100.0).going
        assert going.stage is stage


def test_a_disk_that_is_sent_leaves_its_link_while_it_is_read() -> None:
    run = Evacuation(
        "r", WISH, EvacuationState.RUNNING, (move("a", MoveState.MOVING, began=90.0),), started=80.0
    )
    copied = Sample(5.0, 0, 0, 0, 0, 20e6, None, disk_total_bytes=300, disk_remaining_bytes=0)
    on_the_way = replace(copied, disk_remaining_bytes=30_000_000)
    cold = replace(migration(None), mode=Mode.COLD, phases={Phase.DISK: PhaseState.ACTIVE})
    for sample, stage, left_s in (
        (None, Stage.COPYING, None),
        (on_the_way, Stage.COPYING, 1.5),
        (copied, Stage.FINISHING, 0.0),
    ):
        known = {"uuid-a": replace(cold, sample=sample)}
        [going] = queue_state(run, {"uuid-a": queued("a")}, known, LinkMap(), 100.0).going
        assert (going.stage, going.left_s) == (stage, left_s)
    soon = replace(copied, disk_remaining_bytes=round(20e6 * (IDLE_START_S + EARLY_S + 1)))
    assert next_look_s(run, {"uuid-a": replace(cold, sample=soon)}) == pytest.approx(1.0)


def test_the_end_of_a_disk_may_come_sooner_than_its_holes_let_expect() -> None:
    run = Evacuation(
        "r", WISH, EvacuationState.RUNNING, (move("a", MoveState.MOVING, began=90.0),), started=80.0
    )
    sample = Sample(
        5.0, 0, 0, 0, 0, 20e6, None, disk_total_bytes=10**9, disk_remaining_bytes=6 * 10**8,
        disk_sent_bytes=4 * 10**8,
    )  # fmt: skip
    outlook = Outlook(Word.COPYING_DISK, "", left_s=Band(24, 30, 45))
    live = replace(migration(None), sample=sample, outlook=outlook, phase=Phase.DISK)
    for taken, sooner_s in ((3 * 10**8, 30.0), (5 * 10**8, 25.0), (2 * 10**9, 0.0)):
        waits = {"uuid-a": replace(queued("a"), memory=None, disk_bytes=taken)}
        [going] = queue_state(run, waits, {"uuid-a": live}, LinkMap(), 100.0).going
        assert going.left_s == 30.0
        assert going.sooner_s == pytest.approx(sooner_s)
    memory = replace(live, phase=Phase.MEMORY)
    [going] = queue_state(run, {"uuid-a": queued("a")}, {"uuid-a": memory}, LinkMap(), 100.0).going
    assert going.sooner_s == pytest.approx(6.0)


def test_an_operators_bandwidth_is_each_moves_own() -> None:
    wish = replace(WISH, options=MoveOptions(bandwidth_bytes_s=10_000_000))
    moves = (move("a", MoveState.WAITING), move("b", MoveState.MOVING))
    run = Evacuation("r", wish, EvacuationState.RUNNING, moves, started=80.0)
    state = queue_state(run, {f"uuid-{name}": queued(name) for name in "ab"}, {}, LinkMap(), 100.0)
    known = (*state.waiting, *(one.move for one in state.going))
    assert [one.most_bytes_s for one in known] == [10_000_000] * 2


def test_it_is_looked_at_sooner_when_a_move_is_about_to_leave_its_link() -> None:
    def look_s(*left_s: float | None) -> float:
        moves = tuple(move(f"m{n}", MoveState.MOVING) for n in range(len(left_s)))
        outlooks = (
            Outlook(Word.CONVERGING, "", left_s=None if one is None else Band(0, one, 2 * one))
            for one in left_s
        )
        known = {
            one.uuid: replace(migration(None), outlook=outlook)
            for one, outlook in zip(moves, outlooks, strict=True)
        }
        return next_look_s(Evacuation("r", WISH, moves=moves), known)

    assert look_s() == look_s(None) == look_s(30.0) == 2.0
    live_s, idle_s = LIVE_START_S + EARLY_S, IDLE_START_S + EARLY_S
    assert look_s(30.0, idle_s + 1.2) == pytest.approx(1.2)
    assert look_s(live_s + 0.7) == pytest.approx(0.7)
    assert look_s(live_s + 0.1) == 0.3
    assert look_s(live_s - 0.1) == 2.0, "what could begin beside it was asked already"


def test_times_are_told_from_the_runs_start() -> None:
    moves = (move("a", MoveState.WAITING), move("b", MoveState.MOVING, began=90.0))
    run = Evacuation("r", WISH, EvacuationState.RUNNING, moves, started=80.0)
    slots = (
        Slot("uuid-b", -10.0, Band(2, 3, 4), None, 1e6),
        Slot("uuid-a", 3.0, Band(7, 8, 9), None, 1e6),
    )
    seen = foreseen(run, Timeline(slots, Band(7, 8, 9), None), 100.0)
    times = {one.vm: (one.begins_s, one.ends_s) for one in seen.moves}
    assert times == {"a": (23.0, 28.0), "b": (10.0, 23.0)}
    assert seen.total_s == Band(27.0, 28.0, 29.0)
    assert [one.vm for one in in_order(seen.moves)] == ["b", "a"]


def test_a_copy_gets_the_next_name() -> None:
    assert next_name("db.qcow2") == "db.1.qcow2"
    assert next_name("db.1.qcow2") == "db.2.qcow2"
    assert next_name("db.v2.img") == "db.v2.1.img"
    assert next_name("disk") == "disk.1"
