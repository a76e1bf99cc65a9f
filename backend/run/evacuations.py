"""All runs of one fleet: planned, begun, found again after an engine has ended."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from backend.errors import BadInput
from backend.fleet.inventory import Inventory
from backend.model import (
    Evacuation,
    EvacuationControl,
    EvacuationKind,
    EvacuationMove,
    EvacuationNote,
    EvacuationState,
    EvacuationWish,
    Migration,
    MoveState,
)
from backend.plan.queue import forecast_whole
from backend.plan.queue_window import fitted
from backend.run.evacuation_draw import Drawn, draw
from backend.run.evacuation_kit import Hands, Kit
from backend.run.evacuation_moves import too_late
from backend.run.evacuation_queue import foreseen, in_order, queue_state
from backend.run.evacuation_run import EvacuationRun
from backend.run.evacuation_survey import EvacuationSurvey
from backend.run.evacuation_where import Where
from backend.run.evacuation_wires import Wires
from backend.run.journal import Journal
from backend.run.journal_runs import RunRows
from backend.run.maintenance import Maintenance
from backend.run.planning import SETTLE_S, Planner

log = logging.getLogger(__name__)

KEPT = 20
"""Ended runs that clients are told of."""
UNFORESEEN = "it could not go when the plan was reviewed"
NOT_KEPT = "the journal cannot be written: this run would not outlive the engine"


class Evacuations:
    """`begin` it once, `close` it once."""

    def __init__(
        self,
        hands: Hands,
        inventory: Inventory,
        planner: Planner,
        journal: Journal,
        publish: Callable[[Evacuation], None],
    ) -> None:
        self._inventory = inventory
        self._journal = journal
        self._rows = rows = RunRows(journal)
        self._maintenance = Maintenance(rows, inventory)
        self._survey = EvacuationSurvey(inventory, planner, rows)
        self._wires = Wires(inventory, planner.links)
        self._where = Where(inventory, self._survey, self._wires, journal, hands.going)
        self._kit = Kit(hands, planner.plan, self._where, rows, publish, inventory.now)
        self._runs: dict[str, EvacuationRun] = {}
        self._loading: asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    def begin(self) -> None:
        """Read what an engine before this one has left; nothing is started of it unasked."""
        self._loading = asyncio.create_task(self._load(), name="runs")
        self._finding = asyncio.create_task(self._find_again(), name="runs-found")

    async def close(self) -> None:
        """Let go: the journal has all of it."""
        begun = [task for task in (self._loading, self._finding) if task is not None]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await asyncio.gather(*(run.close() for run in self._runs.values()))

    @property
    def busy_count(self) -> int:
        """Runs that need this engine."""
        return sum(run.busy for run in self._runs.values())

    async def all(self) -> tuple[Evacuation, ...]:
        """Open ones and the newest that ended, oldest first."""
        await self._loaded()
        states = [run.state for run in self._runs.values()]
        return tuple(sorted(states, key=lambda one: one.started or one.made))

    @property
    def known(self) -> tuple[Evacuation, ...]:
        """Of what was read so far."""
        return tuple(run.state for run in self._runs.values())

    def saw(self, migration: Migration) -> None:
        """A migration of the engine began, went on or ended."""
        for run in self._runs.values():
            run.saw(migration)

    async def plan(self, wish: EvacuationWish, *, fresh: bool) -> Evacuation:
        """What it would be; changes nothing. Raises BadInput."""
        return await self._timed(*await self._planned(wish, fresh))

    async def start(self, wish: EvacuationWish) -> Evacuation:
        """Plan once more; begin it if that is what was reviewed (the wish's choices), else say
        in `changed` what differs, and begin nothing. Raises BadInput.
        """
        async with self._starting:
            await self._loaded()
            self._check_free(wish.host)
            planned, drawn = await self._planned(wish, fresh=True)
            changed = _differs(wish, planned)
            if changed:
                return replace(await self._timed(planned, drawn), changed=changed)
            if not planned.moves:
                raise BadInput(f"There is nothing to move: {_nothing(wish)}.")
            reviewed = _as_reviewed(wish, planned)
            timed = await self._timed(reviewed, drawn)
            if reviewed.in_state(MoveState.WAITING) and not timed.in_state(MoveState.WAITING):
                raise BadInput(f"Nothing of {wish.host} would end before its window does.")
            return await self._begin(timed, drawn)

    async def control(self, wanted: str, control: EvacuationControl, uuid: str | None) -> None:
        """`wanted`: a run's id, or its host's name. Raises FerryError."""
        await self._loaded()
        await self._run(wanted).control(control, uuid)

    async def set_maintenance(self, host: str, on: bool) -> None:
        """A host takes no VM from now on, or does again. Raises BadInput."""
        if not await self._maintenance.set(host, on):
            said = f"{host} is marked so in this engine only: the journal cannot be written."
            raise BadInput(said, self._journal.trouble)

    def _run(self, wanted: str) -> EvacuationRun:
        if wanted in self._runs:
            return self._runs[wanted]
        of_host = [run for run in self._runs.values() if run.state.host == wanted]
        still = [run for run in of_host if run.state.state.open]
        if not of_host:
            raise BadInput(f"There is no run {wanted!r}.", "`virt-ferry evacuations` lists them.")
        return (still or of_host)[-1]

    def _check_free(self, host: str) -> None:
        for run in self._runs.values():
            if run.state.host == host and run.state.state.open:
                raise BadInput(
                    f"A run of {host} is {run.state.state}: {run.state.kind} {run.state.id}.",
                    f"`virt-ferry evacuations` shows it; `virt-ferry evacuations resume {host}`"
                    f" goes on with it, `... abort {host}` ends it.",
                )

    async def _planned(self, wish: EvacuationWish, fresh: bool) -> tuple[Evacuation, Drawn]:
        asked_s = time.monotonic()
        considered = await self._survey.of(wish, fresh=fresh)
        drawn = replace(draw(wish, considered, self._inventory.snapshot), asked_s=asked_s)
        await self._measure(wish, drawn)
        made = self._inventory.now()
        return Evacuation(secrets.token_hex(3), wish, moves=drawn.moves, made=made), drawn

    async def _timed(self, planned: Evacuation, drawn: Drawn) -> Evacuation:
        """In order, with when each begins and ends; without what would end after the window."""
        wish, now_s = planned.wish, self._inventory.now()
        links = self._where.links(drawn.pairs, wish.options.bandwidth_bytes_s)
        state = queue_state(planned, drawn.queued, {}, links, now_s)
        if state.waiting and wish.until is not None:
            fits, whole = await asyncio.to_thread(fitted, state, wish.until - now_s)
            inside = {move.id for move in fits.waiting}
            planned = foreseen(_without_late(planned, inside, wish.until), whole, now_s)
        elif state.waiting:
            whole = await asyncio.to_thread(forecast_whole, state)
            planned = foreseen(planned, whole, now_s)
        return replace(planned, moves=in_order(planned.moves))

    async def _measure(self, wish: EvacuationWish, drawn: Drawn) -> None:
        """Several ways from one host (to one) may share its wire."""
        away = wish.kind is EvacuationKind.EVACUATE
        moves = [move for move in drawn.moves if move.uuid in drawn.queued]
        others = [(move.target or "") if away else move.source for move in moves]
        await self._wires.measure(wish.host, others, outward=away)

    async def _begin(self, planned: Evacuation, drawn: Drawn) -> Evacuation:
        now_s = self._inventory.now()
        evacuates = planned.kind is EvacuationKind.EVACUATE
        kept = True
        if planned.wish.maintenance:
            kept = await self._maintenance.set(planned.host, evacuates)
        state = replace(planned, state=EvacuationState.RUNNING, started=now_s)
        state = replace(state, moves=tuple(map(_slim, state.moves)))
        kept = await self._rows.keep(state) and kept
        if not kept:
            state = replace(state, notes=(EvacuationNote(now_s, NOT_KEPT),))
        run = EvacuationRun(state, self._kit)
        self._remember(run)
        self._kit.publish(state)
        run.begin(drawn)
        return run.state

    def _remember(self, run: EvacuationRun) -> None:
        self._runs[run.state.id] = run
        ended = [key for key, one in self._runs.items() if not one.state.state.open]
        for key in ended[:-KEPT]:
            del self._runs[key]

    # -- after an engine has ended -------------------------------------------------------------

    async def _loaded(self) -> None:
        if self._loading is not None:
            await asyncio.wait({self._loading}, timeout=SETTLE_S)

    async def _load(self) -> None:
        await self._maintenance.load()
        for state in (await self._rows.runs())[-KEPT:]:
            if state.state.open:
                state = replace(state, state=EvacuationState.INTERRUPTED)
            self._runs.setdefault(state.id, EvacuationRun(state, self._kit))
            self._kit.publish(state)

    async def _find_again(self) -> None:
        """What moved while nobody looked is judged; nothing is started."""
        await self._loaded()
        left = [run for run in self._runs.values() if _interrupted(run.state)]
        if left:
            await self._inventory.settled(SETTLE_S)
        for run in left:
            if _interrupted(run.state):
                await run.find_again()


def _interrupted(state: Evacuation) -> bool:
    return state.state is EvacuationState.INTERRUPTED


def _slim(move: EvacuationMove) -> EvacuationMove:
    """Without the targets that were not chosen: a run is told every few seconds."""
    chosen = move.candidate
    return replace(move, candidates=(chosen,) if chosen else ())


def _as_reviewed(wish: EvacuationWish, planned: Evacuation) -> Evacuation:
    """Who was not to go when it was reviewed does not go now."""
    if not wish.choices:
        return planned
    to_go = {one.uuid for one in wish.choices if one.target and not one.leave}
    moves = tuple(
        replace(move, state=MoveState.LEFT_OUT, reason=_unforeseen(move, planned), target=None)
        if move.state is MoveState.WAITING and move.uuid not in to_go
        else move
        for move in planned.moves
    )
    return replace(planned, moves=moves)


def _unforeseen(move: EvacuationMove, planned: Evacuation) -> str:
    until, total_s = planned.wish.until, move.forecast.total_s if move.forecast else None
    if until is not None and (total_s is None or planned.made + total_s.high > until):
        return too_late(move, until)
    return UNFORESEEN


def _without_late(planned: Evacuation, inside: Collection[str], until: float) -> Evacuation:
    """What would not end inside the window does not go."""
    moves = tuple(
        replace(move, state=MoveState.LEFT_OUT, reason=too_late(move, until), target=None)
        if move.state is MoveState.WAITING and move.uuid not in inside
        else move
        for move in planned.moves
    )
    return replace(planned, moves=moves)


def _differs(wish: EvacuationWish, planned: Evacuation) -> str:
    """What is not as the choices say, as a sentence; empty where all is."""
    if not wish.choices:
        return ""
    chosen = {one.uuid: one for one in wish.choices}
    said = [
        f"{move.vm} has come to {wish.host}" for move in planned.moves if move.uuid not in chosen
    ]
    for uuid, choice in chosen.items():
        move = planned.move_of(uuid)
        if choice.leave or choice.target is None:
            continue
        if move is None:
            said.append(f"a VM that was to go to {choice.target} is not on {wish.host} any more")
        elif move.state is not MoveState.WAITING or move.target != choice.target:
            said.append(f"{move.vm} cannot go to {choice.target} now: {move.reason}")
    return "; ".join(said)


def _nothing(wish: EvacuationWish) -> str:
    if wish.kind is EvacuationKind.EVACUATE:
        return f"{wish.host} has no VMs"
    return f"no VM left {wish.host} in an evacuation and is still away"
