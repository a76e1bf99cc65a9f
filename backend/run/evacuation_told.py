"""One run's state, and telling clients of it."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.model import Evacuation, EvacuationMove, EvacuationNote, Now
from backend.run.evacuation_queue import in_order

log = logging.getLogger(__name__)

TELL_S = 5.0
"""How often a forecast alone is told to clients."""
MOST_NOTES = 400
"""Kept of a run."""


class ToldRun:
    """Every change goes through here."""

    def __init__(self, state: Evacuation, publish: Callable[[Evacuation], None], now: Now) -> None:
        self.state = state
        self._publish = publish
        self._now = now
        self._told_at = 0.0

    def update(self, **fields: Any) -> None:
        """Other values for some of its fields."""
        self.state = replace(self.state, **fields)

    def set(self, move: EvacuationMove) -> None:
        """One move as it is now."""
        moves = tuple(move if one.uuid == move.uuid else one for one in self.state.moves)
        self.update(moves=moves)

    def take_times(self, foreseen: Evacuation) -> None:
        """Times and total; all else may have gone on while they were computed."""
        times = {one.uuid: one for one in foreseen.moves}
        kept = tuple(
            replace(one, begins_s=times[one.uuid].begins_s, ends_s=times[one.uuid].ends_s)
            for one in self.state.moves
        )
        self.update(moves=in_order(kept), total_s=foreseen.total_s)

    def note(self, sentence: str, by: str = "engine") -> None:
        """Something decided or done; clients hear of it next."""
        log.info("run %s: %s", self.state.id, sentence)
        note = EvacuationNote(self._now(), sentence, by)
        self.update(notes=(*self.state.notes[-MOST_NOTES:], note))
        self.hurry()

    def hurry(self) -> None:
        """Tell it at the next occasion, whatever the pace."""
        self._told_at = 0.0

    def tell(self) -> None:
        """News at once; a forecast that moved, now and then."""
        now = time.monotonic()
        if now - self._told_at >= TELL_S or not self.state.state.open:
            self._told_at = now
            self._publish(self.state)
