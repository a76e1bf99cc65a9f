"""The best placement there is, by looking at all that could be better (branch and bound). Pure.

First as many VMs as possible, then the lowest cost. What a unit costs at a host never gets less
by placing others (`placement_loads`), so the sum of what each unplaced one costs now where it is
cheapest is a bound from below; soft `together` groups count as nothing in it.
"""

from collections.abc import Sequence
from math import inf

from backend.plan.placement_loads import Loads
from backend.plan.placement_repair import Assigned
from backend.plan.placement_units import Unit

LOOKS = 100_000
"""At one unit on one host: a quarter of a second or so."""
_LESS = 1e-9


class Search:
    """One search; `best` starts as what is known already."""

    def __init__(
        self, units: Sequence[Unit], loads: Loads, best: Assigned | None, looks: int = LOOKS
    ) -> None:
        """`loads`: of all units taken off again. `best`: None where no placement of all is known,
        and nothing less is of use."""
        self._units, self._loads = units, loads
        self._looks = looks
        self._now: Assigned = [None] * len(units)
        self.best: Assigned = [None] * len(units) if best is None else list(best)
        self._best_left, self._best_cost = (0, inf) if best is None else self._measured(best)
        order = (n for n, unit in enumerate(units) if unit.hosts and not unit.stuck)
        self._order = sorted(order, key=lambda n: (len(units[n].hosts), -units[n].memory_bytes, n))
        never = sum(len(unit.vms) for unit in units if not unit.hosts or unit.stuck)
        self.proven = self._go(0, never, 0.0)

    def _measured(self, assigned: Assigned) -> tuple[int, float]:
        left, cost = 0, 0.0
        for unit, host in zip(self._units, assigned, strict=True):
            if host is None:
                left += len(unit.vms)
            else:
                cost += self._loads.cost(unit, host)
                self._loads.put(unit, host)
        for unit, host in zip(self._units, assigned, strict=True):
            if host is not None:
                self._loads.take(unit, host)
        return left, cost

    def _go(self, depth: int, left: int, cost: float) -> bool:
        """False when the looks were used up before all was seen."""
        if depth == len(self._order):
            if self._better(left, cost):
                self.best, self._best_left, self._best_cost = list(self._now), left, cost
            return True
        if self._looks <= 0:
            return False
        if not self._could_be_better(depth, left, cost):
            return True
        number = self._order[depth]
        unit, loads = self._units[number], self._loads
        fitting = [host for host in unit.hosts if not loads.why_not(unit, host)]
        costs = sorted((loads.cost(unit, host), host) for host in fitting)
        seen = True
        for more, host in costs:
            self._now[number] = host
            loads.put(unit, host)
            seen = self._go(depth + 1, left, cost + more) and seen
            loads.take(unit, host)
            self._now[number] = None
        return self._go(depth + 1, left + len(unit.vms), cost) and seen

    def _better(self, left: int, cost: float) -> bool:
        if left != self._best_left:
            return left < self._best_left
        return cost < self._best_cost - _LESS

    def _could_be_better(self, depth: int, left: int, cost: float) -> bool:
        loads = self._loads
        for number in self._order[depth:]:
            unit = self._units[number]
            self._looks -= len(unit.hosts)
            costs = [
                loads.marginal(unit, host) for host in unit.hosts if not loads.why_not(unit, host)
            ]
            if costs:
                cost += min(costs)
            else:
                left += len(unit.vms)
            if left > self._best_left:
                return False
        return self._better(left, cost)
