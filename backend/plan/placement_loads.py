"""What each host has left while VMs are placed, and what one more would cost there. Pure.

The cost of all, in points, the less the better; only what the placed VMs add to it counts:

    memory   100 * (part of the host's memory in use)^2, bigger hosts weighing more
    cpu      50 * (part of its CPUs in use)^2, and 300 * (what is above 80 %)^2
    link     10 * (its seconds of receiving / what all would take evenly)^2, weighed by its link
    prefer   20 for each VM that prefers another host
    together 20 for each host but one that a soft group's VMs are on
    apart    20 for each VM of a soft group but one on a host

Squares: the fuller a host, the more the next VM costs there, so the VMs spread evenly; and what
one VM costs never gets less by placing others, `together` aside (the exact search leans on it).
"""

from collections.abc import Mapping, Sequence

from backend.plan.placement_types import HostRoom, PoolNeed, Question
from backend.plan.placement_units import Unit

MEMORY, CPU, OVERLOAD, LINK, WISH = 100.0, 50.0, 300.0, 10.0, 20.0
BUSY_PART = 0.8
PARTS = ("memory", "cpu", "link", "prefer", "together", "apart")

Groups = dict[str, dict[int, int]]
"""Group -> host -> how many of its VMs are there."""


class Loads:
    """Reservations on every host; `put` and `take` are each other's inverse."""

    def __init__(self, question: Question, units: Sequence[Unit]) -> None:
        hosts = question.hosts
        self.hosts = hosts
        self.free = [
            host.memory_free_bytes - int(question.reserve_part * host.memory_bytes)
            for host in hosts
        ]
        self.used = [float(host.memory_bytes - host.memory_free_bytes) for host in hosts]
        self.cpus = [host.cpus_used for host in hosts]
        self.sent = [0.0] * len(hosts)
        self.pools = [dict(host.pools) for host in hosts]
        self.paths: list[set[str]] = [set() for _ in hosts]
        numbers = {host.name: number for number, host in enumerate(hosts)}
        self.apart = _counted(question, numbers, "apart")
        self.apart_soft = _counted(question, numbers, "apart_soft")
        self.together_soft = _counted(question, numbers, "together_soft")
        self._memory_scale = _memory_scales(hosts)
        self._cpu_scale = [1.0 / host.cpus if host.cpus > 0 else 0.0 for host in hosts]
        self._link_scale = _link_scales(hosts, sum(unit.sent_bytes for unit in units))

    def why_not(self, unit: Unit, host: int) -> str:
        """Why the unit does not fit there beside what is placed; empty: it does."""
        if unit.memory_bytes and unit.memory_bytes > self.free[host]:
            return "memory"
        for group in unit.apart:
            if self.apart.get(group, {}).get(host):
                return "apart"
        needs = unit.pools.get(host)
        return self._why_no_room(needs, host) if needs else ""

    def _why_no_room(self, needs: Sequence[PoolNeed], host: int) -> str:
        room = self.pools[host]
        wanted: dict[str, int] = {}
        made: set[str] = set()
        for need in needs:
            wanted[need.pool] = wanted.get(need.pool, 0) + need.bytes
            if need.path and (need.path in self.paths[host] or need.path in made):
                return "path"
            made.add(need.path)
        short = any(pool in room and count > room[pool] for pool, count in wanted.items())
        return "pool" if short else ""

    def marginal(self, unit: Unit, host: int) -> float:
        """What the unit adds to the cost by being there."""
        memory, used = unit.memory_bytes, self.used[host]
        cost = self._memory_scale[host] * memory * (2 * used + memory)
        scale = self._cpu_scale[host]
        if scale:
            before = self.cpus[host] * scale
            after = before + unit.cpus_used * scale
            cost += CPU * (after * after - before * before)
            if after > BUSY_PART:
                above, was = after - BUSY_PART, max(0.0, before - BUSY_PART)
                cost += OVERLOAD * (above * above - was * was)
        if unit.sent_bytes:
            sent = self.sent[host]
            cost += self._link_scale[host] * unit.sent_bytes * (2 * sent + unit.sent_bytes)
        if unit.disliked:
            cost += WISH * unit.disliked.get(host, 0)
        if unit.apart_soft:
            cost += self._crowded(unit, host)
        return cost

    def scattered(self, unit: Unit, host: int) -> float:
        """The `together` part, which is not in `marginal`."""
        cost = 0.0
        for group in unit.together_soft:
            at = self.together_soft.get(group)
            if at and host not in at:
                cost += WISH
        return cost

    def cost(self, unit: Unit, host: int) -> float:
        """All that the unit adds by being there."""
        if unit.together_soft:
            return self.marginal(unit, host) + self.scattered(unit, host)
        return self.marginal(unit, host)

    def parts(self, unit: Unit, host: int) -> dict[str, float]:
        """`cost` by its parts."""
        memory = self._memory_scale[host] * unit.memory_bytes
        memory *= 2 * self.used[host] + unit.memory_bytes
        sent = self._link_scale[host] * unit.sent_bytes
        sent *= 2 * self.sent[host] + unit.sent_bytes
        prefer, apart = WISH * unit.disliked.get(host, 0), self._crowded(unit, host)
        cpu = self.marginal(unit, host) - memory - sent - prefer - apart
        return dict(
            zip(PARTS, (memory, cpu, sent, prefer, self.scattered(unit, host), apart), strict=True)
        )

    def _crowded(self, unit: Unit, host: int) -> float:
        cost = 0.0
        for group, count in unit.apart_soft.items():
            there = self.apart_soft.get(group, {}).get(host, 0)
            cost += WISH * (count if there else count - 1)
        return cost

    def put(self, unit: Unit, host: int) -> None:
        """Reserve."""
        self._move(unit, host, 1)

    def take(self, unit: Unit, host: int) -> None:
        """Give back."""
        self._move(unit, host, -1)

    def _move(self, unit: Unit, host: int, sign: int) -> None:
        self.free[host] -= sign * unit.memory_bytes
        self.used[host] += sign * unit.memory_bytes
        self.cpus[host] += sign * unit.cpus_used
        self.sent[host] += sign * unit.sent_bytes
        for group in unit.apart:
            _count(self.apart, group, host, sign)
        for group, count in unit.apart_soft.items():
            _count(self.apart_soft, group, host, sign * count)
        for group in unit.together_soft:
            _count(self.together_soft, group, host, sign)
        for need in unit.pools.get(host, ()):
            if need.pool in self.pools[host]:
                self.pools[host][need.pool] -= sign * need.bytes
            if need.path and sign > 0:
                self.paths[host].add(need.path)
            elif need.path:
                self.paths[host].discard(need.path)


def _count(groups: Groups, group: str, host: int, by: int) -> None:
    at = groups.setdefault(group, {})
    left = at.get(host, 0) + by
    if left:
        at[host] = left
    else:
        at.pop(host, None)


def _counted(question: Question, numbers: Mapping[str, int], kind: str) -> Groups:
    found: Groups = {}
    for one in question.residents:
        if one.host in numbers:
            for group in getattr(one.tags, kind):
                _count(found, group, numbers[one.host], 1)
    return found


def _memory_scales(hosts: Sequence[HostRoom]) -> list[float]:
    sizes = [float(host.memory_bytes) for host in hosts]
    known = [size for size in sizes if size > 0]
    mean = sum(known) / len(known) if known else 1.0
    return [MEMORY / (mean * size) if size > 0 else 0.0 for size in sizes]


def _link_scales(hosts: Sequence[HostRoom], sent_bytes: int) -> list[float]:
    """(bytes / link / even time)^2 * (link / all links), without the bytes."""
    known = [host.link_bytes_s for host in hosts if host.link_bytes_s]
    if not known or sent_bytes <= 0:
        return [0.0] * len(hosts)
    usual = sum(known) / len(known)
    rates = [host.link_bytes_s or usual for host in hosts]
    total = sum(rates)
    return [LINK * total / (rate * sent_bytes**2) for rate in rates]
