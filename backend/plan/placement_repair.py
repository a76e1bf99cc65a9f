"""Making room for units that found no host: others are pushed off one, and settled anew. Pure."""

from collections.abc import Iterable, Sequence

from backend.plan.placement_loads import Loads
from backend.plan.placement_ranked import SMALL
from backend.plan.placement_units import Unit

Assigned = list[int | None]
"""Unit -> host; None: nowhere."""

LOOKS = 60_000
_TRIED_LOOKS = 6
"""What trying a host without some of its units counts as."""


def difficulty(unit: Unit) -> tuple[bool, bool, float, float]:
    """Those with little choice, and the large ones, before all others."""
    choice = len(unit.hosts) > 3
    return choice, not unit.apart, -float(unit.memory_bytes), -unit.cpus_used


def hopeless(unit: Unit) -> bool:
    """It goes nowhere, whatever room there is."""
    return bool(unit.stuck) or not unit.hosts


def open_hosts(unit: Unit, loads: Loads) -> list[int]:
    """Where it fits now."""
    return [host for host in unit.hosts if not loads.why_not(unit, host)]


def make_room(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    """For each that found no host: move others away from one, and those whom they push on."""
    pushing = _Pushing(units, assigned, loads)
    for number in _left(units, assigned):
        if not pushing.settle(number) and pushing.tired:
            break
    _swap_out(units, assigned, loads)


def make_room_for_all(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> bool:
    """The same where it is of use only if each of them has a host then; whether each has."""
    pushing = _Pushing(units, assigned, loads)
    return all(pushing.settle(number) for number in _left(units, assigned))


def _left(units: Sequence[Unit], assigned: Assigned) -> list[int]:
    """Units without a host that could have one, the hardest first."""
    left = [n for n, unit in enumerate(units) if assigned[n] is None and not hopeless(unit)]
    return sorted(left, key=lambda number: difficulty(units[number]))


def _swap_out(units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
    """Leave one unit behind where more VMs find room for it."""
    looks = LOOKS
    left = [n for n, unit in enumerate(units) if assigned[n] is None and not hopeless(unit)]
    for number, unit in enumerate(units):
        home = assigned[number]
        looks -= len(left)
        if home is None or not left or looks <= 0:
            continue
        loads.take(unit, home)
        assigned[number] = None
        came = _settled_there(units, left, home, loads)
        if sum(len(units[one].vms) for one in came) > len(unit.vms):
            for one in came:
                assigned[one] = home
            left = [one for one in (*left, number) if one not in came]
            continue
        for one in came:
            loads.take(units[one], home)
        assigned[number] = home
        loads.put(unit, home)


def _settled_there(
    units: Sequence[Unit], left: Sequence[int], host: int, loads: Loads
) -> list[int]:
    """Those of `left` that fit on that host together, the smallest first."""
    came = []
    for one in sorted(left, key=lambda n: (units[n].memory_bytes, n)):
        if host in units[one].hosts and not loads.why_not(units[one], host):
            loads.put(units[one], host)
            came.append(one)
    return came


class _Pushing:
    """Ejection chains: a unit takes a host, what has to leave it for that is settled in turn."""

    DEPTH = 3
    PUSHED = 3
    """Units that one may push off a host."""

    def __init__(self, units: Sequence[Unit], assigned: Assigned, loads: Loads) -> None:
        self._units, self._assigned, self._loads = units, assigned, loads
        self._looks = LOOKS
        self._on: dict[int, list[int]] = {}
        for number, host in enumerate(assigned):
            if host is not None:
                self._on.setdefault(host, []).append(number)

    @property
    def tired(self) -> bool:
        """All looks are used up."""
        return self._looks <= 0

    def settle(self, number: int) -> bool:
        """Whether it has a host now; if not, all are where they were."""
        return any(self._settled(number, depth, frozenset({number})) for depth in (1, 2, 3))

    def _settled(self, number: int, depth: int, moved: frozenset[int]) -> bool:
        unit, loads = self._units[number], self._loads
        self._looks -= len(unit.hosts)
        fitting = open_hosts(unit, loads)
        if fitting:
            self._put(number, min(fitting, key=lambda one: (loads.cost(unit, one), one)))
            return True
        if depth <= 0 or self._looks <= 0:
            return False
        hosts = sorted(unit.hosts, key=lambda one: (-loads.free[one], one))
        return any(self._by_pushing(number, host, depth, moved) for host in hosts[:SMALL])

    def _by_pushing(self, number: int, host: int, depth: int, moved: frozenset[int]) -> bool:
        for pushed in self._leaving(number, host, moved):
            if self._looks <= 0:
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
        self._looks -= len(there)
        for index, one in enumerate(rest):
            for other in rest[index + 1 :] if self._looks > 0 else ():
                self._looks -= 1
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
        self._looks -= _TRIED_LOOKS
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
