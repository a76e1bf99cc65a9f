"""Which moves of a queue end inside a window with a hard end. Pure; seconds from now."""

from dataclasses import replace

from backend.model import Band
from backend.plan.queue import forecast_whole
from backend.plan.queue_types import QueueState, Slot, Timeline

PLAYED_AT_MOST = 40
"""Times that a queue is played: of one with more late moves, all that are late stay."""


def ends_inside(slot: Slot, alone_s: Band | None, left_s: float) -> bool:
    """Its late end lies before the window's: by the order, and by its own plan's forecast; of one
    that has none nothing is promised."""
    if alone_s is None:
        return False
    return max(slot.end_s.high, max(0.0, slot.begin_s) + alone_s.high) <= left_s


def fitted(state: QueueState, left_s: float) -> tuple[QueueState, Timeline]:
    """The queue without what would not end inside, and how that goes.

    The first that is late is taken out, and the rest looked at again: what waited behind it may
    now end in time.
    """
    for turn in range(PLAYED_AT_MOST):
        whole = forecast_whole(state)
        late = _late(state, whole, left_s)
        if not late:
            return state, whole
        out = set(late if turn == PLAYED_AT_MOST - 1 else late[:1])
        state = replace(state, waiting=tuple(one for one in state.waiting if one.id not in out))
    return state, forecast_whole(state)


def _late(state: QueueState, whole: Timeline, left_s: float) -> list[str]:
    """In the order of their begin."""
    waiting = {move.id: move for move in state.waiting}
    return [
        slot.id
        for slot in whole.slots
        if slot.id in waiting and not ends_inside(slot, waiting[slot.id].alone_s, left_s)
    ]
