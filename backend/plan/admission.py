"""Whether one more move may start beside those that run. Pure.

Two moves that do not take from each other's link may always run at one time. Two that would
may only where neither minds: both pauses about as forecast alone, and a heavy writer nearly alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from backend.plan.move_course import (
    UNDISTURBED_PART,
    MoveCourse,
    bearable,
    costs_bytes,
    course_at,
    is_heavy,
    writes_much,
)
from backend.plan.queue_types import LinkMap, QueuedMove
from backend.plan.shares import alone_bytes_s, fair_shares

HEAVY_PART = 0.8
"""What a heavy writer keeps at least. Two ways that share nothing seemed to, by so much, when both
were probed at once on busy hosts."""


class First(Enum):
    """Which moves go before others to the same host."""

    HEAVY = auto()
    LIGHT = auto()
    TAILS = auto()
    """Those that take the longest after their last byte, while others have the link."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """How closely links are shared, and in which order."""

    most: int
    """Moves that may share what one alone would get."""
    first: First
    fixed: bool = False
    """Links are not looked at, and the order is the one given."""


@dataclass(frozen=True, slots=True)
class Alone:
    """One move, had it its links for itself."""

    rate_bytes_s: float
    course: MoveCourse
    heavy: bool
    writes_much: bool


@dataclass(slots=True)
class Gate:
    """Answers for one state of the links; remembers what it has found out of each move."""

    links: LinkMap
    """As `shares.completed` makes them."""
    _alone: dict[str, Alone] = field(default_factory=dict)

    def alone(self, move: QueuedMove) -> Alone:
        """Its rate, course and weight without others."""
        found = self._alone.get(move.id)
        if found is None:
            rate = alone_bytes_s(move, self.links)
            found = Alone(
                rate, course_at(move, rate), is_heavy(move, rate), writes_much(move, rate)
            )
            self._alone[move.id] = found
        return found

    def parts(self, moves: Sequence[QueuedMove]) -> list[float]:
        """What each keeps of what it gets alone, 0 to 1, while all are sending."""
        shares = fair_shares(moves, self.links)
        return [
            share / self.alone(move).rate_bytes_s for move, share in zip(moves, shares, strict=True)
        ]

    def may_start(self, move: QueuedMove, beside: Sequence[QueuedMove], crowd: Crowd) -> bool:
        """`beside`: the moves that are sending, or will be before this one is."""
        if not beside or crowd.fixed:
            return True
        moves = (*beside, move)
        return all(
            part >= UNDISTURBED_PART or self._bears(one, part, crowd)
            for one, part in zip(moves, self.parts(moves), strict=True)
        )

    def _bears(self, move: QueuedMove, part: float, crowd: Crowd) -> bool:
        alone = self.alone(move)
        least_part = HEAVY_PART if alone.heavy else UNDISTURBED_PART / crowd.most
        if part < least_part or crowd.most < 2:
            return False
        shared = course_at(move, part * alone.rate_bytes_s)
        if alone.heavy and costs_bytes(alone.course, shared):
            return False
        return bearable(move, alone.course, shared)
