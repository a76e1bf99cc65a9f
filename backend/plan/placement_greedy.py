"""Placing many units: greedily, then by making room for those left. Pure.

All that is bounded is bounded by counts of looks, never by a clock: the same question has the
same answer on every machine.
"""

from collections.abc import Sequence
from enum import Enum

from backend.plan.placement_loads import Loads
from backend.plan.placement_ranked import Ranked
from backend.plan.placement_repair import (
    Assigned,
    difficulty,
    hopeless,
    make_room,
    make_room_for_all,
    open_hosts,
)
from backend.plan.placement_units import Unit


class _Way(Enum):
    """In which order, and which of the hosts that fit."""

    EVEN = "the largest first, each where it is cheapest"
    TIGHT = "the largest first, each where the least is left"
    SMALL_FIRST = "the smallest first: the most VMs, where not all find room"


def placed_greedily(units: Sequence[Unit], loads: Loads) -> Assigned:
    """Evenly, and repaired; in other ways where that leaves some behind. `loads` has it all."""
    best: Assigned = [None] * len(units)
    for way in _Way:
        found = _in_turn(units, loads, way)
        if _left(units, found):
            make_room(units, found, loads)
        _clear(units, found, loads)
        if way is _Way.EVEN or _left(units, found) < _left(units, best):
            best = found
        if not _left(units, best):
            break
    _reserve(units, best, loads)
    return best


def all_placed_greedily(units: Sequence[Unit], loads: Loads) -> Assigned | None:
    """What `placed_greedily` finds where it leaves none behind, sooner; None where it does."""
    for way in _Way:
        found = _in_turn(units, loads, way)
        done = make_room_for_all(units, found, loads)
        _clear(units, found, loads)
        if done:
            _reserve(units, found, loads)
            return found
    return None


def _reserve(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    for unit, host in zip(units, assigned, strict=True):
        if host is not None:
            loads.put(unit, host)


def _left(units: Sequence[Unit], assigned: Assigned) -> int:
    """VMs without a host that could have one."""
    pairs = zip(units, assigned, strict=True)
    return sum(len(unit.vms) for unit, host in pairs if host is None and not hopeless(unit))


def _clear(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    for unit, host in zip(units, assigned, strict=True):
        if host is not None:
            loads.take(unit, host)


def _in_turn(units: Sequence[Unit], loads: Loads, way: _Way) -> Assigned:
    ranked = Ranked(units, loads)
    assigned: Assigned = [None] * len(units)
    for number in _order(units, way):
        unit = units[number]
        tight = way is not _Way.EVEN
        options = open_hosts(unit, loads) if tight else ranked.fitting(unit)
        if not options:
            continue
        if tight:
            host = min(options, key=lambda one: (loads.free[one], one))
        else:
            host = min(options, key=lambda one: (loads.cost(unit, one), one))
        assigned[number] = host
        loads.put(unit, host)
        ranked.changed(host)
    return assigned


def _order(units: Sequence[Unit], way: _Way) -> list[int]:
    numbers = [number for number, unit in enumerate(units) if not hopeless(unit)]
    if way is _Way.SMALL_FIRST:
        return sorted(numbers, key=lambda n: units[n].memory_bytes / len(units[n].vms))
    return sorted(numbers, key=lambda number: difficulty(units[number]))
