"""In which order several moves go, and how many at once. Pure: state in, moves to start out.

`ordered` is asked again whenever something changed: a move ended, failed or was skipped, a
VM runs at its target, a link turned out faster or slower, and every second or two besides (a
move that is about to end lets the next one begin).
"""

from collections.abc import Iterator
from dataclasses import replace

from backend.plan.admission import Crowd, First, Gate
from backend.plan.move_course import UNDISTURBED_PART
from backend.plan.queue_types import (
    Bottleneck,
    Going,
    LinkMap,
    QueuedMove,
    QueueState,
    Slot,
    Stage,
    Start,
    Timeline,
)
from backend.plan.shares import as_measured, completed
from backend.plan.timeline import Played, in_order, play, timeline

__all__ = [
    "Bottleneck",
    "Going",
    "LinkMap",
    "QueueState",
    "QueuedMove",
    "Slot",
    "Stage",
    "Start",
    "Timeline",
    "as_measured",
    "forecast_whole",
    "next_to_start",
    "ordered",
]

CROWDS = tuple(Crowd(most, first) for most in (1, 2, 3) for first in First)
"""The most careful one first."""
FIXED = Crowd(0, First.LIGHT, fixed=True)
SHORTER_PART = 0.97
"""Links are shared more closely only where that shortens the whole so far."""


MANY = 60
"""Of a longer queue, so many decide what starts now; the whole is played in fewer ways."""


def ordered(state: QueueState) -> tuple[tuple[Start, ...], Timeline]:
    """The moves to start now, in that order (none while the queue is paused), and when each begins
    and ends if nothing unforeseen happens (a paused queue as if it went on now)."""
    gate = _gate(state)
    first, played = _best(state, gate)
    if len(state.waiting) > MANY:
        first = _soonest(state, gate)
    starts = () if state.paused else tuple(_starts(first, state, gate))
    return starts, timeline(played)


def next_to_start(state: QueueState) -> tuple[Start, ...]:
    """The first half of `ordered`."""
    return ordered(state)[0]


def forecast_whole(state: QueueState) -> Timeline:
    """The second half of `ordered`."""
    return ordered(state)[1]


def _soonest(state: QueueState, gate: Gate) -> list[Played]:
    soonest = in_order(state.waiting, gate, _crowds(state)[0])[:MANY]
    return _best(replace(state, waiting=tuple(soonest)), gate)[0]


def _gate(state: QueueState) -> Gate:
    moves = (*state.waiting, *(one.move for one in state.going))
    return Gate(completed(state.links, moves))


def _best(state: QueueState, gate: Gate) -> tuple[list[Played], list[Played]]:
    crowds = _crowds(state)
    best = play(state, gate, crowds[0])
    for crowd in crowds[1:]:
        other = play(state, gate, crowd)
        if _whole_s(other[1]) < SHORTER_PART * _whole_s(best[1]):
            best = other
    return best


def _crowds(state: QueueState) -> tuple[Crowd, ...]:
    if state.fixed_cap is not None:
        return (FIXED,)
    return CROWDS if len(state.waiting) <= MANY else CROWDS[:: len(First)]


def _whole_s(played: list[Played]) -> float:
    return max((one.end_s for one in played), default=0.0)


def _starts(first: list[Played], state: QueueState, gate: Gate) -> Iterator[Start]:
    going = [one.move for one in state.going if one.stage is Stage.COPYING]
    for one in first:
        before = [other.move for other in one.after]
        beside = [move for move in going if move not in before]
        reason = _reason(one.move, beside, before, gate, state)
        yield Start(one.move.id, reason, tuple(move.id for move in before))
        going.append(one.move)


def _reason(
    move: QueuedMove,
    beside: list[QueuedMove],
    before: list[QueuedMove],
    gate: Gate,
    state: QueueState,
) -> str:
    if state.fixed_cap is not None:
        return f"at most {state.fixed_cap} at once, whatever their links"
    ends = f"made ready now, it sends once {_names(before)} has left its link" if before else ""
    if not beside:
        return ends or f"the link from {move.source} to {move.target} is free"
    part = min(gate.parts((*beside, move)))
    if part >= UNDISTURBED_PART:
        return ends or f"its link is free beside {_names(beside)}"
    kept = f"each keeps {100 * part:.0f} % of its link"
    return f"beside {_names(beside)}: {kept}, and no pause is longer"


def _names(moves: list[QueuedMove]) -> str:
    return ", ".join(one.vm for one in moves)
