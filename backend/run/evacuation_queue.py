"""A run's state as the order looks at it, and what the order says as the run's forecast. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from backend.model import (
    Band,
    Evacuation,
    EvacuationMove,
    EvacuationState,
    Migration,
    MoveState,
    Phase,
    PhaseState,
)
from backend.plan.modes import MOVED_WHILE_OFF
from backend.plan.move_course import IDLE_START_S, LIVE_START_S
from backend.plan.queue_types import Going, LinkMap, QueuedMove, QueueState, Stage, Timeline
from backend.plan.timeline import EARLY_S

TICK_S = 2.0
"""How often a run looks by itself whether something more may start."""
SOON_S = 0.3
BYTELESS_S = 1.5
"""From the call of a running VM's migration to its first byte, on busy hosts: 1.1 to 2.2 s."""


def queue_state(
    run: Evacuation,
    queued: Mapping[str, QueuedMove],
    migrations: Mapping[str, Migration],
    links: LinkMap,
    now_s: float,
    waits: Mapping[str, tuple[str, ...]] | None = None,
) -> QueueState:
    """`queued`, `migrations`: by the VM's UUID; `now_s`: epoch seconds; `waits`: for whom each VM
    waits that was begun and does not send yet."""
    waiting = (move for move in run.moves if move.state is MoveState.WAITING)
    moving = (move for move in run.moves if move.state is MoveState.MOVING)

    def known(move: EvacuationMove) -> QueuedMove:
        limit_bytes_s = run.wish.options.bandwidth_bytes_s
        found = queued.get(move.uuid) or _bare(move)
        return replace(found, rank=move.rank, most_bytes_s=limit_bytes_s)

    return QueueState(
        waiting=tuple(known(move) for move in waiting if move.uuid in queued),
        going=tuple(
            replace(
                _going(move, known(move), migrations.get(move.uuid), now_s),
                after=(waits or {}).get(move.uuid, ()),
            )
            for move in moving
        ),
        links=links,
        fixed_cap=run.wish.fixed_cap,
        paused=run.state in (EvacuationState.PAUSED, EvacuationState.INTERRUPTED),
    )


def _bare(move: EvacuationMove) -> QueuedMove:
    """Of one whose plan an engine before this one had."""
    forecast, candidate = move.forecast, move.candidate
    return QueuedMove(
        id=move.uuid,
        vm=move.vm,
        source=move.source,
        target=move.target or "",
        disk_bytes=candidate.copied_bytes if candidate else 0,
        alone_s=forecast.total_s if forecast else None,
        runs=move.mode.copies_memory,
    )


def _going(
    move: EvacuationMove, queued: QueuedMove, migration: Migration | None, now_s: float
) -> Going:
    since_s = max(0.0, now_s - (move.began or now_s))
    if migration is None:
        return Going(queued, since_s)
    sample = migration.sample
    rate = sample.rate_bytes_s if sample is not None and sample.rate_bytes_s > 0 else None
    stage = Stage.FINISHING if _finishes(migration) else Stage.COPYING
    left = _left_s(migration)
    sooner_s = max(0.0, left - _early_s(migration, queued)) if left is not None else 0.0
    return Going(queued, since_s, stage, left, rate, sooner_s=sooner_s)


def _early_s(migration: Migration, queued: QueuedMove) -> float:
    """To its pause at the soonest. What is left of a disk may be holes, over in no time: at least
    the rest of what it takes of its storage is to be sent."""
    sample, outlook = migration.sample, migration.outlook
    if sample is None or outlook is None or outlook.left_s is None:
        return _left_s(migration) or 0.0
    if migration.phase is not Phase.DISK or sample.rate_bytes_s <= 0:
        return outlook.left_s.low
    data_bytes: float = max(0, queued.disk_bytes - sample.disk_sent_bytes)
    if queued.memory is not None:
        data_bytes += queued.memory.first_pass_bytes
    return data_bytes / sample.rate_bytes_s


def is_news(was: Migration, now: Migration) -> bool:
    """Whether more may start is to be asked anew: its link may be free. Nothing is computed while
    its VM pauses: on a busy machine that took from the hosts what makes the pause longer."""
    if (was.runs_there, _is_sent(was)) != (now.runs_there, _is_sent(now)):
        return True
    return now.phase is not was.phase and now.phase is not Phase.SWITCHOVER


def _finishes(migration: Migration) -> bool:
    """It has its pause, or has had it; or all of its disks are there."""
    after = {migration.phases.get(Phase.VERIFY)}
    if not migration.post_copy:  # which sends the most of its memory after the switchover
        after.add(migration.phases.get(Phase.SWITCHOVER))
    return bool(after & {PhaseState.ACTIVE, PhaseState.DONE}) or _is_sent(migration)


def _has_sent(migration: Migration) -> bool:
    """Its link is idle: its VM runs at the target, or its disks are there."""
    verified = migration.phases.get(Phase.VERIFY)
    begun = verified in (PhaseState.ACTIVE, PhaseState.DONE)
    return begun or migration.runs_there or _is_sent(migration)


def leaves_to(migration: Migration, live: bool) -> bool:
    """Its link may be taken by another that is ready; `live`: a running VM, whose hosts have things
    to do before its first byte, which is why it may begin while the last of a disk is sent."""
    if migration.verdict is not None or _has_sent(migration):
        return True
    if not live or migration.mode not in MOVED_WHILE_OFF:
        return False  # what hosts do to begin takes from a pause, too, where they are busy
    nearly_s = _left_s(migration)
    return nearly_s is not None and nearly_s <= BYTELESS_S


def _is_sent(migration: Migration) -> bool:
    """Of a VM that does not run: its disks are there, and are being read at both ends."""
    sample = migration.sample
    if sample is None or migration.mode not in MOVED_WHILE_OFF:
        return False
    return sample.disk_total_bytes > 0 and sample.disk_remaining_bytes <= 0


def _left_s(migration: Migration) -> float | None:
    """To its last byte on the link, or its VM's pause; None: not known."""
    sample, outlook = migration.sample, migration.outlook
    if migration.mode in MOVED_WHILE_OFF:
        if sample is None or not sample.disk_total_bytes or sample.rate_bytes_s <= 0:
            return None
        return sample.disk_remaining_bytes / sample.rate_bytes_s
    return outlook.left_s.mid if outlook is not None and outlook.left_s is not None else None


def next_look_s(run: Evacuation, migrations: Mapping[str, Migration]) -> float:
    """When to ask again what may start, if nothing happens before: sooner where a move is about to
    leave its link to the next."""
    known = (migrations.get(move.uuid) for move in run.in_state(MoveState.MOVING))
    moving = [one for one in known if one is not None and one.verdict is None]
    lefts_s = [left for one in moving if (left := _left_s(one)) is not None]
    early_s = (LIVE_START_S + EARLY_S, IDLE_START_S + EARLY_S)
    until_s = [left - early for left in lefts_s for early in early_s if left > early]
    return min(TICK_S, max(SOON_S, min(until_s, default=TICK_S)))


def foreseen(run: Evacuation, whole: Timeline, now_s: float) -> Evacuation:
    """With when each move is expected to begin and end, from the run's start."""
    since_s = max(0.0, now_s - run.started) if run.started is not None else 0.0
    slots = {slot.id: slot for slot in whole.slots}

    def timed(move: EvacuationMove) -> EvacuationMove:
        slot = slots.get(move.uuid)
        if slot is None or move.state.final:
            return move
        begins_s = round(since_s + slot.begin_s, 1)
        if move.state is MoveState.MOVING and move.began is not None and run.started is not None:
            begins_s = round(move.began - run.started, 1)
        return replace(move, begins_s=begins_s, ends_s=round(since_s + slot.end_s.mid, 1))

    total = whole.total_s if whole.slots else None
    if total is not None:
        total = Band(*(round(since_s + part, 1) for part in (total.low, total.mid, total.high)))
    return replace(run, moves=tuple(map(timed, run.moves)), total_s=total)


def in_order(moves: tuple[EvacuationMove, ...]) -> tuple[EvacuationMove, ...]:
    """As they begin; those that do not go last."""
    return tuple(
        sorted(
            moves,
            key=lambda move: (
                move.state in (MoveState.CANNOT, MoveState.LEFT_OUT),
                move.began if move.began is not None else time_of_waiting(move),
                move.vm,
            ),
        )
    )


def time_of_waiting(move: EvacuationMove) -> float:
    """Behind all that began: epoch seconds are small beside it."""
    return 1e12 + (move.begins_s if move.begins_s is not None else 1e9)
