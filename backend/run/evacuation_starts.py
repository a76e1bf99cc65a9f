"""How a run's moves are begun: planned shortly before their turn, so that no link waits for it."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from backend.errors import FerryError
from backend.model import Evacuation, EvacuationMove, Migration, Mode, MoveOptions, MoveState, Plan
from backend.plan.queue_types import LinkMap, Slot, Timeline
from backend.run.evacuation_draw import Drawn
from backend.run.evacuation_kit import Kit
from backend.run.evacuation_queue import leaves_to
from backend.run.link_wait import LinkWait
from backend.run.together import Planned

log = logging.getLogger(__name__)

AHEAD_S = 8.0
"""What is expected to begin within so long is planned now. On hosts that are busy with the moves
before it a plan takes 2 to 8 s."""
FRESH_S = 30.0
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
        self._sharing: dict[str, int] = {}
        self._planning: tuple[str, asyncio.Task[None]] | None = None
        self._waits: dict[str, LinkWait] = {}
        """Of those that were begun before their links were free."""

    async def planned(self) -> None:
        """Returns when nothing is being planned."""
        if self._planning is not None:
            await asyncio.wait({self._planning[1]})

    async def close(self) -> None:
        """Nothing is planned any more."""
        if self._planning is not None:
            self._planning[1].cancel()
            await asyncio.gather(self._planning[1], return_exceptions=True)

    def know(self, run: Evacuation, drawn: Drawn) -> None:
        """Plans of this moment, made for the run itself; a fixed cap has none ready."""
        if run.wish.fixed_cap is not None:
            return
        for move in run.in_state(MoveState.WAITING):
            if (planned := drawn.plans.get(move.uuid)) is not None:
                options = _options(run, move)
                self._ready[move.uuid] = _Ready((planned,), options, drawn.asked_s)

    def ahead(self, run: Evacuation, whole: Timeline, links: LinkMap) -> None:
        """Plan the next one that is to begin soon, one at a time; it changes nothing. `links`: what
        its order was computed with. A fixed cap knows of no next one."""
        if run.wish.fixed_cap is not None:
            return
        slots = {slot.id: slot for slot in whole.slots}
        for move in run.in_state(MoveState.WAITING):
            if move.uuid in slots:
                self._sharing[move.uuid] = sharing_of(slots[move.uuid], links, move)
        if self._planning is None or self._planning[1].done():
            self._plan_next(run, whole)

    def _plan_next(self, run: Evacuation, whole: Timeline) -> None:
        for slot in whole.slots:
            move = run.move_of(slot.id)
            if slot.begin_s > AHEAD_S or move is None or move.state is not MoveState.WAITING:
                continue
            if not self._is_fresh(move.uuid, slot.begin_s):
                plan = self._plan(move, _options(run, move))
                work = asyncio.create_task(plan, name=f"ahead-{move.uuid}")
                self._planning = move.uuid, work
                return

    def look(self, run: Evacuation, migrations: Mapping[str, Migration]) -> None:
        """Whoever waits for a link hears whether it is free. `migrations`: by the VM's UUID."""
        for uuid, wait in tuple(self._waits.items()):
            move = run.move_of(uuid)
            live = move is not None and move.mode.copies_memory
            moving = (one.uuid for one in run.in_state(MoveState.MOVING))
            known = ((one, migrations.get(one)) for one in moving)
            wait.left_to([one for one, its in known if its is None or not leaves_to(its, live)])
            if not wait.ahead:
                del self._waits[uuid]

    @property
    def waits(self) -> dict[str, tuple[str, ...]]:
        """UUID -> for whom it waits, of those that were begun and may not send yet."""
        return {uuid: wait.ahead for uuid, wait in self._waits.items()}

    async def begin(
        self, run: Evacuation, move: EvacuationMove, after: tuple[str, ...] = ()
    ) -> tuple[tuple[Plan, ...], tuple[Migration, ...]]:
        """As `Hands.start` of this one; it sends when `after` (UUIDs) have left its link. Raises
        FerryError."""
        wait = self._wait_of(run, move, after)
        if self._planning is not None and self._planning[0] == move.uuid:
            await self.planned()
        options = _options(run, move)
        ready = self._take(move, options) or await self._planned_now(move, options)
        return await self._kit.hands.start(_named(move), move.target, options, ready, wait)

    def _wait_of(
        self, run: Evacuation, move: EvacuationMove, after: tuple[str, ...]
    ) -> LinkWait | None:
        names = {one.uuid: one.vm for one in run.in_state(MoveState.MOVING) if one.uuid in after}
        if not names:
            return None
        self._waits[move.uuid] = wait = LinkWait(names)
        return wait

    async def _planned_now(self, move: EvacuationMove, options: MoveOptions) -> tuple[Planned, ...]:
        sharing = self._sharing.get(move.uuid)
        return await self._kit.plan(_named(move), move.target, options, sharing=sharing)

    def _is_fresh(self, uuid: str, in_s: float = 0.0) -> bool:
        """What was planned for it will be so, too, `in_s` from now."""
        found = self._ready.get(uuid)
        return found is not None and time.monotonic() + in_s - found.at_s < FRESH_S

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
            planned = await self._planned_now(move, options)
        except FerryError:
            return  # its start will meet the same, and tells it
        except Exception:
            log.exception("planning the move of %s ahead", move.uuid)
            return
        self._ready[move.uuid] = _Ready(planned, options, begun_s)


def sharing_of(slot: Slot, links: LinkMap, move: EvacuationMove) -> int:
    """With how many others it shares what it would get alone, by its order: what runs on its link
    now may have left it by then."""
    alone_bytes_s = links.pairs.get((move.source, move.target or ""))
    if alone_bytes_s is None or slot.rate_bytes_s <= 0:
        return 0
    return max(0, round(alone_bytes_s / slot.rate_bytes_s) - 1)


def _named(move: EvacuationMove) -> tuple[str, ...]:
    return (f"{move.source}/{move.uuid}",)


def _options(run: Evacuation, move: EvacuationMove) -> MoveOptions:
    candidate, wish = move.candidate, run.wish.options
    return replace(
        wish,
        mode=move.mode if move.mode is Mode.RESTART else None,
        disks=(*wish.disks, *(candidate.disks if candidate else ())),
    )
