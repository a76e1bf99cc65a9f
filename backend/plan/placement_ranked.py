"""Which hosts a unit is to be looked at on: in a large fleet, only the emptiest that fit. Pure."""

from collections.abc import Iterable, Sequence

from backend.plan.placement_loads import BUSY_PART, CPU, MEMORY, OVERLOAD, Loads
from backend.plan.placement_units import Unit

LOOKS = 12
"""Of the emptiest hosts that fit, in a large fleet."""
SMALL = 40
"""Hosts of which all are looked at."""
_STALE = 8
"""Changes after which the order is looked at again."""


class Ranked:
    """The hosts by how full they are: only the first that fit are looked at closely."""

    def __init__(self, units: Sequence[Unit], loads: Loads) -> None:
        self._loads = loads
        self._few = len(loads.hosts) <= SMALL
        count = max(1, len(units))
        self._memory = sum(unit.memory_bytes for unit in units) / count
        self._cpus = sum(unit.cpus_used for unit in units) / count
        self._fullness = [0.0] * len(loads.hosts)
        self._order = list(range(len(loads.hosts)))
        self._changes = 0
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
        self._changes += 1

    def fitting(self, unit: Unit) -> list[int]:
        """Hosts it fits on: all of a small fleet, else the emptiest and those it has a wish for."""
        loads, hosts = self._loads, unit.hosts
        if self._few or len(hosts) <= SMALL:
            return [host for host in hosts if not loads.why_not(unit, host)]
        if self._changes >= _STALE:
            self._order.sort(key=self._fullness.__getitem__)
            self._changes = 0
        found: list[int] = []
        allowed = set(hosts)
        for host in self._order:
            if host in allowed and not loads.why_not(unit, host):
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
