"""From what was found of every VM to the run as it would be: who, where, how. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from backend.model import (
    Candidate,
    DiskAction,
    EvacuationChoice,
    EvacuationMove,
    EvacuationWish,
    FleetSnapshot,
    Mode,
    MoveState,
    Plan,
    Severity,
    Way,
)
from backend.plan.placement import Placement, Question, VmNeed, place
from backend.plan.queue_made import (
    blocked_by,
    move_of,
    need_of,
    pool_needs_by,
    pools_by,
    residents_of,
    room_of,
)
from backend.plan.queue_types import QueuedMove
from backend.run.evacuation_survey import Considered, names_for, plans_in
from backend.run.ordering import copied_bytes
from backend.run.together import Planned

AS_ASKED = "left out, as asked"
NO_HOST = "there is no other host"


@dataclass(frozen=True, slots=True)
class Drawn:
    """The moves, and what their order is computed from."""

    moves: tuple[EvacuationMove, ...]
    queued: Mapping[str, QueuedMove]
    """By UUID: those that are to go."""
    pairs: Mapping[tuple[str, str], float]
    """(source, target): bytes/s, as the plans know it."""
    plans: Mapping[str, Planned] = field(default_factory=dict)
    """By UUID: of those that are to go, to their targets."""
    asked_s: float = 0.0
    """`time.monotonic()` before the hosts were asked."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """One VM with the plans that count for it."""

    considered: Considered
    choice: EvacuationChoice
    plans: Sequence[Planned]
    move: EvacuationMove
    """Without a target."""

    @property
    def placeable(self) -> bool:
        return self.move.state is MoveState.WAITING


def draw(wish: EvacuationWish, considered: Sequence[Considered], fleet: FleetSnapshot) -> Drawn:
    """Sort out what can go, place it, and say why of each."""
    choices = {one.uuid: one for one in wish.choices}
    sorted_out = [
        _sorted(one, choices.get(one.vm.uuid, EvacuationChoice(one.vm.uuid))) for one in considered
    ]
    goes = [one for one in sorted_out if one.placeable]
    placement = place(_question(goes, fleet))
    moves, plans, pairs = [], {}, {}
    for one in sorted_out:
        move = _placed(one, placement) if one.placeable else one.move
        moves.append(move)
        chosen = _plan_to(one, move.target)
        if move.state is MoveState.WAITING and chosen is not None:
            plans[move.uuid] = chosen
    for one in sorted_out:
        for planned in one.considered.planned:
            if planned.prior.link_bytes_s:
                pairs[planned.plan.source, planned.plan.target] = planned.prior.link_bytes_s
    queued = {uuid: queued_move(chosen) for uuid, chosen in plans.items()}
    return Drawn(tuple(moves), queued, pairs, plans)


def queued_move(planned: Planned) -> QueuedMove:
    """As the order looks at it."""
    return move_of(planned.plan, planned.prior, copied_bytes(planned.plan.disks))


# -- sorting out -------------------------------------------------------------------------------


def _sorted(considered: Considered, choice: EvacuationChoice) -> _Sorted:
    """By what its plans say, and what was chosen for it."""
    as_it_is = plans_in(considered, (Mode.LIVE, Mode.COLD))
    restart = plans_in(considered, (Mode.RESTART,))
    goes = any(not one.plan.blocked for one in as_it_is)
    restarts = any(not one.plan.blocked for one in restart)
    wants_restart = choice.mode is Mode.RESTART or (
        choice.mode is None and not goes and restarts and _left_by_restart(considered)
    )
    plans = restart if wants_restart else as_it_is
    move = _bare(considered, plans)
    if choice.leave:
        move = replace(move, state=MoveState.LEFT_OUT, reason=AS_ASKED)
    elif not any(not one.plan.blocked for one in plans):
        move = _cannot(move, plans, considered, restarts and not wants_restart)
    return _Sorted(considered, choice, plans, move)


def _left_by_restart(considered: Considered) -> bool:
    return considered.away is not None and considered.away.mode is Mode.RESTART


def _bare(considered: Considered, plans: Sequence[Planned]) -> EvacuationMove:
    vm = considered.vm
    possible = next((one.plan for one in plans if not one.plan.blocked), None)
    shown = possible or next((one.plan for one in plans), None)
    return EvacuationMove(
        vm=vm.name,
        uuid=vm.uuid,
        source=vm.host,
        way=_way(possible) if possible else Way.CANNOT,
        mode=shown.mode if shown else Mode.LIVE,
        candidates=tuple(_candidate(considered, one) for one in considered.planned),
        memory_bytes=vm.memory_bytes,
    )


def _way(plan: Plan) -> Way:
    if plan.mode is Mode.COLD:
        return Way.COLD
    if plan.mode is Mode.RESTART:
        return Way.RESTART
    copies = any(move.action is DiskAction.COPY for move in plan.disks)
    return Way.LIVE_WITH_DISKS if copies else Way.LIVE


def _cannot(
    move: EvacuationMove, plans: Sequence[Planned], considered: Considered, restart: bool
) -> EvacuationMove:
    why = considered.failed or why_not([one.plan for one in plans]) or NO_HOST
    if restart:
        said = f"it cannot go live ({why}), but by a restart, if that is chosen for it"
        return replace(move, way=Way.RESTART, state=MoveState.LEFT_OUT, reason=said)
    return replace(move, way=Way.CANNOT, state=MoveState.CANNOT, reason=why)


def why_not(plans: Sequence[Plan]) -> str:
    """What forbids all of them: once, where it is the same everywhere."""
    by_target = {plan.target: refusal(plan) for plan in plans if plan.blocked}
    said = set(by_target.values())
    if len(said) == 1:
        return said.pop()
    return "; ".join(f"{target}: {why}" for target, why in by_target.items())


def refusal(plan: Plan) -> str:
    """The first finding that forbids it, with its remedy; empty where none does."""
    blocks = (one for one in plan.findings if one.severity is Severity.BLOCK)
    first = next(blocks, None)
    if first is None:
        return ""
    remedy = f" ({first.remedy.rstrip('.')})" if first.remedy else ""
    return f"{first.sentence.rstrip('.')}{remedy}"


def _candidate(considered: Considered, planned: Planned) -> Candidate:
    plan = planned.plan
    return Candidate(
        target=plan.target,
        mode=plan.mode,
        refused=refusal(plan),
        fit=plan.fit,
        forecast=plan.forecast,
        copied_bytes=copied_bytes(plan.disks),
        link_bytes_s=planned.prior.link_bytes_s,
        disks=names_for(considered, plan.target, plan.mode),
        policy=plan.policy.name,
        pause_limit_ms=plan.policy.pause_ms,
        summary=plan.summary,
        warnings=tuple(one.sentence for one in plan.findings if one.severity is Severity.WARN),
    )


# -- placing -----------------------------------------------------------------------------------


def _question(goes: Sequence[_Sorted], fleet: FleetSnapshot) -> Question:
    plans = [planned.plan for one in goes for planned in one.plans]
    free = {plan.target: plan.free_bytes for plan in plans}
    pools = pools_by(plans)
    blocked = blocked_by(plans) | {
        key: why for one in goes for key, why in _not_wanted(one, fleet).items()
    }
    needs = tuple(_need(one) for one in goes)
    return Question(
        vms=needs,
        hosts=tuple(
            room_of(host, free.get(host.name), pools.get(host.name)) for host in fleet.hosts
        ),
        residents=residents_of(fleet.vms, needs),
        blocked=blocked,
        pool_needs=pool_needs_by(plans),
    )


def _need(one: _Sorted) -> VmNeed:
    possible = [planned for planned in one.plans if not planned.plan.blocked]
    sent = max((_sent(planned.plan) for planned in possible), default=0)
    needed = max((planned.needed_bytes for planned in possible), default=0)
    return need_of(one.considered.vm, needed, sent)


def _sent(plan: Plan) -> int:
    memory = plan.forecast.sent_bytes if plan.forecast else None
    return (memory or 0) + copied_bytes(plan.disks)


def _not_wanted(one: _Sorted, fleet: FleetSnapshot) -> dict[tuple[str, str], str]:
    """Hosts it was not planned to, and those that the operator did not choose for it."""
    uuid, chosen = one.considered.vm.uuid, one.choice.target
    planned = {planned.plan.target for planned in one.plans}
    return {
        (uuid, host.name): f"not {chosen}, which was chosen" if chosen else "not asked"
        for host in fleet.hosts
        if host.name not in planned or (chosen is not None and host.name != chosen)
    }


def _placed(one: _Sorted, placement: Placement) -> EvacuationMove:
    found = next(p for p in placement.placed if p.vm == one.considered.vm.uuid)
    if found.host is None:
        return replace(one.move, way=Way.CANNOT, state=MoveState.CANNOT, reason=found.reason)
    plan = _plan_to(one, found.host)
    way = _way(plan.plan) if plan else one.move.way
    mode = plan.plan.mode if plan else one.move.mode
    return replace(one.move, target=found.host, way=way, mode=mode, reason=found.reason)


def _plan_to(one: _Sorted, target: str | None) -> Planned | None:
    return next((planned for planned in one.plans if planned.plan.target == target), None)
