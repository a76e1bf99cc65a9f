"""Which host to empty: the emptiest of which every VM finds room, as trying all finds it."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest

from backend.model import Advice, RuleKind, Tags
from backend.plan import rules_consolidate
from backend.plan.placement import (
    HostRoom,
    Question,
    Resident,
    VmNeed,
    place,
    place_all,
    placement_cost,
)
from backend.plan.placement_bounds import surely_no_room
from backend.plan.placement_loads import Loads
from backend.plan.placement_repair import hopeless
from backend.plan.placement_units import units_of
from backend.plan.rules import Rule
from backend.plan.rules_advice import advise
from backend.plan.rules_types import HostLoad, LoadRound, PastMove, RuleFleet
from tests.unit.placing import GIB, Hosts, all_placements, broken_rules, random_question

FLEETS = 1000
NOW = 100_000.0
NOON = datetime(2026, 11, 25, 12, 0)
PACK = Rule("pack", RuleKind.CONSOLIDATE, below_percent=60, most_percent=65, cooldown_s=600)
NO_LIMIT = float("inf")


def random_fleet(seed: int) -> RuleFleet:
    """Up to 4 hosts with up to 4 VMs each, of all loads."""
    dice = random.Random(seed)
    names = [f"h{n}" for n in range(dice.randint(2, 4))]
    vms = tuple(
        VmNeed(f"v{n}{at}", f"vm-{n}{at}", at, dice.choice((0, 1, 1, 2, 4)) * GIB,
               dice.choice((0.0, 0.5, 2 * dice.random())), tags=_tags(dice, names))
        for at in names
        for n in range(dice.randint(0, 4))
    )  # fmt: skip
    rooms = tuple(_room(dice, name, [vm for vm in vms if vm.host == name]) for name in names)
    blocked = {(vm.id, name): "no" for vm in vms for name in names if dice.random() < 0.03}
    moves = tuple(
        PastMove(vm.id, dice.choice(names), vm.host, NOW - dice.choice((300, 2000, 4000)))
        for vm in vms
        if dice.random() < 0.02
    )
    return RuleFleet(rooms, vms, blocked, moves)


def _tags(dice: random.Random, names: list[str]) -> Tags:
    def some(part: float, *words: str) -> tuple[str, ...]:
        return (dice.choice(words),) if dice.random() < part else ()

    return Tags(
        never=dice.random() < 0.02,
        prefer=some(0.1, *names),
        together=some(0.1, "a", "b"),
        together_soft=some(0.1, "c"),
        apart=some(0.15, "d", "e", "f"),
        apart_soft=some(0.1, "g"),
    )


def _room(dice: random.Random, name: str, here: list[VmNeed]) -> HostRoom:
    used = sum(vm.memory_bytes for vm in here)
    cpus_used = sum(vm.cpus_used for vm in here)
    memory = max(4 * GIB, int(used / dice.uniform(0.2, 0.7)))
    cpus = dice.choice((0, max(1, round(cpus_used / dice.uniform(0.2, 0.7)))))
    closed = "in maintenance" if dice.random() < 0.03 else ""
    return HostRoom(name, memory, memory - used, cpus, cpus_used, closed=closed)


def load_of(room: HostRoom) -> HostLoad:
    cpu = 100 * room.cpus_used / room.cpus if room.cpus else 0.0
    return HostLoad(room.name, cpu, 100 - 100 * room.memory_free_bytes / room.memory_bytes)


def loads_of(fleet: RuleFleet) -> dict[str, float]:
    """The larger of each host's two, in percent."""
    loads = map(load_of, fleet.hosts)
    return {load.name: max(load.cpu_percent or 0, load.memory_percent or 0) for load in loads}


def advised(fleet: RuleFleet, rule: Rule = PACK) -> Advice | None:
    loads = tuple(map(load_of, fleet.hosts))
    rounds = tuple(LoadRound(NOW - 60 + 20 * n, loads) for n in range(3))
    return next(iter(advise((rule,), rounds, fleet, NOW, NOON)), None)


def asked(fleet: RuleFleet, host: str, rule: Rule = PACK) -> Question | None:
    """Emptying that host, by the words of the rule alone; None: its VMs have not rested."""
    here = [vm for vm in fleet.vms if vm.host == host]
    blocked = dict(fleet.blocked)
    for move in fleet.moves:
        if NOW - move.at < rule.cooldown_s and any(vm.id == move.vm for vm in here):
            return None
        if NOW - move.at < 4 * rule.cooldown_s:
            blocked[move.vm, move.source] = "that would be back"
    for vm in here:
        for room in fleet.hosts:
            if host in vm.tags.prefer and room.name not in vm.tags.prefer:
                blocked[vm.id, room.name] = "it is where it should be"
    full = {vm.host for vm in fleet.vms}
    rooms = [
        room if room.name in full else replace(room, closed="empty")
        for room in fleet.hosts
        if room.name != host
    ]
    others = [Resident(vm.name, vm.host, vm.tags) for vm in fleet.vms if vm.host != host]
    moved = tuple(replace(vm, host="source") for vm in here)
    part = 1 - rule.most_percent / 100
    return Question(moved, tuple(rooms), tuple(others), blocked, reserve_part=part)


def cool(question: Question, hosts: Hosts, rule: Rule = PACK) -> bool:
    for room in question.hosts:
        came = sum(vm.cpus_used for vm in question.vms if hosts[vm.id] == room.name)
        if came and room.cpus and 100 * (room.cpus_used + came) / room.cpus > rule.most_percent:
            return False
    return True


def cheapest(question: Question) -> list[Hosts]:
    """Of all placements that leave none behind those of the lowest cost."""
    whole = [
        (placement_cost(question, hosts), hosts)
        for hosts in all_placements(question, {}, 0, [0])
        if None not in hosts.values()
    ]
    lowest = min((cost for cost, _ in whole), default=0.0)
    return [hosts for cost, hosts in whole if cost <= lowest + 1e-6]


def emptier(fleet: RuleFleet, than: str | None) -> Iterator[str]:
    """Hosts with VMs below the threshold that come before that one; None: all of them."""
    loads = loads_of(fleet)
    open_to = {room.name for room in fleet.hosts if not room.closed}
    for load, name in sorted((load, name) for name, load in loads.items()):
        if name == than or load >= PACK.below_percent:
            return
        if name in open_to and any(vm.host == name for vm in fleet.vms):
            yield name


def test_the_emptiest_host_that_can_be_is_emptied_at_the_lowest_cost() -> None:
    some, passed_over = 0, 0
    for seed in range(FLEETS):
        fleet = random_fleet(seed)
        advice = advised(fleet)
        source = advice.moves[0].source if advice else None
        if advice and source:
            some += 1
            assert loads_of(fleet)[source] < PACK.below_percent, seed
            question = asked(fleet, source)
            assert question is not None, seed
            hosts: Hosts = {move.vm: move.target for move in advice.moves}
            assert list(hosts) == [vm.id for vm in question.vms], seed
            assert broken_rules(question, hosts) == [], seed
            assert cool(question, hosts), seed
            assert hosts in cheapest(question), seed
        for name in emptier(fleet, source):
            passed_over += 1
            better = asked(fleet, name)
            found = cheapest(better) if better else []
            assert not found or not all(cool(better, hosts) for hosts in found if better), seed
    assert min(some, passed_over) > 0.2 * FLEETS


def test_sums_rule_out_nothing_that_has_room() -> None:
    ruled_out, whole = 0, 0
    for seed in range(FLEETS):
        question = random_question(seed)
        units = units_of(question)
        loads = Loads(question, units)
        placements = (
            hosts for hosts in all_placements(question, {}, 0, [0]) if None not in hosts.values()
        )
        hosts = next(placements, None)
        if hosts is None:
            ruled_out += surely_no_room(units, loads, [NO_LIMIT] * len(question.hosts))
            continue
        whole += 1
        came = [
            sum(vm.cpus_used for vm in question.vms if hosts[vm.id] == room.name)
            for room in question.hosts
        ]
        assert not surely_no_room(units, loads, [cpus + 1e-6 for cpus in came]), seed
        if sum(came):
            assert surely_no_room(units, loads, [0.9 * cpus for cpus in came]), seed
    assert min(ruled_out, whole) > 0.1 * FLEETS


@pytest.mark.parametrize(
    ("vms", "hosts", "fleets"), [(5, 3, 150), (14, 5, 150), (25, 8, 60), (60, 60, 15)]
)
def test_all_are_placed_as_they_are_where_some_might_be_left(
    vms: int, hosts: int, fleets: int
) -> None:
    whole = 0
    for seed in range(fleets):
        question = random_question(seed, vms, hosts)
        placed = place(question)
        units = units_of(question)
        if any(map(hopeless, units)):
            continue
        found = place_all(units, Loads(question, units))
        if all(one.host for one in placed.placed):
            whole += 1
            assert found is not None, seed
            at = {
                vm.id: question.hosts[host].name
                for unit, host in zip(units, found, strict=True)
                for vm in unit.vms
            }
            assert at == {one.vm: one.host for one in placed.placed}, seed
        elif placed.proven:
            assert found is None, seed
    assert whole > 0.1 * fleets


def idle(name: str, memory_free_gib: int, cpus_used: float) -> HostRoom:
    return HostRoom(name, 100 * GIB, memory_free_gib * GIB, 100, cpus_used)


def test_a_host_that_the_sums_rule_out_does_not_count_as_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`a` is emptiest and has a VM that stays; by the sums alone `b` could be emptied."""
    fixed = VmNeed("x", "x", "a", GIB, 1.0, tags=Tags(never=True))
    fleet = RuleFleet(
        (idle("a", 90, 1.0), idle("b", 80, 2.0), idle("c", 50, 50.0)),
        (fixed, VmNeed("y", "y", "b", GIB, 1.0), VmNeed("z", "z", "c", GIB, 1.0)),
    )
    monkeypatch.setattr(rules_consolidate, "TRIED", 1)
    found = advised(fleet)
    assert found is not None
    assert [move.vm for move in found.moves] == ["y"]
    monkeypatch.setattr(rules_consolidate, "TRIED", 0)
    assert advised(fleet) is None
