"""From what is seen of a fleet to what its rules decide by."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from backend.model import (
    Evacuation,
    EvacuationKind,
    EvacuationMove,
    EvacuationState,
    EvacuationWish,
    FleetSnapshot,
    Host,
    HostState,
    Job,
    Mode,
    MoveState,
    Outcome,
    Past,
    RuleKind,
    RuleLevel,
    Tags,
    Vm,
    VmState,
    Way,
)
from backend.plan.rules import Measure, Rule
from backend.plan.rules_advice import advise
from backend.plan.rules_gathered import (
    emptied,
    fleet_of,
    past_moves,
    past_needed_s,
    round_of,
    rounds_needed,
    rule_line,
)
from backend.plan.rules_types import RuleFleet

GIB = 2**30
NOON = datetime(2026, 11, 25, 12, 0)


def host(name: str, cpu: float | None = 20.0, used_gib: int = 8, **more: Any) -> Host:
    made = Host(name, HostState.UP, cpus=10, cpu_percent=cpu, memory_bytes=32 * GIB)
    return replace(made, memory_used_bytes=used_gib * GIB, **more)


def vm(name: str, on: str = "a", **more: Any) -> Vm:
    made = Vm(f"id-{name}", name, on, VmState.RUNNING, vcpus=4, memory_bytes=4 * GIB)
    return replace(made, cpu_usual_percent=50.0, **more)


def known(*vms: Vm, runs: tuple[Evacuation, ...] = (), hosts: tuple[Host, ...] = ()) -> RuleFleet:
    snapshot = FleetSnapshot("lab", hosts or tuple(map(host, "abc")), vms)
    return fleet_of(snapshot, (), frozenset(), runs, {})


def test_a_round_is_the_mean_of_its_looks() -> None:
    looks = [(host("a", 10, pressure_percent=0.0),), (host("a", 30, 16, pressure_percent=9.0),)]
    found = round_of(5.0, looks)
    assert found.at == 5.0
    assert found.of("a", Measure.CPU) == 20
    assert found.of("a", Measure.MEMORY) == pytest.approx(37.5)
    assert found.of("a", Measure.PRESSURE) == pytest.approx(4.5)


def test_what_a_host_does_not_tell_is_not_known() -> None:
    silent = host("b", None, pressure_percent=None)
    down = Host("c", HostState.UNREACHABLE)
    looks = [(silent, down, host("d"))] + [(silent, down, Host("d", HostState.UNREACHABLE))] * 3
    found = round_of(0.0, looks)
    assert found.of("b", Measure.CPU) is None
    assert found.of("b", Measure.PRESSURE) is None
    assert found.of("b", Measure.MEMORY) == 25
    assert found.of("c", Measure.MEMORY) is None
    assert found.of("d", Measure.CPU) is None, "seen in one look of four"


def test_past_moves_are_those_between_hosts_whatever_came_of_them() -> None:
    def past(name: str, mode: Mode, outcome: Outcome) -> Past:
        return Past(
            name, name, f"id-{name}", "a", "b", 1.0, 9.0, mode, "balanced", outcome, "b", "", 8, 8
        )

    found = past_moves(
        [
            past("x", Mode.LIVE, Outcome.MOVED),
            past("y", Mode.COLD, Outcome.STAYED),
            past("z", Mode.STORAGE, Outcome.MOVED),
        ]
    )
    assert [(one.vm, one.source, one.target, one.at) for one in found] == [
        ("id-x", "a", "b", 9.0),
        ("id-y", "a", "b", 9.0),
    ]


def test_a_host_that_is_down_or_in_maintenance_takes_nothing() -> None:
    hosts = (host("a"), host("b", maintenance_since=3.0), Host("c", HostState.UNREACHABLE))
    found = known(vm("x"), hosts=hosts)
    assert [room.closed for room in found.hosts] == ["", "b is in maintenance", "c is unreachable"]


def test_a_vm_counts_once_and_is_kept_where_it_is_not_sure() -> None:
    stale = vm("x", "b", state=VmState.SHUT_OFF)
    hosts = (host("a"), host("b"), Host("c", HostState.UNREACHABLE))
    found = known(stale, vm("x"), vm("y"), vm("z", "c", state=VmState.UNKNOWN), hosts=hosts)
    assert [(one.name, one.host, one.cpus_used) for one in found.vms[:2]] == [
        ("x", "a", 2.0),
        ("y", "a", 2.0),
    ]
    assert "several hosts: b, a" in found.blocked["id-x", "c"]
    assert found.blocked["id-z", "a"] == "c does not answer"
    assert not any(key[0] == "id-y" for key in found.blocked)


def test_a_group_that_is_partly_out_of_sight_is_not_torn() -> None:
    together = Tags(together=("shop",), prefer=("b",))
    hosts = (host("a"), host("b"), Host("c", HostState.UNREACHABLE))
    rule = Rule("home", RuleKind.FOLLOW)
    here = (vm("x", tags=together), vm("y", tags=together))
    [advice] = advise((rule,), (), known(*here, hosts=hosts), 1e6, NOON)
    assert {move.name for move in advice.moves} == {"x", "y"}
    torn = (here[0], replace(here[1], host="c", state=VmState.UNKNOWN))
    assert advise((rule,), (), known(*torn, hosts=hosts), 1e6, NOON) == ()


def test_what_is_moved_by_anybody_is_moving() -> None:
    found = known(vm("x", job=Job("migration out")), vm("y", job=Job("save")))
    assert found.moving == {"id-x"}


def test_what_an_open_run_moves_is_left_to_it() -> None:
    move = EvacuationMove("x", "id-x", "a", Way.LIVE, "b")
    moved = EvacuationMove("y", "id-y", "a", Way.LIVE, "b", state=MoveState.STAYED)
    run = Evacuation("r", EvacuationWish("a"), EvacuationState.PAUSED, (move, moved), started=5.0)
    found = known(vm("x"), vm("y"), runs=(run,))
    assert found.blocked["id-x", "c"] == "the evacuate of a moves it"
    assert ("id-y", "c") not in found.blocked
    assert found.emptied == {"a": float("inf")}


def test_when_a_host_was_emptied_last() -> None:
    first = Evacuation("1", EvacuationWish("a"), EvacuationState.ENDED, started=5.0)
    later = replace(first, id="2", started=9.0)
    home = replace(first, id="3", wish=EvacuationWish("b", EvacuationKind.RETURN), started=11.0)
    assert emptied((later, first, home)) == {"a": 9.0}


def test_how_much_the_rules_ask_for() -> None:
    even = Rule("even", RuleKind.BALANCE, rounds=5, cooldown_s=100)
    night = Rule("night", RuleKind.DRAIN, host="a", cooldown_s=0, rounds=9)
    assert rounds_needed((even, night)) == 5
    assert rounds_needed((night,)) == 0
    assert past_needed_s((even, night)) == 400
    assert past_needed_s(()) == 0


def test_rules_in_words() -> None:
    even = Rule("even", RuleKind.BALANCE, RuleLevel.ASK, Measure.MEMORY, above_percent=80)
    assert rule_line(even, None).about.startswith("memory above 80 % in 3 rounds")
    night = Rule(
        "night", RuleKind.DRAIN, host="a", at_min=120, until_min=300, days=(5, 6), hosts=()
    )
    line = rule_line(night, 7.0)
    assert (line.about, line.opens) == ("a is emptied 02:00–05:00, sat, sun", 7.0)
