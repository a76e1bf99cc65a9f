"""The turns of one migration's course: what its screen showed then, so that it can be played."""

from dataclasses import fields, replace
from itertools import pairwise

from backend.model import Migration, Turn

MOST_TURNS = 120
"""Beyond it those go first that only gave the same word new figures, every second one."""

_TAKEN = tuple(field.name for field in fields(Turn) if field.name != "at")
_TURNING = (
    "phases",
    "outlook",
    "hold",
    "post_copy",
    "suspended",
    "recoverable",
    "abort_asked",
    "bandwidth_bytes_s",
)
"""A change of any of these is a turn; the other fields are noted along with it."""


class Turns:
    """Remembers them; oldest first."""

    def __init__(self, known: tuple[Turn, ...] = ()) -> None:
        self._turns = known

    def follow(self, was: Migration, now: Migration, at: float) -> Migration:
        """`now`, with every turn so far where its phases changed: the state is published often,
        so turns are not put into it each time."""
        if any(getattr(was, name) != getattr(now, name) for name in _TURNING):
            self._turns = _thinned((*self._turns, _turn(now, at)))
        return replace(now, turns=self._turns) if was.phases != now.phases else now


def _turn(state: Migration, at: float) -> Turn:
    return Turn(at=at, **{name: getattr(state, name) for name in _TAKEN})


def _thinned(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if len(turns) <= MOST_TURNS:
        return turns
    kept, drop = [turns[0]], False
    for before, turn in pairwise(turns):
        drop = not drop and _says_the_same(before, turn)
        if not drop:
            kept.append(turn)
    return tuple(kept[-2 * MOST_TURNS :])


def _says_the_same(before: Turn, turn: Turn) -> bool:
    """The same word with new figures, and nothing else."""
    if before.outlook is None or turn.outlook is None:
        return False
    same = all(getattr(before, name) == getattr(turn, name) for name in _TURNING[2:])
    same = same and before.phases == turn.phases
    return same and before.outlook.word is turn.outlook.word
