"""The rule `consolidate`: the emptiest host whose VMs all find room elsewhere. Pure.

Most hosts that cannot be emptied are ruled out by sums over their VMs, before a placement of them
is looked for. That is done for at most `TRIED` hosts: where the sums ruled none of these out and
yet none could be emptied, the fuller ones after them are not tried.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from typing import TypeVar

from backend.model import Advice, AdvisedMove
from backend.plan.placement import place_all
from backend.plan.placement_bounds import surely_no_room
from backend.plan.placement_loads import Loads
from backend.plan.placement_repair import hopeless
from backend.plan.placement_types import HostRoom, Question, Resident, VmNeed
from backend.plan.placement_units import Unit, units_of
from backend.plan.rules import Measure, Rule
from backend.plan.rules_held import held_percent, rested, unwanted
from backend.plan.rules_types import LoadRound, RuleFleet

TRIED = 30
"""Hosts whose VMs are placed, the emptiest first; those that the sums rule out do not count."""

_One = TypeVar("_One")
_ROUNDING_CPUS = 1e-6
"""So that a sum in another order is not more than the limit."""


def consolidate(
    rule: Rule, rounds: Sequence[LoadRound], fleet: RuleFleet, now: float
) -> tuple[Advice, ...]:
    """At most one: the next is looked at when that host is empty and the loads have settled."""
    if fleet.moving:
        return ()
    others = _Others(rule, fleet, now)
    low = sorted(_low(rule, rounds, fleet), key=lambda one: (one[0], one[1].name))
    hopeful = ((load, one) for load, host in low if (one := others.leaving(host.name)))
    for load, leaving in islice(hopeful, TRIED):
        moves = others.emptied(leaving)
        if moves:
            return (_told(rule, load, moves),)
    return ()


def _low(
    rule: Rule, rounds: Sequence[LoadRound], fleet: RuleFleet
) -> Iterator[tuple[float, HostRoom]]:
    """Hosts that were below the threshold, with the most that they were loaded."""
    for host in fleet.hosts:
        if host.closed or (rule.hosts and host.name not in rule.hosts):
            continue
        cpu = held_percent(rule, host.name, Measure.CPU, rounds, fleet)
        memory = held_percent(rule, host.name, Measure.MEMORY, rounds, fleet)
        if cpu and memory and max(*cpu, *memory) < rule.below_percent:
            yield max(*cpu, *memory), host


def _told(rule: Rule, load: float, moves: tuple[AdvisedMove, ...]) -> Advice:
    host = moves[0].source
    return Advice(
        rule.name,
        rule.kind,
        rule.level,
        moves,
        f"{host} was below {rule.below_percent:.0f} % in the last {rule.rounds}"
        f" rounds, {load:.0f} % at most",
        f"{host} is empty; no other host is fuller than {rule.most_percent:.0f} %",
    )


@dataclass(frozen=True, slots=True)
class _Leaving:
    """The VMs of one host, with the room that there is for them elsewhere."""

    vms: tuple[VmNeed, ...]
    units: tuple[Unit, ...]
    loads: Loads


class _Others:
    """The fleet as the VMs of one host see it, whichever host that is: ordered once, for all."""

    def __init__(self, rule: Rule, fleet: RuleFleet, now: float) -> None:
        self._rule, self._fleet, self._now = rule, fleet, now
        self._here = _by(fleet.vms, lambda vm: (vm.host,))
        self._grouped = _by(fleet.vms, _groups)
        self._moves = _by(fleet.moves, lambda move: (move.vm,))
        self._blocked = _by(fleet.blocked, lambda pair: (pair[0],))
        self._rooms = tuple(
            room if room.name in self._here else replace(room, closed=f"{room.name} is empty")
            for room in fleet.hosts
            if not rule.hosts or room.name in rule.hosts
        )
        self._spare_cpus = [_spare_cpus(rule, room) for room in self._rooms]

    def leaving(self, host: str) -> _Leaving | None:
        """All VMs of a host; None where one of them has to stay."""
        here = tuple(self._here.get(host, ()))
        moves = tuple(move for vm in here for move in self._moves.get(vm.id, ()))
        near = replace(self._fleet, moves=moves)
        if not here or not all(rested(self._rule, vm, near, self._now) for vm in here):
            return None
        question = self._question(here, near)
        units = units_of(question)
        if any(map(hopeless, units)):
            return None
        loads = Loads(question, units)
        if surely_no_room(units, loads, self._spare_cpus):
            return None
        return _Leaving(here, units, loads)

    def emptied(self, leaving: _Leaving) -> tuple[AdvisedMove, ...]:
        """Its moves; () where not all find room, or a target's CPUs would get too busy."""
        hosts = place_all(leaving.units, leaving.loads)
        if hosts is None:
            return ()
        at = {
            vm.id: self._rooms[host]
            for unit, host in zip(leaving.units, hosts, strict=True)
            for vm in unit.vms
        }
        for room in {room.name: room for room in at.values()}.values():
            came = sum(vm.cpus_used for vm in leaving.vms if at[vm.id] is room)
            after = room.cpus_used + came
            if came and room.cpus and 100 * after / room.cpus > self._rule.most_percent:
                return ()
        return tuple(AdvisedMove(vm.id, vm.name, vm.host, at[vm.id].name) for vm in leaving.vms)

    def _question(self, here: tuple[VmNeed, ...], near: RuleFleet) -> Question:
        """Of the other VMs only those that its own have a group with."""
        reserve = 1 - self._rule.most_percent / 100
        groups = dict.fromkeys(group for vm in here for group in _groups(vm))
        others = {
            vm.id: Resident(vm.name, vm.host, vm.tags)
            for group in groups
            for vm in self._grouped[group]
            if vm.host != here[0].host
        }
        return Question(
            here, self._rooms, tuple(others.values()), self._not_there(here, near), {}, reserve
        )

    def _not_there(self, here: Sequence[VmNeed], near: RuleFleet) -> dict[tuple[str, str], str]:
        """Where its VMs cannot go, or would not stay."""
        found = {
            pair: self._fleet.blocked[pair] for vm in here for pair in self._blocked.get(vm.id, ())
        }
        for vm in here:
            if vm.id in self._moves or vm.host in vm.tags.prefer:
                for room in self._rooms:
                    if unwanted(self._rule, vm, room.name, near, self._now):
                        found.setdefault((vm.id, room.name), "it would not stay there")
        return found


def _by(
    ones: Iterable[_One], keys: Callable[[_One], Iterable[str]]
) -> Mapping[str, Sequence[_One]]:
    found: dict[str, list[_One]] = {}
    for one in ones:
        for key in keys(one):
            found.setdefault(key, []).append(one)
    return found


def _groups(vm: VmNeed) -> tuple[str, ...]:
    tags = vm.tags
    return (*tags.together, *tags.together_soft, *tags.apart, *tags.apart_soft)


def _spare_cpus(rule: Rule, room: HostRoom) -> float:
    """What may come until it is as busy as the rule allows."""
    if not room.cpus:
        return inf
    return rule.most_percent / 100 * room.cpus - room.cpus_used + _ROUNDING_CPUS
