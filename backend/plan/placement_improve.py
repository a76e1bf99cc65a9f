"""A placement made cheaper, one VM or one pair at a time. Pure."""

from collections.abc import Sequence

from backend.plan.placement_loads import Loads
from backend.plan.placement_ranked import Ranked
from backend.plan.placement_repair import Assigned
from backend.plan.placement_units import Unit

LOOKS = 60_000
SWAPPED_UNITS = 60
"""Pairs of more units than this are not exchanged: it would take the square of them."""
_LESS = 1e-9


def improve(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    """Each unit to its cheapest host, and pairs exchanged, until nothing gets cheaper."""
    looks = LOOKS
    ranked = Ranked(units, loads)
    better = True
    while better and looks > 0:
        better = False
        for number, unit in enumerate(units):
            host = assigned[number]
            if host is None or looks <= 0:
                continue
            loads.take(unit, host)
            options = [one for one in ranked.fitting(unit) if one != host]
            looks -= len(options) + 1
            now = loads.cost(unit, host)
            best = min(options, key=lambda one: (loads.cost(unit, one), one), default=host)
            if loads.cost(unit, best) < now - _LESS:
                assigned[number], better = best, True
                ranked.changed(host)
            loads.put(unit, assigned[number] or 0)
            ranked.changed(assigned[number] or 0)
        if len(units) <= SWAPPED_UNITS:
            better = _exchange(units, assigned, loads) or better


def _exchange(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> bool:
    """Two units swap their hosts where that is cheaper."""
    better = False
    for one, unit in enumerate(units):
        for two in range(one + 1, len(units)):
            first, second, other = assigned[one], assigned[two], units[two]
            if first is None or second is None or first == second:
                continue
            if second not in unit.hosts or first not in other.hosts:
                continue
            loads.take(unit, first)
            loads.take(other, second)
            kept = _cost_of_two(unit, first, other, second, loads)
            swapped = _cost_of_two(unit, second, other, first, loads)
            if swapped is not None and kept is not None and swapped < kept - _LESS:
                assigned[one], assigned[two] = second, first
                better = True
            loads.put(unit, assigned[one] or 0)
            loads.put(other, assigned[two] or 0)
    return better


def _cost_of_two(unit: Unit, host: int, other: Unit, other_host: int, loads: Loads) -> float | None:
    if loads.why_not(unit, host):
        return None
    cost = loads.cost(unit, host)
    loads.put(unit, host)
    fits = not loads.why_not(other, other_host)
    cost += loads.cost(other, other_host)
    loads.take(unit, host)
    return cost if fits else None
