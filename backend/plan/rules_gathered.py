"""From what is seen of a fleet to what its rules decide by. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import mean

from backend.model import (
    Evacuation,
    EvacuationKind,
    FleetSnapshot,
    Host,
    HostState,
    Mode,
    MoveState,
    Past,
    RuleKind,
    RuleLine,
    Vm,
    VmState,
)
from backend.plan.queue_made import need_of, room_of
from backend.plan.rules import DAYS, Rule
from backend.plan.rules_held import NEVER_BACK
from backend.plan.rules_types import HostLoad, LoadRound, PastMove, RuleFleet

KNOWN_PART = 0.5
"""Of a round's looks: a host that was seen in fewer of them has no load in it."""
Blocked = Mapping[tuple[str, str], str]


def round_of(at: float, looks: Sequence[Sequence[Host]]) -> LoadRound:
    """One round: the mean of each figure over its looks. `at`: epoch seconds of its begin."""
    names = dict.fromkeys(host.name for look in looks for host in look)
    by_host: dict[str, list[Host]] = {name: [] for name in names}
    for look in looks:
        for host in look:
            if host.state is HostState.UP:
                by_host[host.name].append(host)
    most = len(looks)
    return LoadRound(at, tuple(_load(name, seen, most) for name, seen in by_host.items()))


def _load(name: str, seen: Sequence[Host], most: int) -> HostLoad:
    def middle(figures: Iterable[float | None]) -> float | None:
        known = [figure for figure in figures if figure is not None]
        return mean(known) if known and len(known) >= KNOWN_PART * most else None

    return HostLoad(
        name,
        middle(host.cpu_percent for host in seen),
        middle(map(memory_percent, seen)),
        middle(host.pressure_percent for host in seen),
    )


def memory_percent(host: Host) -> float | None:
    """Of a host's memory that is used, caches counted as free."""
    if not host.memory_bytes or host.memory_used_bytes is None:
        return None
    return 100 * host.memory_used_bytes / host.memory_bytes


def rounds_needed(rules: Iterable[Rule]) -> int:
    """So many rounds until every rule can tell."""
    on_load = (RuleKind.BALANCE, RuleKind.CONSOLIDATE)
    return max((rule.rounds for rule in rules if rule.kind in on_load), default=0)


def past_needed_s(rules: Iterable[Rule]) -> float:
    """So far back moves matter to them."""
    return max((NEVER_BACK * rule.cooldown_s for rule in rules), default=0.0)


def past_moves(past: Iterable[Past]) -> tuple[PastMove, ...]:
    """Those between hosts, whatever came of them: one that stayed is not tried at once again."""
    return tuple(
        PastMove(one.uuid, one.source, one.target, one.ended)
        for one in past
        if one.mode is not Mode.STORAGE
    )


def emptied(runs: Iterable[Evacuation]) -> dict[str, float]:
    """Host -> epoch seconds of the begin of its newest evacuation; infinite while one is open."""
    found: dict[str, float] = {}
    for run in runs:
        since = float("inf") if run.state.open else (run.started or 0.0)
        if run.state.open or run.kind is EvacuationKind.EVACUATE:
            found[run.host] = max(since, found.get(run.host, 0.0))
    return found


def fleet_of(
    fleet: FleetSnapshot,
    moves: tuple[PastMove, ...],
    moving: frozenset[str],
    runs: Sequence[Evacuation],
    blocked: Blocked,
) -> RuleFleet:
    """`moving`: UUIDs of what this engine moves; `blocked`: (UUID, host) -> why it cannot be."""
    hosts = tuple(room_of(host, closed=_closed(host)) for host in fleet.hosts)
    vms = tuple(_whole(fleet.vms))
    jobs = {vm.uuid for vm in fleet.vms if vm.job and vm.job.kind.startswith("migration")}
    kept = dict(_kept(vms, fleet, runs))
    nowhere = {(uuid, host.name): why for uuid, why in kept.items() for host in fleet.hosts}
    return RuleFleet(
        hosts,
        tuple(map(need_of, vms)),
        {**blocked, **nowhere},
        moves,
        emptied(runs),
        moving | jobs,
    )


def _closed(host: Host) -> str:
    return "" if host.maintenance_since is None else f"{host.name} is in maintenance"


def _whole(vms: Iterable[Vm]) -> Iterator[Vm]:
    """Each VM once: where it runs, if it is defined on several hosts."""
    by_uuid: dict[str, Vm] = {}
    for vm in vms:
        known = by_uuid.get(vm.uuid)
        if known is None or (vm.state.active and not known.state.active):
            by_uuid[vm.uuid] = vm
    yield from by_uuid.values()


def _kept(
    vms: Iterable[Vm], fleet: FleetSnapshot, runs: Iterable[Evacuation]
) -> Iterator[tuple[str, str]]:
    """VMs that no rule may touch now, with the reason."""
    up = {host.name for host in fleet.hosts if host.state is HostState.UP}
    seen_on: dict[str, list[str]] = {}
    for vm in fleet.vms:
        seen_on.setdefault(vm.uuid, []).append(vm.host)
    for vm in vms:
        if len(seen_on[vm.uuid]) > 1:
            yield vm.uuid, f"it is on several hosts: {', '.join(seen_on[vm.uuid])}"
        elif vm.host not in up or vm.state is VmState.UNKNOWN:
            yield vm.uuid, f"{vm.host} does not answer"
    for run in runs:
        if run.state.open:
            for move in run.in_state(MoveState.WAITING, MoveState.MOVING):
                yield move.uuid, f"the {run.kind} of {run.host} moves it"


def rule_line(rule: Rule, opens: float | None) -> RuleLine:
    """A rule in words; `opens`: epoch seconds of its next window."""
    return RuleLine(rule.name, rule.kind, rule.level, _about(rule), opens)


def _about(rule: Rule) -> str:
    where = f" of {', '.join(rule.hosts)}" if rule.hosts else ""
    if rule.kind is RuleKind.BALANCE:
        return (
            f"{rule.measure}{where} above {rule.above_percent:g} % in {rule.rounds} rounds,"
            f" gain at least {rule.gain_percent:g} %, {rule.cooldown_s:g} s between moves of a VM"
        )
    if rule.kind is RuleKind.CONSOLIDATE:
        return (
            f"a host{where} below {rule.below_percent:g} % in {rule.rounds} rounds is emptied,"
            f" the others at most {rule.most_percent:g} % full"
        )
    if rule.kind is RuleKind.FOLLOW:
        return f"VMs{where} go to a host that their tag prefers"
    days = "every day" if len(rule.days) == len(DAYS) else ", ".join(DAYS[day] for day in rule.days)
    return f"{rule.host} is emptied {_time(rule.at_min)}–{_time(rule.until_min)}, {days}"


def _time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
