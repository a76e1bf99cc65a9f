"""One run: starts what may start, hears how each ends, goes on until nothing is left to do.

All of it stands in one `Evacuation`, kept in the journal before and after each start: an engine
that dies leaves a run that the next one can go on with. What moves is a migration of the engine
like any other; the run only knows its id.
"""

import asyncio
import logging
from dataclasses import replace

from backend.errors import BadInput, FerryError
from backend.model import (
    Evacuation,
    EvacuationControl,
    EvacuationKind,
    EvacuationMove,
    EvacuationState,
    Migration,
    MoveState,
    Plan,
)
from backend.plan.queue import ordered
from backend.plan.queue_types import QueuedMove, Start, Timeline
from backend.plan.queue_window import ends_inside
from backend.run import evacuation_moves as moves
from backend.run.evacuation_controls import RunControls
from backend.run.evacuation_draw import Drawn
from backend.run.evacuation_flows import Flows
from backend.run.evacuation_kit import Kit
from backend.run.evacuation_queue import foreseen, is_news, next_look_s, queue_state
from backend.run.evacuation_starts import Starts
from backend.run.evacuation_told import ToldRun
from backend.run.journal_runs import Away

log = logging.getLogger(__name__)


class EvacuationRun:
    """`begin` it, or `find_again` what an engine before has left; `control` it; `close` it."""

    def __init__(self, state: Evacuation, kit: Kit) -> None:
        self._told = ToldRun(state, kit.publish, kit.now)
        self._kit = kit
        self._controls = RunControls(self._told, kit)
        self._queued: dict[str, QueuedMove] = {}
        self._pairs: dict[tuple[str, str], float] = {}
        self._flows = Flows()
        self._begins = Starts(kit)
        self._migrations: dict[str, Migration] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._starts: set[asyncio.Task[None]] = set()
        self._elsewhere: dict[str, int] = {}
        self._beginning: set[str] = set()
        """UUIDs of those that are planned once more before their start."""
        left = state.state is EvacuationState.INTERRUPTED
        self._inherited = {one.uuid for one in state.in_state(MoveState.MOVING) if left}
        """Of those that moved when the engine before this one ended."""

    def begin(self, drawn: Drawn) -> None:
        """From now on it starts moves; the first by the plans that it was just made of."""
        self._queued, self._pairs = dict(drawn.queued), dict(drawn.pairs)
        self._begins.know(self.state, drawn)
        self._keep_living()

    async def close(self) -> None:
        """Let go: what moves goes on, and the journal has the rest."""
        tasks = [*self._starts, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._begins.close(), return_exceptions=True)

    @property
    def state(self) -> Evacuation:
        """All about it."""
        return self._told.state

    @property
    def busy(self) -> bool:
        """It needs this engine."""
        return self.state.state is EvacuationState.RUNNING

    # -- what happens to it --------------------------------------------------------------------

    def saw(self, migration: Migration) -> None:
        """A migration of the engine began, went on or ended."""
        move = self.state.move_of(migration.uuid)
        if move is None or not self._is_ours(move, migration):
            return
        if move.state is MoveState.WAITING or move.uuid in self._beginning:
            return  # of an attempt before the one to come
        if migration.id not in move.ids:
            move = replace(move, ids=(*move.ids, migration.id), state=MoveState.MOVING)
            self._told.set(move)
        if migration.id == move.id:
            was = self._migrations.get(move.uuid)
            self._migrations[move.uuid] = migration
            if was is None or is_news(was, migration):
                self._changed.set()
            self._judge(move, migration)
            self._begins.look(self.state, self._migrations)

    def _is_ours(self, move: EvacuationMove, migration: Migration) -> bool:
        """Also the second attempt of one of ours."""
        second = migration.after is not None and migration.after in move.ids
        return migration.id in move.ids or second

    def _judge(self, move: EvacuationMove, migration: Migration) -> None:
        judged = self._once_more(moves.judged(move, migration))
        if judged == move:
            return
        self._told.set(judged)
        if judged.state.final and not move.state.final:
            self._told.note(moves.ended_sentence(judged))
            if judged.state is MoveState.MOVED:
                self._soon(self._moved(judged, migration))
        self._wake()

    def _once_more(self, move: EvacuationMove) -> EvacuationMove:
        """What stayed because the engine before this one ended is tried again."""
        if move.state is not MoveState.STAYED or move.uuid not in self._inherited:
            return move
        self._inherited.discard(move.uuid)
        if move.stop or self.state.aborted:
            return move
        self._told.note(f"{move.vm} is tried again: {move.reason}")
        return replace(move, state=MoveState.WAITING, began=None, ended=None)

    async def _moved(self, move: EvacuationMove, migration: Migration) -> None:
        """Remember the way back, or that there is none to go any more."""
        went = Away(
            uuid=move.uuid,
            vm=move.vm,
            home=self.state.host,
            since=self._kit.now(),
            target=migration.target,
            mode=migration.mode,
            run=self.state.id,
        )
        if self.state.kind is EvacuationKind.EVACUATE:
            await self._kit.rows.went(went)
            return
        known = await self._kit.rows.away_from(self.state.host)
        for away in known:
            if away.uuid == move.uuid:
                await self._kit.rows.came_home(away)

    # -- what is done to it --------------------------------------------------------------------

    async def control(self, control: EvacuationControl, uuid: str | None) -> None:
        """Raises BadInput for what cannot be now, and whatever an abort raises."""
        if not self.state.state.open:
            raise BadInput(f"Run {self.state.id} has ended.")
        if control is EvacuationControl.RESUME:
            await self._resume()
        else:
            await self._controls.operate(control, uuid)
        self._end_if_done()
        await self._keep()
        if self.state.aborted:
            self._keep_living()
        self._wake()

    async def _resume(self) -> None:
        if self.state.state is EvacuationState.RUNNING:
            raise BadInput("The run goes on already.")
        if self.state.state is EvacuationState.INTERRUPTED:
            await self.find_again()
            await self._plan_waiting()
        if not self.state.state.open:
            return  # all of it was done already
        self._told.update(state=EvacuationState.RUNNING)
        self._told.note("goes on", "operator")
        self._keep_living()

    # -- its life ------------------------------------------------------------------------------

    def _keep_living(self) -> None:
        if self._task is None and self.state.state.open:
            self._task = asyncio.create_task(self._live(), name=f"run-{self.state.id}")

    async def _live(self) -> None:
        while self.state.state.open:
            self._changed.clear()
            if any(map(self._is_lost, self.state.in_state(MoveState.MOVING))):
                await self.find_again()
            if self.busy and not self._queued.keys() >= self._waiting:
                await self._plan_or_pause()
            await self._foresee_and_start()
            self._end_if_done()
            self._told.tell()
            await self._kit.rows.keep(self.state)
            try:
                async with asyncio.timeout(next_look_s(self.state, self._migrations)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        self._task = None

    @property
    def _waiting(self) -> set[str]:
        return {move.uuid for move in self.state.in_state(MoveState.WAITING)}

    async def _plan_waiting(self) -> None:
        """By today's facts, each to the target that was chosen for it. Raises BadInput."""
        asked = self._waiting
        drawn = await self._kit.where.drawn_again(self.state)
        still = asked & self._waiting
        for move in drawn.moves:
            if move.uuid in still:
                self._told.set(move)
        for uuid in still - {move.uuid for move in drawn.moves}:
            self._gone(uuid)
        self._queued |= drawn.queued
        self._pairs |= drawn.pairs

    def _gone(self, uuid: str) -> None:
        move = self.state.move_of(uuid)
        if move is not None:
            self._stays(move, f"it is not on {move.source} any more")

    async def _plan_or_pause(self) -> None:
        try:
            await self._plan_waiting()
        except FerryError as error:
            self._told.update(state=EvacuationState.PAUSED)
            self._told.note(f"paused: {error}")

    def _is_lost(self, move: EvacuationMove) -> bool:
        """It was begun by an engine before this one, and nobody here follows it."""
        begun_here = move.uuid in self._beginning
        return not begun_here and (move.id is None or self._kit.hands.going(move.uuid) is None)

    async def _foresee_and_start(self) -> None:
        """The order is computed beside the event loop: it simulates every move."""
        now_s = self._kit.now()
        limit_bytes_s = self.state.wish.options.bandwidth_bytes_s
        known = self._kit.where.links(self._pairs, limit_bytes_s)
        links = self._flows.links(known, now_s)
        self._begins.look(self.state, self._migrations)
        waits = self._begins.waits
        state = queue_state(self.state, self._queued, self._migrations, links, now_s, waits)
        if not state.waiting and not state.going:
            return
        for said in self._flows.take(state, self._migrations, now_s):
            self._told.note(said)
        starts, whole = await asyncio.to_thread(ordered, state)
        self._told.take_times(foreseen(self.state, whole, now_s))
        for start in starts:
            move = self.state.move_of(start.id)
            if self.busy and move is not None and move.state is MoveState.WAITING:
                if self._ends_inside(move, whole, now_s):
                    self._start(move, start)
                else:
                    self._left_out(move, moves.too_late(move, self.state.wish.until or now_s))
        if self.busy:
            self._begins.ahead(self.state, whole, links)

    def _ends_inside(self, move: EvacuationMove, whole: Timeline, now_s: float) -> bool:
        until = self.state.wish.until
        if until is None:
            return True
        slot = next((slot for slot in whole.slots if slot.id == move.uuid), None)
        alone_s = self._queued[move.uuid].alone_s
        return slot is not None and ends_inside(slot, alone_s, until - now_s)

    def _start(self, move: EvacuationMove, start: Start) -> None:
        began = replace(move, state=MoveState.MOVING, began=self._kit.now(), ended=None)
        self._told.set(began)
        self._told.note(f"{move.vm} begins to move to {move.target}: {start.reason}")
        self._beginning.add(move.uuid)
        self._soon(self._carry_out(began, start.after))

    async def _carry_out(self, move: EvacuationMove, after: tuple[str, ...]) -> None:
        try:
            await self._kit.rows.keep(self.state)
            await self._begin_move(move, after)
        finally:
            self._beginning.discard(move.uuid)

    async def _begin_move(self, move: EvacuationMove, after: tuple[str, ...]) -> None:
        try:
            plans, begun = await self._begins.begin(self.state, move, after)
        except FerryError as error:
            self._stays(move, error.sentence)
            return
        except Exception:
            log.exception("starting the move of %s", move.uuid)
            self._stays(move, "the engine met a fault of its own; its log has it")
            return
        if not begun:
            await self._other_target(move, plans[0])
            return
        self._began(move, begun[0])

    def _began(self, move: EvacuationMove, migration: Migration) -> None:
        self._beginning.discard(move.uuid)
        now = self.state.move_of(move.uuid) or move
        self._told.set(replace(now, ids=(*now.ids, migration.id), began=migration.started))
        self.saw(self._kit.hands.going(move.uuid) or migration)
        if now.stop:
            self._soon(self._controls.ask_to_stay((self.state.move_of(move.uuid) or now,)))
        self._wake()

    async def _other_target(self, move: EvacuationMove, plan: Plan) -> None:
        """The hosts have changed since the plan: it goes elsewhere, or stays with the reason."""
        why = moves.refusal_of(plan)
        tries = self._elsewhere.get(move.uuid, 0)
        self._elsewhere[move.uuid] = tries + 1
        now = self.state.move_of(move.uuid) or move
        fixed = self.state.kind is EvacuationKind.RETURN or tries >= 2 or now.stop
        drawn = None if fixed else await self._kit.where.instead(self.state, move.uuid)
        found = next((one for one in drawn.moves if one.target), None) if drawn else None
        if found is None or drawn is None or found.target == move.target:
            self._stays(move, f"{move.target} does not take it any more: {why}")
            return
        self._queued |= drawn.queued
        self._pairs |= drawn.pairs
        said = f"{move.target} does not take it any more ({why}): {found.reason}"
        chosen = (found.candidate,) if found.candidate else ()
        self._told.set(replace(found, rank=move.rank, reason=said, candidates=chosen))
        self._told.note(f"{move.vm} goes to {found.target} instead: {said}")
        self._wake()

    def _stays(self, move: EvacuationMove, why: str) -> None:
        ended = replace(move, state=MoveState.STAYED, reason=why, ended=self._kit.now())
        self._told.set(ended)
        self._told.note(moves.ended_sentence(ended))
        self._wake()

    def _left_out(self, move: EvacuationMove, why: str) -> None:
        out = replace(move, state=MoveState.LEFT_OUT, reason=why)
        self._told.set(out)
        self._told.note(moves.ended_sentence(out))
        self._wake()

    def _end_if_done(self) -> None:
        if not self.state.state.open or not all(one.state.final for one in self.state.moves):
            return
        self._told.update(state=EvacuationState.ENDED, ended=self._kit.now())
        self._told.note(moves.summary(self.state))

    # -- one that an engine before this one has left -------------------------------------------

    async def find_again(self) -> None:
        """What became of its moves meanwhile, as migrations and hosts tell."""
        for move in self.state.in_state(MoveState.MOVING, MoveState.WAITING):
            if move.uuid in self._beginning:
                continue
            found = await self._kit.where.became_of(self.state, move)
            if self.state.move_of(move.uuid) != move:
                continue  # it has gone on by itself meanwhile
            if found.migration is not None:
                self._migrations[move.uuid] = found.migration
            was, now = move, self._once_more(found.move)
            if now.state is MoveState.WAITING and (self.state.aborted or now.stop):
                now = replace(now, state=MoveState.LEFT_OUT, reason="the run was ended")
            self._told.set(now)
            if now.state.final and not was.state.final:
                self._told.note(moves.ended_sentence(now))
                if now.state is MoveState.MOVED and found.migration is not None:
                    await self._moved(now, found.migration)
        self._end_if_done()
        self._told.tell()
        await self._kit.rows.keep(self.state)

    # -- small things ---------------------------------------------------------------------------

    def _wake(self) -> None:
        self._told.hurry()
        if self._task is None:
            self._end_if_done()
            self._told.tell()
            self._soon(self._keep())
        self._changed.set()

    async def _keep(self) -> None:
        await self._kit.rows.keep(self.state)

    def _soon(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.create_task(work)
        self._starts.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._starts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("run %s: a step failed", self.state.id, exc_info=error)
