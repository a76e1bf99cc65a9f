"""Random small fleets, and the best placement by trying all: no part of the placer's own search."""

import random
from collections import Counter
from collections.abc import Iterator

from backend.model import Tags
from backend.plan.placement import (
    HostRoom,
    PoolNeed,
    Question,
    Resident,
    VmNeed,
    placement_cost,
)

GIB = 2**30
Hosts = dict[str, str | None]


def random_question(seed: int, vms: int = 5, hosts: int = 3) -> Question:
    """One host is emptied onto up to `hosts` others, which are rather full."""
    dice = random.Random(seed)
    names = [f"h{n}" for n in range(dice.randint(1, hosts))]
    wanted = tuple(_vm(dice, n, names) for n in range(dice.randint(1, vms)))
    blocked = {(vm.id, host): "no" for vm in wanted for host in names if dice.random() < 0.08}
    needs = {
        (vm.id, host): (PoolNeed("default", dice.randint(1, 8) * GIB, f"/i/{dice.randint(0, 9)}"),)
        for vm in wanted
        if dice.random() < 0.2
        for host in names
    }
    residents = tuple(
        Resident(f"r{n}", dice.choice([*names, "source"]), _tags(dice, names, 0.5))
        for n in range(dice.randint(0, 3))
    )
    return Question(wanted, tuple(_host(dice, name) for name in names), residents, blocked, needs)


def _vm(dice: random.Random, number: int, hosts: list[str]) -> VmNeed:
    return VmNeed(
        id=f"v{number}",
        name=f"vm-{number}",
        host="source",
        memory_bytes=dice.choice((0, 1, 1, 2, 2, 3, 4, 6)) * GIB,
        cpus_used=dice.random() * 4,
        sent_bytes=dice.randint(0, 4) * GIB,
        tags=_tags(dice, hosts, 0.3),
    )


def _tags(dice: random.Random, hosts: list[str], part: float) -> Tags:
    def some(names: list[str]) -> tuple[str, ...]:
        return (dice.choice(names),) if dice.random() < part * 0.5 else ()

    return Tags(
        never=dice.random() < part * 0.05,
        prefer=some(hosts),
        together=some(["a", "b"]),
        together_soft=some(["c", "d"]),
        apart=some(["e", "f"]),
        apart_soft=some(["g"]),
    )


def _host(dice: random.Random, name: str) -> HostRoom:
    memory = dice.choice((8, 16, 32)) * GIB
    return HostRoom(
        name,
        memory,
        int(memory * dice.uniform(0.15, 0.9)),
        cpus=dice.choice((0, 4, 8)),
        cpus_used=dice.random() * 4,
        pools={"default": dice.randint(1, 16) * GIB},
        link_bytes_s=dice.choice((None, 25e6, 100e6)),
        closed="in maintenance" if dice.random() < 0.05 else "",
    )


def broken_rules(question: Question, hosts: Hosts) -> list[str]:
    """Every hard rule that a placement breaks, by the words of the rules alone."""
    wrong = []
    placed = {vm.id: vm for vm in question.vms if hosts.get(vm.id)}
    for vm in question.vms:
        if vm.tags.never and hosts.get(vm.id):
            wrong.append(f"{vm.id} is never moved")
        if (vm.id, hosts.get(vm.id)) in question.blocked:
            wrong.append(f"{vm.id} is blocked")
        if hosts.get(vm.id) == vm.host:
            wrong.append(f"{vm.id} is there")
    for room in question.hosts:
        here = [vm for vm in placed.values() if hosts[vm.id] == room.name]
        wrong += _crowded(question, room, here)
    wrong += _parted(question, hosts)
    return wrong


def _crowded(question: Question, room: HostRoom, here: list[VmNeed]) -> list[str]:
    wrong = []
    if here and room.closed:
        wrong.append(f"{room.name} is closed")
    most = room.memory_free_bytes - int(question.reserve_part * room.memory_bytes)
    if sum(vm.memory_bytes for vm in here) > max(0, most):
        wrong.append(f"{room.name} is full")
    needs = [need for vm in here for need in question.pool_needs.get((vm.id, room.name), ())]
    pools: Counter[str] = Counter()
    for need in needs:
        pools[need.pool] += need.bytes
    if any(count > room.pools.get(pool, count) for pool, count in pools.items()):
        wrong.append(f"a pool of {room.name} is full")
    if len({need.path for need in needs if need.path}) < len([need for need in needs if need.path]):
        wrong.append(f"two disks of one name on {room.name}")
    groups = Counter(group for vm in here for group in vm.tags.apart)
    for one in question.residents:
        if one.host == room.name:
            groups.update(group for group in one.tags.apart if group in groups)
    wrong += [f"{group} is not apart on {room.name}" for group, n in groups.items() if n > 1]
    return wrong


def _parted(question: Question, hosts: Hosts) -> list[str]:
    wrong = []
    for group in {group for vm in question.vms for group in vm.tags.together}:
        at = {hosts.get(vm.id) for vm in question.vms if group in vm.tags.together}
        homes = {one.host for one in question.residents if group in one.tags.together}
        away = at != {None} and bool(homes)
        if len(at) > 1 or (away and ("source" in homes or not at <= homes)):
            wrong.append(f"{group} is not together")
    return wrong


def best_of_all(question: Question) -> tuple[int, float]:
    """The fewest left behind, and the lowest cost with so few."""
    best = (len(question.vms) + 1, float("inf"))
    for hosts in all_placements(question, {}, 0, [best[0]]):
        left = sum(host is None for host in hosts.values())
        if left <= best[0]:
            best = min(best, (left, placement_cost(question, hosts)))
    return best


def all_placements(
    question: Question, hosts: Hosts, number: int, fewest: list[int]
) -> Iterator[Hosts]:
    """All that break no rule; those that leave more behind than one before are left out."""
    left = sum(host is None for host in hosts.values())
    if left > fewest[0]:
        return
    if number == len(question.vms):
        if not broken_rules(question, hosts):
            fewest[0] = min(fewest[0], left)
            yield dict(hosts)
        return
    vm = question.vms[number]
    for host in (*(room.name for room in question.hosts), None):
        tried = {**hosts, vm.id: host}
        if host is None or not _crowded_now(question, tried, host):
            yield from all_placements(question, tried, number + 1, fewest)


def _crowded_now(question: Question, hosts: Hosts, host: str) -> bool:
    room = next(room for room in question.hosts if room.name == host)
    here = [vm for vm in question.vms if hosts.get(vm.id) == host]
    blocked = any((vm.id, host) in question.blocked or vm.tags.never for vm in here)
    return blocked or bool(_crowded(question, room, here))
