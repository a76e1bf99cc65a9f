"""Whether all of some VMs could find room, before a placement of them is looked for. Pure."""

from collections.abc import Callable, Sequence, Set

from backend.plan.placement_loads import Loads
from backend.plan.placement_units import Unit


def surely_no_room(units: Sequence[Unit], loads: Loads, spare_cpus: Sequence[float]) -> bool:
    """No placement has room for each of them; False: one may.

    `spare_cpus`: of each host, what all that comes may use of its CPUs. A unit that has no host
    of its own is enough; so are the large ones together, from each size on, where they are more
    in sum or in number than their hosts have room for.
    """
    fitting = [_hosts(unit, loads, spare_cpus) for unit in units]
    if not all(fitting):
        return True
    return _too_much(units, fitting, _memory, loads.free) or _too_much(
        units, fitting, _cpus, spare_cpus
    )


def _memory(unit: Unit) -> float:
    return unit.memory_bytes


def _cpus(unit: Unit) -> float:
    return unit.cpus_used


def _hosts(unit: Unit, loads: Loads, spare_cpus: Sequence[float]) -> frozenset[int]:
    """Where it fits if none of the others comes."""
    cpus = unit.cpus_used
    return frozenset(
        host
        for host in unit.hosts
        if (not cpus or cpus <= spare_cpus[host]) and not loads.why_not(unit, host)
    )


def _too_much(
    units: Sequence[Unit],
    fitting: Sequence[Set[int]],
    need: Callable[[Unit], float],
    rooms: Sequence[float],
) -> bool:
    hosts: set[int] = set()
    total = 0.0
    numbers = sorted(range(len(units)), key=lambda number: -need(units[number]))
    for count, number in enumerate(numbers, 1):
        size = need(units[number])
        if size <= 0:
            return False
        hosts |= fitting[number]
        total += size
        there = [rooms[host] for host in hosts if rooms[host] >= size]
        if sum(int(min(count, room / size)) for room in there) < count:
            return True
        if max(there) < total and sum(there) < total:
            return True
    return False
