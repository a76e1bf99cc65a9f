"""Placing many units: greedily, then by making room for those left. Pure.

All that is bounded is bounded by counts of looks, never by a clock: the same question has the
same answer on every machine.
"""

from collections.abc import Sequence

from backend.plan.placement_loads import Loads
from backend.plan.placement_ranked import Ranked
from backend.plan.placement_repair import Assigned, difficulty, hopeless, make_room, open_hosts
from backend.plan.placement_units import Unit


def placed_greedily(units: Sequence[Unit], loads: Loads) -> Assigned:
    """Evenly, the largest first; packed tightly where that leaves fewer behind; then repaired."""
    even = _in_turn(units, loads, even=True)
    if all(host is not None or hopeless(unit) for unit, host in zip(units, even, strict=True)):
        return even
    make_room(units, even, loads)
    if _left(units, even) == 0:
        return even
    _clear(units, even, loads)
    tight = _in_turn(units, loads, even=False)
    make_room(units, tight, loads)
    if _left(units, tight) <= _left(units, even):
        return tight
    _clear(units, tight, loads)
    for unit, host in zip(units, even, strict=True):
        if host is not None:
            loads.put(unit, host)
    return even


def _left(units: Sequence[Unit], assigned: Assigned) -> int:
    return sum(len(unit.vms) for unit, host in zip(units, assigned, strict=True) if host is None)


def _clear(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    for unit, host in zip(units, assigned, strict=True):
        if host is not None:
            loads.take(unit, host)


def _in_turn(units: Sequence[Unit], loads: Loads, even: bool) -> Assigned:
    """`even`: each to its cheapest host; else to the fullest one that has room."""
    ranked = Ranked(units, loads)
    assigned: Assigned = [None] * len(units)
    for number in sorted(range(len(units)), key=lambda number: difficulty(units[number])):
        unit = units[number]
        if hopeless(unit):
            continue
        options = ranked.fitting(unit) if even else open_hosts(unit, loads)
        if not options:
            continue
        if even:
            host = min(options, key=lambda one: (loads.cost(unit, one), one))
        else:
            host = min(options, key=lambda one: (loads.free[one], one))
        assigned[number] = host
        loads.put(unit, host)
        ranked.changed(host)
    return assigned
