"""How a run's moves are begun: planned shortly before their turn, so that no link waits for it."""

import asyncio
import logging
import time
from dataclasses import dataclass, replace

from backend.errors import FerryError
from backend.model import Evacuation, EvacuationMove, Migration, Mode, MoveOptions, MoveState, Plan
from backend.plan.queue_types import Timeline
from backend.run.evacuation_kit import Kit
from backend.run.together import Planned

log = logging.getLogger(__name__)

AHEAD_S = 8.0
"""What is expected to begin within so long is planned now. On hosts that are busy with the moves
before it a plan takes 2 to 8 s."""
FRESH_S = 20.0
"""A plan that is older is made anew."""


@dataclass(frozen=True, slots=True)
class _Ready:
    planned: tuple[Planned, ...]
    options: MoveOptions
    at_s: float
    """By `time.monotonic()`, before anything was asked."""


class Starts:
    """Of one run: `ahead` whenever its order was computed, `begin` when it is a move's turn."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._ready: dict[str, _Ready] = {}
        self._planning: tuple[str, asyncio.Task[None]] | None = None

    async def planned(self) -> None:
        """Returns when nothing is being planned."""
        if self._planning is not None:
            await asyncio.wait({self._planning[1]})

    async def close(self) -> None:
        """Nothing is planned any more."""
        if self._planning is not None:
            self._planning[1].cancel()
            await asyncio.gather(self._planning[1], return_exceptions=True)

    def ahead(self, run: Evacuation, whole: Timeline) -> None:
        """Plan the next one that is to begin soon, one at a time; it changes nothing. A fixed cap
        knows of no next one."""
        if run.wish.fixed_cap is not None or (self._planning and not self._planning[1].done()):
            return
        for slot in whole.slots:
            move = run.move_of(slot.id)
            if slot.begin_s > AHEAD_S or move is None or move.state is not MoveState.WAITING:
                continue
            if not self._is_fresh(move.uuid):
                name = f"ahead-{move.uuid}"
                work = asyncio.create_task(self._plan(move, _options(run, move)), name=name)
                self._planning = move.uuid, work
                return

    async def begin(
        self, run: Evacuation, move: EvacuationMove
    ) -> tuple[tuple[Plan, ...], tuple[Migration, ...]]:
        """As `Hands.start` of this one. Raises FerryError."""
        if self._planning is not None and self._planning[0] == move.uuid:
            await self.planned()
        options = _options(run, move)
        return await self._kit.hands.start(
            _named(move), move.target, options, self._take(move, options)
        )

    def _is_fresh(self, uuid: str) -> bool:
        found = self._ready.get(uuid)
        return found is not None and time.monotonic() - found.at_s < FRESH_S

    def _take(self, move: EvacuationMove, options: MoveOptions) -> tuple[Planned, ...]:
        """What was planned for it, if nothing is known to have changed since; else none."""
        fresh = self._is_fresh(move.uuid)
        found = self._ready.pop(move.uuid, None)
        if found is None or not fresh or found.options != options:
            return ()
        good = all(
            one.plan.target == move.target and self._kit.where.is_as_planned(one)
            for one in found.planned
        )
        return found.planned if good else ()

    async def _plan(self, move: EvacuationMove, options: MoveOptions) -> None:
        begun_s = time.monotonic()
        try:
            planned = await self._kit.plan(_named(move), move.target, options)
        except FerryError:
            return  # its start will meet the same, and tells it
        except Exception:
            log.exception("planning the move of %s ahead", move.uuid)
            return
        self._ready[move.uuid] = _Ready(planned, options, begun_s)


def _named(move: EvacuationMove) -> tuple[str, ...]:
    return (f"{move.source}/{move.uuid}",)


def _options(run: Evacuation, move: EvacuationMove) -> MoveOptions:
    candidate, wish = move.candidate, run.wish.options
    return replace(
        wish,
        mode=move.mode if move.mode is Mode.RESTART else None,
        disks=(*wish.disks, *(candidate.disks if candidate else ())),
    )
