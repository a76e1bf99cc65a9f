"""Whether one more move may start beside those that run. Pure.

Two moves that do not take from each other's link may always run at one time. Two that would
may only where neither minds: no heavy writer among them, and both pauses about as forecast alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.plan.move_course import UNDISTURBED_PART, bearable, course_at, is_heavy
from backend.plan.queue_types import LinkMap, QueuedMove
from backend.plan.shares import alone_bytes_s, fair_shares


@dataclass(frozen=True, slots=True)
class Crowd:
    """How closely links are shared."""

    most: int
    """Moves that may share what one alone would get."""
    heavy_first: bool


def undisturbed(
    move: QueuedMove, beside: Sequence[QueuedMove], links: LinkMap
) -> tuple[bool, float]:
    """Whether all keep about what they get alone, and the least part that one of them keeps."""
    moves = (*beside, move)
    pairs = [(one.source, one.target) for one in moves]
    parts = [
        share / alone_bytes_s(pair, links)
        for pair, share in zip(pairs, fair_shares(pairs, links), strict=True)
    ]
    return min(parts) >= UNDISTURBED_PART, min(parts)


def may_start(move: QueuedMove, beside: Sequence[QueuedMove], links: LinkMap, crowd: Crowd) -> bool:
    """`beside`: the moves that are sending, or will be before this one is."""
    if not beside:
        return True
    moves = (*beside, move)
    pairs = [(one.source, one.target) for one in moves]
    for one, pair, share in zip(moves, pairs, fair_shares(pairs, links), strict=True):
        alone = alone_bytes_s(pair, links)
        if share >= UNDISTURBED_PART * alone:
            continue
        if share < UNDISTURBED_PART * alone / crowd.most or is_heavy(one, alone):
            return False
        if not bearable(one, course_at(one, alone), course_at(one, share)):
            return False
    return True
