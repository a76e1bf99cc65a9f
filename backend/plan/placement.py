"""Which VM to which host. Pure.

Memory is never promised twice: each VM placed takes its memory, pool room and file names from
its host before the next one is looked at. VMs of a `together` group are placed as one or not at
all. Small questions are searched to the end, large ones placed greedily, repaired and improved;
neither looks at a clock, and the same question has the same answer.
"""

from collections.abc import Iterator, Mapping, Sequence

from backend.plan.placement_exact import Search
from backend.plan.placement_greedy import all_placed_greedily, placed_greedily
from backend.plan.placement_improve import improve
from backend.plan.placement_loads import Loads
from backend.plan.placement_repair import Assigned
from backend.plan.placement_types import (
    Choice,
    HostRoom,
    Part,
    Placed,
    Placement,
    PoolNeed,
    Question,
    Resident,
    VmNeed,
)
from backend.plan.placement_units import Unit, units_of
from backend.plan.placement_words import choice_of, why_here, why_nowhere

__all__ = [
    "Choice",
    "HostRoom",
    "Part",
    "Placed",
    "Placement",
    "PoolNeed",
    "Question",
    "Resident",
    "VmNeed",
    "choices",
    "place",
    "place_all",
    "placement_cost",
]

SEARCHED_UNITS = 12
"""More are searched to the end only where some found no host."""
SEARCHED_AT_MOST = 40


def place(question: Question) -> Placement:
    """As many VMs as there is room for, at the lowest cost found."""
    units = units_of(question)
    loads = Loads(question, units)
    assigned = placed_greedily(units, loads)
    improve(units, assigned, loads)
    proven = False
    if _worth_searching(units, assigned):
        _off(units, assigned, loads)
        search = Search(units, loads, assigned)
        assigned, proven = search.best, search.proven
        _on(units, assigned, loads)
    placed = _told(units, assigned, loads, question)
    _off(units, assigned, loads)
    return Placement(placed, _on(units, assigned, loads), proven)


def place_all(units: Sequence[Unit], loads: Loads) -> tuple[int, ...] | None:
    """The hosts that `place` finds where it leaves none behind; None where it would, and then
    much sooner. No unit may be hopeless; `loads` has none of them, and none afterwards."""
    assigned = all_placed_greedily(units, loads)
    if assigned is not None:
        improve(units, assigned, loads)
        _off(units, assigned, loads)
    if len(units) <= (SEARCHED_AT_MOST if assigned is None else SEARCHED_UNITS):
        assigned = Search(units, loads, assigned).best
    placed = tuple(host for host in assigned or () if host is not None)
    return placed if len(placed) == len(units) else None


def placement_cost(question: Question, hosts: Mapping[str, str | None]) -> float:
    """The cost of another placement of the same question (VM's id -> host), as `place` counts.

    Hosts are not checked for room; the VMs of a `together` group must be on one.
    """
    units = units_of(question)
    numbers = {host.name: number for number, host in enumerate(question.hosts)}
    assigned = [numbers.get(hosts.get(unit.vms[0].id) or "") for unit in units]
    return _on(units, assigned, Loads(question, units))


def choices(question: Question, hosts: Mapping[str, str | None], vm: str) -> tuple[Choice, ...]:
    """Every host for the VM with that id (and its group), all others being where `hosts` (VM's
    id -> host) says: what each would cost, told by its parts, the cheapest first; then the
    hosts where it cannot be, with the reason."""
    units = units_of(question)
    loads = Loads(question, units)
    numbers = {host.name: number for number, host in enumerate(question.hosts)}
    asked = next(unit for unit in units if any(one.id == vm for one in unit.vms))
    others = [unit for unit in units if unit is not asked]
    _on(others, [numbers.get(hosts.get(unit.vms[0].id) or "") for unit in others], loads)
    found = [choice_of(asked, number, loads, question) for number in range(len(question.hosts))]
    return tuple(sorted(found, key=lambda one: (one.cost is None, one.cost or 0.0, one.host)))


def _worth_searching(units: Sequence[Unit], assigned: Assigned) -> bool:
    movable = [unit for unit in units if unit.hosts and not unit.stuck]
    left = any(
        host is None and unit.hosts and not unit.stuck
        for unit, host in zip(units, assigned, strict=True)
    )
    return len(movable) <= (SEARCHED_AT_MOST if left else SEARCHED_UNITS)


def _on(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> float:
    cost = 0.0
    for unit, host in zip(units, assigned, strict=True):
        if host is not None:
            cost += loads.cost(unit, host)
            loads.put(unit, host)
    return cost


def _off(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    for unit, host in zip(units, assigned, strict=True):
        if host is not None:
            loads.take(unit, host)


def _told(
    units: Sequence[Unit], assigned: Assigned, loads: Loads, question: Question
) -> tuple[Placed, ...]:
    found: dict[str, Placed] = {}
    for unit, host in zip(units, assigned, strict=True):
        for one in _told_unit(unit, host, loads, question):
            found[one.vm] = one
    return tuple(found[vm.id] for vm in question.vms)


def _told_unit(unit: Unit, host: int | None, loads: Loads, question: Question) -> Iterator[Placed]:
    if host is None:
        reason, name = why_nowhere(unit, loads, question), None
    else:
        reason, name = why_here(unit, host, loads), question.hosts[host].name
    for vm in unit.vms:
        yield Placed(vm.id, vm.name, name, reason)
