"""What the rules advise now. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from backend.model import Advice, AdvisedMove, RuleKind
from backend.plan.rules import Rule
from backend.plan.rules_balance import balance
from backend.plan.rules_consolidate import consolidate
from backend.plan.rules_held import bundles, came_from, rested, targets
from backend.plan.rules_types import LoadRound, RuleFleet
from backend.plan.rules_window import window_now


def advise(
    rules: Sequence[Rule],
    rounds: Sequence[LoadRound],
    fleet: RuleFleet,
    now: float,
    wall: datetime,
) -> tuple[Advice, ...]:
    """In the rules' order; a VM or a host that an earlier rule moves is left alone by later ones.

    `rounds`: oldest first. `now`: epoch seconds; `wall`: the same moment on the clock on the
    wall, for windows.
    """
    found: list[Advice] = []
    taken: set[str] = set()
    for rule in rules:
        for advice in _of_rule(rule, rounds, fleet, now, wall):
            touched = {advice.drain} - {""}
            for move in advice.moves:
                touched |= {move.vm, move.source, move.target}
            if not touched & taken:
                taken |= touched
                found.append(advice)
    return tuple(found)


def _of_rule(
    rule: Rule, rounds: Sequence[LoadRound], fleet: RuleFleet, now: float, wall: datetime
) -> tuple[Advice, ...]:
    if rule.kind is RuleKind.BALANCE:
        return balance(rule, rounds, fleet, now)
    if rule.kind is RuleKind.CONSOLIDATE:
        return consolidate(rule, rounds, fleet, now)
    if rule.kind is RuleKind.DRAIN:
        return tuple(_drain(rule, fleet, wall))
    return tuple(_follow(rule, fleet, now))


def _drain(rule: Rule, fleet: RuleFleet, wall: datetime) -> Iterator[Advice]:
    window = window_now(rule, wall)
    here = [vm for vm in fleet.vms if vm.host == rule.host and not vm.tags.never]
    if window is None or not here:
        return
    begins_s, ends_s = window.span_s
    if fleet.emptied.get(rule.host, 0.0) >= begins_s:
        return  # it was begun in this window, by whoever: what stayed then stays
    yield Advice(
        rule.name,
        rule.kind,
        rule.level,
        (),
        f"it is {wall:%H:%M}: {rule.host} is to be empty, from {window.begins:%H:%M} on",
        f"{len(here)} VM{'s leave' if len(here) > 1 else ' leaves'} {rule.host};"
        f" what would not end by {window.ends:%H:%M} stays",
        drain=rule.host,
        until=ends_s,
    )


def _follow(rule: Rule, fleet: RuleFleet, now: float) -> Iterator[Advice]:
    """Bundles that are not on a host they prefer, each on its own."""
    names = {room.name for room in fleet.hosts}
    rooms = {room.name: room for room in fleet.hosts}
    for vms in bundles(fleet):
        wishes = [wish for vm in vms if (wish := names & set(vm.tags.prefer))]
        wanted = set.intersection(*wishes) if wishes else set()
        home = vms[0].host
        held = any(vm.id in fleet.moving or not rested(rule, vm, fleet, now) for vm in vms)
        if not wanted or held or any(vm.host != home for vm in vms) or home in wanted:
            continue
        if rule.hosts and home not in rule.hosts:
            continue
        wanted = {
            name for name in wanted if not any(came_from(rule, vm, name, fleet, now) for vm in vms)
        }
        open_to = [name for name in targets(vms, fleet)[1] if name in wanted]
        if open_to:
            best = min(open_to, key=lambda name: (-rooms[name].memory_free_bytes, name))
            told = " and ".join(vm.name for vm in vms)
            yield Advice(
                rule.name,
                rule.kind,
                rule.level,
                tuple(AdvisedMove(vm.id, vm.name, home, best) for vm in vms),
                f"the tag of {told} prefers {', '.join(sorted(wanted))}",
                f"{told} from {home} to {best}",
            )
