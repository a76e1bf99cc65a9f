"""What keeps a rule from acting too soon or too often. Pure."""

from collections.abc import Sequence

from backend.plan.placement_loads import Loads
from backend.plan.placement_types import Question, VmNeed
from backend.plan.placement_units import Unit, units_of
from backend.plan.rules import Measure, Rule
from backend.plan.rules_types import LoadRound, RuleFleet

NEVER_BACK = 4.0
"""So many cooldowns long a VM does not go back to a host that it was moved away from."""


def held_percent(
    rule: Rule, host: str, measure: Measure, rounds: Sequence[LoadRound], fleet: RuleFleet
) -> tuple[float, ...]:
    """The loads of the last `rule.rounds` rounds, oldest first; () while they do not yet tell: too
    few, one without a figure, or one from before the host's last move."""
    newest = rounds[-rule.rounds :]
    changed = max((one.at for one in fleet.moves if host in (one.source, one.target)), default=-1.0)
    loads = [one.of(host, measure) for one in newest if one.at > changed]
    known = tuple(load for load in loads if load is not None)
    return known if len(known) == rule.rounds else ()


def rested(rule: Rule, vm: VmNeed, fleet: RuleFleet, now: float) -> bool:
    """Its cooldown is over."""
    return all(now - one.at >= rule.cooldown_s for one in fleet.moves if one.vm == vm.id)


def came_from(rule: Rule, vm: VmNeed, target: str, fleet: RuleFleet, now: float) -> bool:
    """Going there would be going back."""
    return any(
        one.vm == vm.id and one.source == target and now - one.at < NEVER_BACK * rule.cooldown_s
        for one in fleet.moves
    )


def unwanted(rule: Rule, vm: VmNeed, target: str, fleet: RuleFleet, now: float) -> bool:
    """Going there would be going back, or away from a host that it prefers: the rule `follow`
    would undo it."""
    leaves = vm.host in vm.tags.prefer and target not in vm.tags.prefer
    return leaves or came_from(rule, vm, target, fleet, now)


def bundles(fleet: RuleFleet) -> tuple[tuple[VmNeed, ...], ...]:
    """VMs that move together or not at all."""
    return tuple(unit.vms for unit in units_of(Question(fleet.vms, fleet.hosts)))


def targets(vms: Sequence[VmNeed], fleet: RuleFleet) -> tuple[Unit, list[str]]:
    """The VMs as one, and the hosts that could take them now."""
    ids = frozenset(vm.id for vm in vms)
    question = Question(tuple(vms), fleet.hosts, fleet.residents(ids), fleet.blocked)
    units = units_of(question)
    loads = Loads(question, units)
    unit = units[0]
    if unit.stuck or len(units) > 1:
        return unit, []
    return unit, [fleet.hosts[host].name for host in unit.hosts if not loads.why_not(unit, host)]
