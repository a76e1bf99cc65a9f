"""The rules of a fleet file: what is understood, and what they advise over a recorded load."""

import random
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadInput
from backend.model import Advice, EvacuationWish, RuleKind, RuleLevel, Tags
from backend.plan.placement import HostRoom, VmNeed
from backend.plan.rules import Measure, Rule, rules_of
from backend.plan.rules_advice import advise
from backend.plan.rules_types import HostLoad, LoadRound, PastMove, RuleFleet
from backend.plan.rules_window import next_window, window_now

GIB = 2**30
HOSTS = ("a", "b", "c")
FILE = Path("/etc/fleet.toml")
NOON = datetime(2026, 11, 25, 12, 0)
"""A Wednesday."""
EVEN = Rule("even", RuleKind.BALANCE, above_percent=75, rounds=3, gain_percent=10, cooldown_s=600)
ROUND_S = 60.0


def need(name: str, host: str, cpus: float, gib: int = 2, tags: Tags | None = None) -> VmNeed:
    return VmNeed(name, name, host, gib * GIB, cpus, tags=tags or Tags())


def fleet(vms: tuple[VmNeed, ...], **more: Any) -> RuleFleet:
    """Three hosts of 10 CPUs and 32 GiB; load is what their VMs use."""
    return RuleFleet(tuple(room(name, vms) for name in HOSTS), vms, **more)


def room(name: str, vms: tuple[VmNeed, ...], closed: str = "") -> HostRoom:
    here = [vm for vm in vms if vm.host == name]
    memory = sum(vm.memory_bytes for vm in here)
    cpus = sum(vm.cpus_used for vm in here)
    return HostRoom(name, 32 * GIB, 32 * GIB - memory, 10, cpus, closed=closed)


def load_round(
    at: float, vms: tuple[VmNeed, ...], noise: dict[str, float] | None = None
) -> LoadRound:
    loads = []
    for name in HOSTS:
        seen = room(name, vms)
        cpu = 100 * seen.cpus_used / seen.cpus + (noise or {}).get(name, 0.0)
        memory = 100 * (1 - seen.memory_free_bytes / seen.memory_bytes)
        loads.append(HostLoad(name, cpu, memory))
    return LoadRound(at, tuple(loads))


def steady(vms: tuple[VmNeed, ...], rounds: int = 3) -> tuple[LoadRound, ...]:
    return tuple(load_round(number * ROUND_S, vms) for number in range(rounds))


def asked(rule: Rule, vms: tuple[VmNeed, ...], **more: Any) -> tuple[Advice, ...]:
    return advise((rule,), steady(vms), fleet(vms, **more), 10_000.0, NOON)


BUSY = (need("x", "a", 5), need("y", "a", 3), need("z", "a", 1), need("w", "b", 2))


def played(noise_percent: float, rounds: int = 20) -> tuple[list[Advice], list[float]]:
    """A recorded load of 20 rounds; each advice is carried out before the next round."""
    dice = random.Random(3)
    vms = tuple(need(f"v{n}", "a" if n < 6 else "b", 1.6) for n in range(8))
    seen: list[LoadRound] = []
    moves: list[PastMove] = []
    advised: list[Advice] = []
    spread = []
    for number in range(rounds):
        now = number * ROUND_S
        noise = {name: dice.uniform(-noise_percent, noise_percent) for name in HOSTS}
        seen.append(load_round(now, vms, noise))
        for advice in advise((EVEN,), seen, fleet(vms, moves=tuple(moves)), now, NOON):
            advised.append(advice)
            for move in advice.moves:
                moves.append(PastMove(move.vm, move.source, move.target, now + 1))
                vms = tuple(replace(vm, host=move.target) if vm.id == move.vm else vm for vm in vms)
        loads = [room(name, vms).cpus_used * 10 for name in HOSTS]
        spread.append(max(loads))
    return advised, spread


@pytest.mark.parametrize("noise_percent", [0.0, 4.0])
def test_balance_comes_to_rest_and_sends_nobody_back(noise_percent: float) -> None:
    advised, busiest = played(noise_percent)
    assert busiest[0] == pytest.approx(96)
    assert busiest[-1] <= EVEN.above_percent
    assert busiest == sorted(busiest, reverse=True)
    moved = [move.vm for advice in advised for move in advice.moves]
    assert 1 <= len(moved) == len(set(moved)) <= 3
    for advice in advised:
        assert advice.gain_percent >= EVEN.gain_percent
        assert "above 75 % in the last 3 rounds" in advice.reason
        assert "→" in advice.gain
    _, after = played(noise_percent, 40)
    assert after[-1] == busiest[-1]


RECORDED: dict[str, tuple[str, list[float]]] = {
    "x": ("a", [4.0] * 20),
    "y": ("a", [2.0] * 3 + [4.0] * 2 + [2.2, 2.6, 2.6, 2.2] + [3.0] * 11),
    "z": ("a", [1.2] * 20),
    "w": ("b", [3.0] * 13 + [6.8] * 5 + [3.0] * 2),
    "u": ("b", [0.9] * 20),
    "v": ("c", [1.0] * 20),
}
"""CPUs that each VM used in each of 20 rounds, and the host it was on at first: a spike of two
rounds (3, 4), a load that trembles about the threshold (5-8), one that is there to stay (from 9
on), and one on b (13-17) of which no move would take enough away."""


def test_balance_on_a_recorded_load_of_20_rounds() -> None:
    where = {name: host for name, (host, _) in RECORDED.items()}
    seen: list[LoadRound] = []
    moves: list[PastMove] = []
    told: dict[int, Advice] = {}
    for number in range(20):
        used = {name: trace[number] for name, (_, trace) in RECORDED.items()}
        vms = tuple(need(name, where[name], used[name]) for name in RECORDED)
        seen.append(load_round(number * ROUND_S, vms))
        for advice in advise(
            (EVEN,), seen, fleet(vms, moves=tuple(moves)), (number + 1) * ROUND_S, NOON
        ):
            told[number] = advice
            for move in advice.moves:
                where[move.vm] = move.target
                moves.append(PastMove(move.vm, move.source, move.target, (number + 1) * ROUND_S))
    loads = {number: {one.name: one.cpu_percent for one in seen[number].hosts} for number in told}
    assert list(told) == [11], "not in the spike, nor the trembling, nor where too little is gained"
    assert loads[11]["a"] == pytest.approx(82)
    assert told[11].reason == "cpu of a was above 75 % in the last 3 rounds, 82 % on average"
    assert told[11].gain == "x to c: a 82 → 42 %, c to 50 %"
    assert told[11].gain_percent == pytest.approx(32)
    assert [(one.vm, one.source, one.target) for one in moves] == [("x", "a", "c")]
    assert all((one.cpu_percent or 0) <= EVEN.above_percent for one in seen[-1].hosts)


def test_balance_says_what_and_why() -> None:
    advice = asked(EVEN, BUSY)[0]
    assert advice.level is RuleLevel.ADVISE
    assert [(move.name, move.source, move.target) for move in advice.moves] == [("x", "a", "c")]
    assert advice.reason == "cpu of a was above 75 % in the last 3 rounds, 90 % on average"
    assert advice.gain == "x to c: a 90 → 40 %, c to 50 %"
    assert advice.gain_percent == pytest.approx(40)


def test_nothing_is_moved_inside_threshold_hold_and_margin() -> None:
    assert asked(replace(EVEN, above_percent=90), BUSY) == ()
    assert asked(replace(EVEN, gain_percent=41), BUSY) == ()
    assert advise((EVEN,), steady(BUSY, 2), fleet(BUSY), 10_000.0, NOON) == ()
    dip = (*steady(BUSY, 2), load_round(120.0, BUSY, {"a": -20}))
    assert advise((EVEN,), dip, fleet(BUSY), 10_000.0, NOON) == ()
    full = (*BUSY, need("u", "b", 4), need("t", "c", 7))
    near = tuple(move.target for one in asked(EVEN, full) for move in one.moves)
    assert "c" not in near


def test_a_round_without_a_figure_is_no_reason_to_move() -> None:
    rounds = (
        *steady(BUSY, 2),
        LoadRound(120.0, (HostLoad("a"), HostLoad("b", 20), HostLoad("c", 0))),
    )
    assert advise((EVEN,), rounds, fleet(BUSY), 10_000.0, NOON) == ()


def test_a_cooldown_a_way_back_and_a_running_move_are_waited_for() -> None:
    just = (PastMove("x", "b", "a", 9_500.0),)
    fresh = tuple(replace(one, at=9_600.0 + one.at) for one in steady(BUSY))
    [other] = advise((EVEN,), fresh, fleet(BUSY, moves=just), 10_000.0, NOON)
    assert [move.vm for move in other.moves] == ["y"]
    came = (PastMove("x", "c", "a", 9_000.0),)
    rested = (PastMove("x", "c", "a", -1.0),)
    seen = tuple(replace(one, at=9_100.0 + one.at) for one in steady(BUSY))
    [back] = advise((EVEN,), seen, fleet(BUSY, moves=came), 10_000.0, NOON)
    assert (back.moves[0].vm, back.moves[0].target) != ("x", "c")
    [later] = advise((EVEN,), seen, fleet(BUSY, moves=rested), 10_000.0, NOON)
    assert (later.moves[0].vm, later.moves[0].target) == ("x", "c")
    assert asked(EVEN, BUSY, moving=frozenset({"w"})) == ()


def test_loads_from_before_a_move_say_nothing() -> None:
    moves = (PastMove("q", "a", "b", 70.0),)
    assert asked(EVEN, BUSY, moves=moves) == ()


def test_nothing_goes_to_a_host_in_maintenance_or_without_room_or_against_a_tag() -> None:
    shut = RuleFleet(
        (room("a", BUSY), room("b", BUSY), room("c", BUSY, "c is in maintenance")), BUSY
    )
    assert {m.target for a in advise((EVEN,), steady(BUSY), shut, 1e4, NOON) for m in a.moves} == {
        "b"
    }
    blocked = {("x", "c"): "no", ("x", "b"): "no"}
    assert [m.vm for a in asked(EVEN, BUSY, blocked=blocked) for m in a.moves] == ["y"]
    fixed = (replace(BUSY[0], tags=Tags(never=True)), *BUSY[1:])
    assert [m.vm for a in asked(EVEN, fixed) for m in a.moves] == ["y"]
    home = (replace(BUSY[0], tags=Tags(prefer=("a",))), *BUSY[1:])
    assert [m.vm for a in asked(EVEN, home) for m in a.moves] == ["y"]
    huge = (replace(BUSY[0], memory_bytes=31 * GIB), *BUSY[1:])
    assert "x" not in [m.vm for a in asked(EVEN, huge) for m in a.moves]


def test_a_group_moves_whole() -> None:
    pair = Tags(together=("shop",))
    vms = (need("x", "a", 3, tags=pair), need("y", "a", 3, tags=pair), need("z", "a", 3))
    for advice in asked(EVEN, vms):
        moved = {move.vm for move in advice.moves}
        assert moved == {"z"} or moved == {"x", "y"}
        assert len({move.target for move in advice.moves}) == 1
    only = (need("x", "a", 4, tags=pair), need("y", "a", 5, tags=pair))
    assert asked(EVEN, only) == ()


PACK = Rule("pack", RuleKind.CONSOLIDATE, below_percent=30, most_percent=65, rounds=3)


def test_an_idle_host_is_emptied_where_all_find_room() -> None:
    vms = (need("x", "a", 1), need("y", "b", 3), need("z", "c", 4))
    [advice] = asked(PACK, vms)
    assert [(move.vm, move.source, move.target) for move in advice.moves] == [("x", "a", "b")]
    assert "below 30 %" in advice.reason
    assert asked(PACK, (*vms, need("n", "a", 0.1, tags=Tags(never=True)))) == ()
    assert asked(replace(PACK, most_percent=35), vms) == ()
    assert asked(PACK, (need("x", "a", 1),)) == ()


def test_a_vm_follows_its_tag_and_not_back_and_forth() -> None:
    rule = Rule("home", RuleKind.FOLLOW, cooldown_s=600)
    vms = (need("x", "a", 1, tags=Tags(prefer=("b", "c"))), need("y", "c", 1))
    [advice] = asked(rule, vms)
    assert [(move.vm, move.target) for move in advice.moves] == [("x", "b")]
    assert advice.reason == "the tag of x prefers b, c"
    there = (replace(vms[0], host="b"), vms[1])
    assert asked(rule, there) == ()
    left = (PastMove("x", "b", "a", 9_000.0), PastMove("x", "c", "a", 9_000.0))
    assert asked(rule, vms, moves=left) == ()


NIGHT = Rule("night", RuleKind.DRAIN, host="a", at_min=22 * 60, until_min=60, days=(2,))


@pytest.mark.parametrize(
    ("wall", "is_open"),
    [
        (datetime(2026, 11, 25, 21, 59), False),
        (datetime(2026, 11, 25, 22, 0), True),
        (datetime(2026, 11, 26, 0, 59), True),
        (datetime(2026, 11, 26, 1, 0), False),
        (datetime(2026, 11, 26, 22, 30), False),
        (datetime(2026, 11, 25, 0, 30), False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_it_begins(wall: datetime, is_open: bool) -> None:
    assert (window_now(NIGHT, wall) is not None) is is_open
    found = advise((NIGHT,), (), fleet(BUSY), 0.0, wall)
    assert [one.drain for one in found] == (["a"] if is_open else [])


def test_a_drain_names_its_hard_end_and_is_begun_once_in_a_window() -> None:
    wall = datetime(2026, 11, 26, 0, 50)
    begins, ends = datetime(2026, 11, 25, 22).timestamp(), datetime(2026, 11, 26, 1).timestamp()
    [advice] = advise((NIGHT,), (), fleet(BUSY), 0.0, wall)
    assert advice.until == ends
    assert advice.wish == EvacuationWish("a", until=ends)
    window = window_now(NIGHT, wall)
    assert window is not None
    assert window.left_s(wall) == 600
    for since, advised in ((begins - 1, 1), (begins, 0), (float("inf"), 0)):
        known = fleet(BUSY, emptied={"a": since})
        assert len(advise((NIGHT,), (), known, 0.0, wall)) == advised


def test_the_next_window_is_found_within_a_week() -> None:
    assert next_window(NIGHT, NOON) == window_now(NIGHT, datetime(2026, 11, 25, 22))
    after = next_window(NIGHT, datetime(2026, 11, 25, 22, 0))
    assert after is not None
    assert after.begins == datetime(2026, 12, 2, 22, 0)
    assert next_window(replace(NIGHT, days=()), NOON) is None


def test_an_empty_host_needs_no_draining() -> None:
    assert advise((NIGHT,), (), fleet(()), 0.0, datetime(2026, 11, 25, 23)) == ()


def test_an_earlier_rule_has_its_way() -> None:
    rules = (replace(NIGHT, at_min=0, until_min=0), EVEN)
    found = advise(rules, steady(BUSY), fleet(BUSY), 1e4, NOON)
    assert [one.rule for one in found] == ["night"]


def test_rules_are_read() -> None:
    tables = {
        "even": {"kind": "balance", "measure": "memory", "above_percent": 80, "level": "ask"},
        "night": {"kind": "drain", "host": "a", "at": "22:00", "until": "01:30", "days": ["sun"]},
        "pack": {"kind": "consolidate", "hosts": ["a", "b"], "rounds": 10},
        "home": {"kind": "follow"},
    }
    even, night, pack, home = rules_of(tables, HOSTS, FILE)
    assert (even.measure, even.above_percent, even.level) == (Measure.MEMORY, 80, RuleLevel.ASK)
    assert (night.host, night.at_min, night.until_min, night.days) == ("a", 1320, 90, (6,))
    assert (pack.hosts, pack.rounds) == (("a", "b"), 10)
    assert (home.kind, home.level) == (RuleKind.FOLLOW, RuleLevel.ADVISE)
    assert rules_of(None, HOSTS, FILE) == ()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({}, "rules.r.kind is needed (allowed: balance, consolidate, drain, follow)"),
        ({"kind": "level"}, "rules.r.kind is 'level'"),
        ({"kind": "balance", "cpu": 3}, "rules.r.cpu is not a key of balance (allowed: kind,"),
        ({"kind": "balance", "level": "auto"}, "rules.r.level is 'auto' (allowed: advise, ask,"),
        ({"kind": "balance", "rounds": 0}, "rules.r.rounds is 0 (allowed: 1 to 1,000)"),
        ({"kind": "balance", "rounds": 2.5}, "rules.r.rounds is 2.5"),
        ({"kind": "balance", "rounds": True}, "rules.r.rounds is True"),
        ({"kind": "balance", "above_percent": "80"}, "rules.r.above_percent is '80'"),
        ({"kind": "balance", "above_percent": 120}, "(allowed: 1 to 100)"),
        ({"kind": "balance", "hosts": "a"}, "rules.r.hosts is 'a' (allowed: a list, a, b, c)"),
        ({"kind": "balance", "hosts": ["a", "x"]}, "rules.r.hosts names 'x' (allowed: a, b, c)"),
        ({"kind": "drain", "host": "a", "at": "2:00", "until": "05:00"}, "rules.r.at is '2:00'"),
        ({"kind": "drain", "host": "q", "at": "02:00", "until": "05:00"}, "rules.r.host names 'q'"),
        ({"kind": "drain", "host": "a", "at": "02:00"}, "rules.r.until is needed by drain"),
        ({"kind": "drain", "days": ["Sun"]}, "rules.r.days names 'Sun'"),
        ("x", "rules.r must be a table"),
    ],
)
def test_each_wrong_key_is_named(table: object, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        rules_of({"r": table}, HOSTS, FILE)
    assert told in caught.value.sentence
    assert str(FILE) in caught.value.sentence


def test_all_that_is_wrong_is_told_at_once() -> None:
    tables = {"r": {"kind": "balance", "x": 1, "rounds": 0}, "Not So": {}, "s": {"kind": "?"}}
    with pytest.raises(BadInput) as caught:
        rules_of(tables, HOSTS, FILE)
    for part in ("rules.r.x", "rules.r.rounds", "'Not So' is not a rule's name", "rules.s.kind"):
        assert part in caught.value.sentence


def test_rules_that_would_undo_each_other_are_refused() -> None:
    tables = {"even": {"kind": "balance"}, "pack": {"kind": "consolidate", "most_percent": 80}}
    with pytest.raises(BadInput, match=r"which rules\.even would undo"):
        rules_of(tables, HOSTS, FILE)
    assert len(rules_of({**tables, "pack": {"kind": "consolidate"}}, HOSTS, FILE)) == 2
