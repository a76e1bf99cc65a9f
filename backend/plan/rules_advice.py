"""What the rules advise now. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from backend.model import Advice, AdvisedMove, RuleKind
from backend.plan.placement import place
from backend.plan.placement_types import HostRoom, Question
from backend.plan.rules import Measure, Rule
from backend.plan.rules_balance import balance
from backend.plan.rules_held import bundles, came_from, held_percent, rested, targets, unwanted
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
        return tuple(_consolidate(rule, rounds, fleet, now))[:1]
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


def _consolidate(
    rule: Rule, rounds: Sequence[LoadRound], fleet: RuleFleet, now: float
) -> Iterator[Advice]:
    """The emptiest host whose VMs all find room elsewhere."""
    if fleet.moving:
        return
    low = []
    for host in fleet.hosts:
        loads = [
            max(held, default=None) if held else None
            for measure in (Measure.CPU, Measure.MEMORY)
            for held in [held_percent(rule, host.name, measure, rounds, fleet)]
        ]
        known = [load for load in loads if load is not None]
        looked_at = not host.closed and (not rule.hosts or host.name in rule.hosts)
        if looked_at and len(known) == len(loads) and max(known) < rule.below_percent:
            low.append((max(known), host))
    for load, host in sorted(low, key=lambda one: (one[0], one[1].name)):
        moves = _emptied(rule, host, fleet, now)
        if moves:
            yield Advice(
                rule.name,
                rule.kind,
                rule.level,
                moves,
                f"{host.name} was below {rule.below_percent:.0f} % in the last {rule.rounds}"
                f" rounds, {load:.0f} % at most",
                f"{host.name} is empty; no other host is fuller than {rule.most_percent:.0f} %",
            )


def _emptied(rule: Rule, host: HostRoom, fleet: RuleFleet, now: float) -> tuple[AdvisedMove, ...]:
    here = tuple(vm for vm in fleet.vms if vm.host == host.name)
    if not here or not all(rested(rule, vm, fleet, now) for vm in here):
        return ()
    used = {vm.host for vm in fleet.vms}
    rooms = [
        room if room.name in used else replace(room, closed=f"{room.name} is empty")
        for room in fleet.hosts
        if not rule.hosts or room.name in rule.hosts
    ]
    ids = frozenset(vm.id for vm in here)
    blocked = dict(fleet.blocked)
    for vm in here:
        for room in rooms:
            if unwanted(rule, vm, room.name, fleet, now):
                blocked.setdefault((vm.id, room.name), "it would not stay there")
    reserve = 1 - rule.most_percent / 100
    found = place(Question(here, tuple(rooms), fleet.residents(ids), blocked, {}, reserve))
    moves = tuple(
        AdvisedMove(one.vm, one.name, host.name, one.host) for one in found.placed if one.host
    )
    return moves if len(moves) == len(here) and _cool(rule, moves, fleet) else ()


def _cool(rule: Rule, moves: Sequence[AdvisedMove], fleet: RuleFleet) -> bool:
    """No target's CPUs get busier than the rule allows."""
    needs = {vm.id: vm for vm in fleet.vms}
    for room in fleet.hosts:
        came = sum(needs[move.vm].cpus_used for move in moves if move.target == room.name)
        if came and room.cpus and 100 * (room.cpus_used + came) / room.cpus > rule.most_percent:
            return False
    return True


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
                f"{told} is where it should run",
            )
