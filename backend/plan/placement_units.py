"""VMs of one `together` group are placed as one: the units of a placement. Pure.

Hosts are numbers here, in the question's order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backend.plan.placement_types import HostRoom, PoolNeed, Question, VmNeed

Homes = Mapping[str, Sequence[tuple[str, str]]]
"""Hard group -> (name, host) of its VMs that stay where they are."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is placed as a whole."""

    vms: tuple[VmNeed, ...]
    memory_bytes: int
    cpus_used: float
    sent_bytes: int
    hosts: tuple[int, ...]
    """Where it may go, but for room and for hosts' other VMs."""
    apart: tuple[str, ...]
    """Hard groups; each once."""
    apart_soft: Mapping[str, int]
    """Group -> how many of its VMs are in this unit."""
    together_soft: tuple[str, ...]
    disliked: Mapping[int, int]
    """Host -> how many of the VMs prefer another; one that is not in it: none."""
    pools: Mapping[int, tuple[PoolNeed, ...]] = field(default_factory=dict)
    stuck: str = ""
    """Why it goes nowhere, whatever room there is."""


@dataclass(slots=True)
class _Known:
    """The question, ordered for looking things up."""

    hosts: tuple[HostRoom, ...]
    open_hosts: tuple[int, ...]
    numbers: dict[str, int]
    homes: dict[str, list[tuple[str, str]]]
    blocked: dict[str, set[int]]
    pools: dict[str, dict[int, tuple[PoolNeed, ...]]]


def units_of(question: Question) -> tuple[Unit, ...]:
    """In the order of their first VM."""
    known = _known(question)
    return tuple(_unit(vms, known) for vms in _bundles(question.vms))


def shut(host: HostRoom) -> str:
    """Why a host takes nothing at all; empty: it does."""
    if host.closed:
        return host.closed
    return "" if host.memory_bytes > 0 else f"{host.name} has not told how much memory it has"


def _known(question: Question) -> _Known:
    hosts = question.hosts
    known = _Known(
        hosts,
        tuple(number for number, host in enumerate(hosts) if not shut(host)),
        {host.name: number for number, host in enumerate(hosts)},
        {},
        {},
        {},
    )
    for one in question.residents:
        for group in one.tags.together:
            known.homes.setdefault(group, []).append((one.name, one.host))
    for vm, host in question.blocked:
        if host in known.numbers:
            known.blocked.setdefault(vm, set()).add(known.numbers[host])
    for (vm, host), needs in question.pool_needs.items():
        if needs and host in known.numbers:
            known.pools.setdefault(vm, {})[known.numbers[host]] = needs
    return known


def _bundles(vms: Sequence[VmNeed]) -> list[list[VmNeed]]:
    """VMs that share a hard group, also by way of a third."""
    leaders: dict[str, str] = {}

    def leader(group: str) -> str:
        while leaders.setdefault(group, group) != group:
            group = leaders[group]
        return group

    for vm in vms:
        for group in vm.tags.together:
            leaders[leader(group)] = leader(vm.tags.together[0])
    found: dict[tuple[str, str], list[VmNeed]] = {}
    for vm in vms:
        groups = vm.tags.together
        key = ("group", leader(groups[0])) if groups else ("vm", vm.id)
        found.setdefault(key, []).append(vm)
    return list(found.values())


def _unit(vms: Sequence[VmNeed], known: _Known) -> Unit:
    groups = sorted({group for vm in vms for group in vm.tags.together})
    apart = Counter(group for vm in vms for group in vm.tags.apart)
    hosts = _hosts(vms, groups, known)
    return Unit(
        vms=tuple(vms),
        memory_bytes=sum(vm.memory_bytes for vm in vms),
        cpus_used=sum(vm.cpus_used for vm in vms),
        sent_bytes=sum(vm.sent_bytes for vm in vms),
        hosts=hosts,
        apart=tuple(sorted(apart)),
        apart_soft=Counter(group for vm in vms for group in vm.tags.apart_soft),
        together_soft=tuple(sorted({group for vm in vms for group in vm.tags.together_soft})),
        disliked=_disliked(vms, known.hosts),
        pools=_pools(vms, known),
        stuck=next(_stuck(vms, groups, apart, known.homes), ""),
    )


def _hosts(vms: Sequence[VmNeed], groups: Sequence[str], known: _Known) -> tuple[int, ...]:
    """Open, not where one of them is, not blocked, and where their groups' other VMs are."""
    never = {known.numbers.get(vm.host, -1) for vm in vms}
    never = never.union(*(known.blocked.get(vm.id, ()) for vm in vms))
    hosts = tuple(number for number in known.open_hosts if number not in never)
    for group in groups:
        homes = known.homes.get(group)
        if homes:
            at = {known.numbers.get(host, -1) for _, host in homes}
            hosts = tuple(number for number in hosts if number in at)
    return hosts


def _stuck(
    vms: Sequence[VmNeed], groups: Sequence[str], apart: Mapping[str, int], homes: Homes
) -> Iterator[str]:
    for vm in vms:
        if vm.tags.never and len(vms) == 1:
            yield "its tag says that it is never moved"
        elif vm.tags.never:
            yield f"{vm.name}, which its group keeps together, is never moved"
    for group in groups:
        for name, host in homes.get(group, ()):
            if all(host == vm.host for vm in vms):
                yield f"group {group} keeps it with {name}, which stays on {host}"
    for group, count in apart.items():
        if count > 1:
            names = " and ".join(vm.name for vm in vms if group in vm.tags.apart)
            yield f"its groups contradict: {names} run together, and apart by group {group}"


def _disliked(vms: Sequence[VmNeed], hosts: Sequence[HostRoom]) -> dict[int, int]:
    if not any(vm.tags.prefer for vm in vms):
        return {}
    known = {host.name for host in hosts}
    wishes = [wish for vm in vms if (wish := known & set(vm.tags.prefer))]
    counts = {
        number: sum(host.name not in wish for wish in wishes) for number, host in enumerate(hosts)
    }
    return {number: count for number, count in counts.items() if count}


def _pools(vms: Iterable[VmNeed], known: _Known) -> dict[int, tuple[PoolNeed, ...]]:
    found: dict[int, tuple[PoolNeed, ...]] = {}
    for vm in vms:
        for host, needs in known.pools.get(vm.id, {}).items():
            found[host] = (*found.get(host, ()), *needs)
    return found
