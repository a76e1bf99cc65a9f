"""The rule `balance`: one move off the busiest host, where that is clearly worth it. Pure.

Nothing is moved unless a host is above the threshold in each of the last rounds, all of them
since it last changed; nor for less than the gain asked for; nor to a host that would come near
the threshold itself; nor a VM that was moved a short while ago, or back to where it came from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from backend.model import Advice, AdvisedMove
from backend.plan.placement_types import HostRoom, VmNeed
from backend.plan.rules import MARGIN_PERCENT, Measure, Rule
from backend.plan.rules_held import bundles, held_percent, rested, targets, unwanted
from backend.plan.rules_types import LoadRound, RuleFleet


@dataclass(frozen=True, slots=True)
class _Option:
    vms: tuple[VmNeed, ...]
    target: str
    source_after: float
    target_after: float
    gain: float


def balance(
    rule: Rule, rounds: Sequence[LoadRound], fleet: RuleFleet, now: float
) -> tuple[Advice, ...]:
    """At most one: the next is looked at when its move is over and the loads have settled."""
    if fleet.moving:
        return ()
    hot = [
        (mean(loads), host)
        for host in fleet.hosts
        if (not rule.hosts or host.name in rule.hosts)
        and (loads := held_percent(rule, host.name, rule.measure, rounds, fleet))
        and min(loads) > rule.above_percent
    ]
    whole = bundles(fleet) if hot else ()
    for load, host in sorted(hot, key=lambda one: (-one[0], one[1].name)):
        here = tuple(vms for vms in whole if all(vm.host == host.name for vm in vms))
        options = list(_options(rule, host, load, here, rounds, fleet, now))
        if options:
            return (_told(rule, host, load, min(options, key=_preference)),)
    return ()


def _preference(option: _Option) -> tuple[float, int, str, str]:
    """The largest gain; of equal ones the least to send."""
    memory = sum(vm.memory_bytes for vm in option.vms)
    return -round(option.gain, 1), memory, option.vms[0].name, option.target


def _options(
    rule: Rule,
    host: HostRoom,
    load: float,
    here: Sequence[Sequence[VmNeed]],
    rounds: Sequence[LoadRound],
    fleet: RuleFleet,
    now: float,
) -> Iterator[_Option]:
    rooms = {room.name: room for room in fleet.hosts}
    for vms in here:
        too_little = _share(vms, host, rule.measure) < rule.gain_percent
        if too_little or not all(rested(rule, vm, fleet, now) for vm in vms):
            continue
        for name in targets(vms, fleet)[1]:
            if rule.hosts and name not in rule.hosts:
                continue
            if any(unwanted(rule, vm, name, fleet, now) for vm in vms):
                continue
            there = held_percent(rule, name, rule.measure, rounds, fleet)
            if not there:
                continue
            before = mean(there)
            after = before + _share(vms, rooms[name], rule.measure)
            left = load - _share(vms, host, rule.measure)
            gain = load - max(left, after)
            if gain >= rule.gain_percent and after <= rule.above_percent - MARGIN_PERCENT:
                yield _Option(tuple(vms), name, left, after, gain)


def _share(vms: Sequence[VmNeed], room: HostRoom, measure: Measure) -> float:
    """What the VMs are of a host's load, in percent; pressure follows the CPUs."""
    if measure is Measure.MEMORY:
        return 100 * sum(vm.memory_bytes for vm in vms) / max(1, room.memory_bytes)
    return 100 * sum(vm.cpus_used for vm in vms) / max(1, room.cpus)


def _told(rule: Rule, host: HostRoom, load: float, option: _Option) -> Advice:
    names = " and ".join(vm.name for vm in option.vms)
    return Advice(
        rule.name,
        rule.kind,
        rule.level,
        tuple(AdvisedMove(vm.id, vm.name, host.name, option.target) for vm in option.vms),
        f"{rule.measure} of {host.name} was above {rule.above_percent:.0f} % in the last"
        f" {rule.rounds} rounds, {load:.0f} % on average",
        f"{names} to {option.target}: {host.name} {load:.0f} → {option.source_after:.0f} %,"
        f" {option.target} to {option.target_after:.0f} %",
        option.gain,
    )
