"""Placing many units: greedily, then by making room, then by looking for cheaper hosts. Pure.

All that is bounded is bounded by counts of looks, never by a clock: the same question has the
same answer on every machine.
"""

from collections.abc import Iterable, Sequence

from backend.plan.placement_loads import BUSY_PART, CPU, MEMORY, OVERLOAD, Loads
from backend.plan.placement_units import Unit

Assigned = list[int | None]
"""Unit -> host; None: nowhere."""

LOOKS = 12
"""Of the emptiest hosts that fit, in a large fleet."""
SMALL = 40
"""Hosts of which all are looked at."""
REPAIR_LOOKS = 150_000
SWEEP_LOOKS = 150_000
SWAPPED_UNITS = 60
"""Pairs of more units than this are not exchanged: it would take the square of them."""
_LESS = 1e-9


def placed_greedily(units: Sequence[Unit], loads: Loads) -> Assigned:
    """Evenly, the largest first; packed tightly where that leaves fewer behind; then repaired."""
    even = _in_turn(units, loads, even=True)
    if all(host is not None or _hopeless(unit) for unit, host in zip(units, even, strict=True)):
        return even
    _make_room(units, even, loads)
    if _left(units, even) == 0:
        return even
    _clear(units, even, loads)
    tight = _in_turn(units, loads, even=False)
    _make_room(units, tight, loads)
    if _left(units, tight) <= _left(units, even):
        return tight
    _clear(units, tight, loads)
    for unit, host in zip(units, even, strict=True):
        if host is not None:
            loads.put(unit, host)
    return even


def improve(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    """Each unit to its cheapest host, and pairs exchanged, until nothing gets cheaper."""
    looks = SWEEP_LOOKS
    ranked = _Ranked(units, loads)
    better = True
    while better and looks > 0:
        better = False
        for number, unit in enumerate(units):
            host = assigned[number]
            if host is None:
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


def _left(units: Sequence[Unit], assigned: Assigned) -> int:
    return sum(len(unit.vms) for unit, host in zip(units, assigned, strict=True) if host is None)


def _clear(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    for unit, host in zip(units, assigned, strict=True):
        if host is not None:
            loads.take(unit, host)


def _hopeless(unit: Unit) -> bool:
    return bool(unit.stuck) or not unit.hosts


class _Ranked:
    """The hosts by how full they are: only the first that fit are looked at closely."""

    def __init__(self, units: Sequence[Unit], loads: Loads) -> None:
        self._loads = loads
        self._few = len(loads.hosts) <= SMALL
        count = max(1, len(units))
        self._memory = sum(unit.memory_bytes for unit in units) / count
        self._cpus = sum(unit.cpus_used for unit in units) / count
        self._fullness = [0.0] * len(loads.hosts)
        for host in range(len(loads.hosts)):
            self.changed(host)

    def changed(self, host: int) -> None:
        """What the next unit of the middle size would cost there."""
        if self._few:
            return
        loads, room = self._loads, self._loads.hosts[host]
        if not room.memory_bytes:
            return
        cost = MEMORY * loads.used[host] / room.memory_bytes * self._memory / room.memory_bytes
        if room.cpus:
            part = loads.cpus[host] / room.cpus
            cost += CPU * part * self._cpus / room.cpus
            cost += OVERLOAD * max(0.0, part - BUSY_PART) * self._cpus / room.cpus
        self._fullness[host] = cost

    def fitting(self, unit: Unit) -> list[int]:
        """Hosts it fits on: all of a small fleet, else the emptiest and those it has a wish for."""
        loads, hosts = self._loads, unit.hosts
        if self._few or len(hosts) <= SMALL:
            return [host for host in hosts if not loads.why_not(unit, host)]
        found: list[int] = []
        for host in sorted(hosts, key=self._fullness.__getitem__):
            if not loads.why_not(unit, host):
                found.append(host)
                if len(found) >= LOOKS:
                    break
        wished = [host for host in self._wished(unit) if host not in found]
        return found + [host for host in wished if not loads.why_not(unit, host)]

    def _wished(self, unit: Unit) -> Iterable[int]:
        allowed = set(unit.hosts)
        if unit.disliked:
            liked = sorted(allowed - set(unit.disliked), key=self._fullness.__getitem__)
            yield from liked[:LOOKS]
        for group in unit.together_soft:
            there = self._loads.together_soft.get(group, {})
            yield from sorted(allowed.intersection(there), key=self._fullness.__getitem__)[:LOOKS]


def _in_turn(units: Sequence[Unit], loads: Loads, even: bool) -> Assigned:
    """`even`: each to its cheapest host; else to the fullest one that has room."""
    ranked = _Ranked(units, loads)
    assigned: Assigned = [None] * len(units)
    for number in sorted(range(len(units)), key=lambda number: _difficulty(units[number])):
        unit = units[number]
        if _hopeless(unit):
            continue
        options = ranked.fitting(unit) if even else _open(unit, loads)
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


def _open(unit: Unit, loads: Loads) -> list[int]:
    return [host for host in unit.hosts if not loads.why_not(unit, host)]


def _difficulty(unit: Unit) -> tuple[bool, bool, float, float]:
    """Those with little choice, and the large ones, before all others."""
    choice = len(unit.hosts) > 3
    return choice, not unit.apart, -float(unit.memory_bytes), -unit.cpus_used


def _make_room(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    """For each that found no host: move others away from one, and those whom they push on."""
    budget = [REPAIR_LOOKS]
    for number in sorted(range(len(units)), key=lambda number: _difficulty(units[number])):
        if assigned[number] is None and not _hopeless(units[number]):
            _Pushing(units, assigned, loads, budget).settle(number)


class _Pushing:
    """Ejection chains: a unit takes a host, what has to leave it for that is settled in turn."""

    DEPTH = 3
    PUSHED = 3
    """Units that one may push off a host."""

    def __init__(
        self, units: Sequence[Unit], assigned: Assigned, loads: Loads, budget: list[int]
    ) -> None:
        self._units, self._assigned, self._loads = units, assigned, loads
        self._budget = budget
        self._on: dict[int, list[int]] = {}
        for number, host in enumerate(assigned):
            if host is not None:
                self._on.setdefault(host, []).append(number)

    def settle(self, number: int) -> bool:
        """Whether it has a host now; if not, all are where they were."""
        return any(self._settled(number, depth, frozenset({number})) for depth in (1, 2, 3))

    def _settled(self, number: int, depth: int, moved: frozenset[int]) -> bool:
        unit, loads = self._units[number], self._loads
        self._budget[0] -= len(unit.hosts)
        fitting = _open(unit, loads)
        if fitting:
            self._put(number, min(fitting, key=lambda one: (loads.cost(unit, one), one)))
            return True
        if depth <= 0 or self._budget[0] <= 0:
            return False
        hosts = sorted(unit.hosts, key=lambda one: (-loads.free[one], one))
        return any(self._by_pushing(number, host, depth, moved) for host in hosts[:SMALL])

    def _by_pushing(self, number: int, host: int, depth: int, moved: frozenset[int]) -> bool:
        for pushed in self._leaving(number, host, moved):
            if self._budget[0] <= 0:
                return False
            before = {one: self._assigned[one] for one in pushed}
            for one in pushed:
                self._off(one)
            self._put(number, host)
            if self._all_settled(pushed, depth - 1, moved | set(pushed)):
                return True
            self._off(number)
            for one, home in before.items():
                if home is not None:
                    self._put(one, home)
        return False

    def _all_settled(self, pushed: Sequence[int], depth: int, moved: frozenset[int]) -> bool:
        done: list[int] = []
        snapshot = list(self._assigned)
        for one in pushed:
            if not self._settled(one, depth, moved):
                self._restore(snapshot)
                return False
            done.append(one)
        return True

    def _restore(self, snapshot: Assigned) -> None:
        changed = [n for n, host in enumerate(snapshot) if host != self._assigned[n]]
        for number in changed:
            self._off(number)
        for number in changed:
            home = snapshot[number]
            if home is not None:
                self._put(number, home)

    def _leaving(self, number: int, host: int, moved: frozenset[int]) -> Iterable[tuple[int, ...]]:
        """Sets of units without which it fits there: one, else two, else up to `PUSHED`."""
        unit, loads, units = self._units[number], self._loads, self._units
        there = [one for one in self._on.get(host, ()) if one not in moved]
        there.sort(key=lambda one: (units[one].memory_bytes, one))
        single = [one for one in there if self._fits_without(unit, host, (one,))]
        yield from ((one,) for one in single)
        rest = [one for one in there if one not in single][-SMALL:]
        self._budget[0] -= len(there)
        for index, one in enumerate(rest):
            for other in rest[index + 1 :]:
                self._budget[0] -= 1
                short = unit.memory_bytes - loads.free[host]
                if units[one].memory_bytes + units[other].memory_bytes < short:
                    continue
                if self._fits_without(unit, host, (one, other)):
                    yield one, other
        if len(rest) > self.PUSHED - 1:
            group = tuple(rest[-self.PUSHED :])
            if self._fits_without(unit, host, group):
                yield group

    def _fits_without(self, unit: Unit, host: int, gone: tuple[int, ...]) -> bool:
        for one in gone:
            self._loads.take(self._units[one], host)
        fits = not self._loads.why_not(unit, host)
        for one in gone:
            self._loads.put(self._units[one], host)
        return fits

    def _put(self, number: int, host: int) -> None:
        self._assigned[number] = host
        self._on.setdefault(host, []).append(number)
        self._loads.put(self._units[number], host)

    def _off(self, number: int) -> None:
        host = self._assigned[number]
        if host is not None:
            self._assigned[number] = None
            self._on[host].remove(number)
            self._loads.take(self._units[number], host)


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
