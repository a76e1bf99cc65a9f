"""What is said of one move of a run, and of the run's end. Pure."""

import time
from dataclasses import replace

from backend.model import (
    Evacuation,
    EvacuationKind,
    EvacuationMove,
    Migration,
    MoveState,
    Outcome,
    Plan,
)
from backend.run.evacuation_draw import refusal

_STATES = {Outcome.MOVED: MoveState.MOVED, Outcome.STAYED: MoveState.STAYED}


def judged(move: EvacuationMove, migration: Migration) -> EvacuationMove:
    """The move as its newest migration says. One that is tried again goes on."""
    verdict = migration.verdict
    if verdict is None:
        return replace(move, state=MoveState.MOVING, began=migration.started, ended=None)
    if verdict.outcome is Outcome.STAYED and verdict.again:
        return replace(move, state=MoveState.MOVING, reason=f"tried again: {verdict.reason}")
    return replace(
        move,
        state=_STATES.get(verdict.outcome, MoveState.NEEDS_YOU),
        reason=verdict.reason,
        began=migration.started,
        ended=migration.started + verdict.wall_s,
        pause_ms=verdict.pause_ms,
        outage_ms=verdict.outage_ms,
        sent_bytes=verdict.sent_bytes,
        kept=verdict.kept,
        leftovers=verdict.leftovers,
    )


def ended_sentence(move: EvacuationMove) -> str:
    """`web-1 is on kvm-b now`; why, where it is not."""
    if move.state is MoveState.MOVED:
        return f"{move.vm} is on {move.target} now"
    if move.state is MoveState.NEEDS_YOU:
        return f"{move.vm} needs you: {move.reason}"
    if move.state is MoveState.STAYED:
        return f"{move.vm} stays on {move.source}: {move.reason}"
    return f"{move.vm} is not moved: {move.reason}"


def summary(run: Evacuation) -> str:
    """The last note."""
    moved = len(run.in_state(MoveState.MOVED))
    left = [move.vm for move in run.moves if move.state is not MoveState.MOVED]
    said = f"{moved} of {len(run.moves)} moved"
    if left:
        said += f"; not moved: {', '.join(left)}"
    if run.kind is EvacuationKind.EVACUATE and run.wish.maintenance:
        said += (
            f". {run.host} is in maintenance and takes no VM until its VMs return"
            f" (virt-ferry return {run.host}) or `virt-ferry maintenance {run.host} off`"
        )
    return said


def too_late(move: EvacuationMove, until: float) -> str:
    """Why it is not begun; `until` in epoch seconds."""
    end = time.strftime("%H:%M", time.localtime(until))
    if move.forecast is None or move.forecast.total_s is None:
        return f"it is not known how long it takes, and the window ends at {end}"
    return f"it would not end before {end}, when the window ends"


def refusal_of(plan: Plan) -> str:
    """Why a plan that was good once is not any more."""
    return refusal(plan) or "it is not said why"
