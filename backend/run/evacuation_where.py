"""Asks again while a run goes on: what still fits, and what became of a VM meanwhile."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from backend.errors import FerryError
from backend.fleet.inventory import Inventory
from backend.model import (
    Evacuation,
    EvacuationChoice,
    EvacuationMove,
    HostState,
    Migration,
    MoveState,
    PastFilter,
    Vm,
)
from backend.plan.queue_types import LinkMap
from backend.run.evacuation_draw import Drawn, draw
from backend.run.evacuation_moves import judged
from backend.run.evacuation_survey import Considered, EvacuationSurvey
from backend.run.evacuation_wires import Wires
from backend.run.journal import Journal
from backend.run.planning import SETTLE_S
from backend.run.together import Planned

CLOCKS_S = 1.0
"""A migration begins at most so long before its run says so."""


@dataclass(frozen=True, slots=True)
class Became:
    """A move as it is now, with the migration that says so."""

    move: EvacuationMove
    migration: Migration | None = None


class Where:
    """Of one fleet. `going`: the newest migration of a VM in this engine."""

    def __init__(
        self,
        inventory: Inventory,
        survey: EvacuationSurvey,
        wires: Wires,
        journal: Journal,
        going: Callable[[str], Migration | None],
    ) -> None:
        self._inventory = inventory
        self._survey = survey
        self._wires = wires
        self._journal = journal
        self._going = going

    def links(
        self, pairs: Mapping[tuple[str, str], float], limit_bytes_s: int | None = None
    ) -> LinkMap:
        """What is known of the wires now. `limit_bytes_s`: the operator's for each move, which is
        in what the plans know of the pairs and leaves the rest of a link to others."""
        known = dict(pairs)
        if limit_bytes_s is not None:
            known = {pair: max(rate, self._wires.pair(*pair)) for pair, rate in pairs.items()}
        return LinkMap(known, self._wires.all(outward=True), self._wires.all(outward=False))

    async def drawn_again(self, run: Evacuation) -> Drawn:
        """What still waits, by today's facts, each to the target that was chosen for it.

        Raises:
            BadInput: The host does not answer.
        """
        waiting = {move.uuid: move for move in run.in_state(MoveState.WAITING)}
        choices = {one.uuid: one for one in run.wish.choices}
        pinned = tuple(
            replace(choices.get(uuid, EvacuationChoice(uuid)), target=move.target)
            for uuid, move in waiting.items()
        )
        wish = replace(run.wish, choices=pinned)
        found = [one for one in await self._survey.of(wish, fresh=True) if one.vm.uuid in waiting]
        drawn = draw(wish, found, self._inventory.snapshot)
        moves = tuple(replace(one, rank=waiting[one.uuid].rank) for one in drawn.moves)
        return replace(drawn, moves=moves)

    async def instead(self, run: Evacuation, uuid: str) -> Drawn | None:
        """Another target for one VM, beside what is promised to those that wait; None: it is not
        on its host any more, or cannot be asked about."""
        choices = tuple(
            replace(one, target=None) if one.uuid == uuid else one for one in run.wish.choices
        )
        wish = replace(run.wish, choices=choices)
        try:
            found = await self._survey.again(wish, uuid)
        except FerryError:
            return None
        if found is None:
            return None
        return draw(wish, [_beside(run, found)], self._inventory.snapshot)

    async def became_of(self, run: Evacuation, move: EvacuationMove) -> Became:
        """Of one that waits or moves, after an engine has ended in between; unchanged while its
        hosts do not answer: nothing is concluded from what is not seen."""
        await self._inventory.settled(SETTLE_S)
        if not self._answers(move.source):
            return Became(move)
        if move.state is MoveState.WAITING:
            return Became(self._still_there(run, move))
        migration = await self._migration_of(move)
        if migration is None:
            waits = replace(move, state=MoveState.WAITING, began=None)
            return Became(self._still_there(run, waits))
        known = replace(move, ids=tuple(dict.fromkeys((*move.ids, migration.id))))
        if migration.verdict is None and self._going(move.uuid) is None:
            return Became(self._by_looking(run, known), migration)
        return Became(judged(known, migration), migration)

    def is_as_planned(self, planned: Planned) -> bool:
        """Nothing that the fleet tells by itself has changed since that plan was made."""
        plan, was = planned.plan, planned.vm
        here = [vm for vm in self._seen(plan.uuid) if vm.host == plan.source]
        target = self._inventory.hosts.get(plan.target)
        if plan.blocked or target is None or self._inventory.marked(target.host) != target.host:
            return False
        same = [vm for vm in here if vm.state is was.state and vm.job is None]
        return bool(same) and self._answers(plan.source) and self._answers(plan.target)

    def _answers(self, host: str) -> bool:
        watch = self._inventory.hosts.get(host)
        return watch is not None and watch.host.state is HostState.UP

    async def _migration_of(self, move: EvacuationMove) -> Migration | None:
        """Its newest: of this engine, or of the journal."""
        going = self._going(move.uuid)
        since = (move.began or 0.0) - CLOCKS_S
        if going is not None and not going.foreign and going.started >= since:
            return going
        if move.id is not None and (found := await self._journal.find(move.id)) is not None:
            return found[0]
        unended = [one for one, _ in await self._journal.unended() if one.uuid == move.uuid]
        if unended and unended[-1].started >= since:
            return unended[-1]
        past = await self._journal.past(PastFilter(vm=move.uuid, since=since))
        found = await self._journal.find(past[-1].id) if past else None
        return found[0] if found else None

    def _seen(self, uuid: str) -> tuple[Vm, ...]:
        seen = self._inventory.snapshot.vms_named(uuid)
        return tuple(vm for vm in seen if vm.state.active) or seen

    def _still_there(self, run: Evacuation, move: EvacuationMove) -> EvacuationMove:
        """It waits where the plan found it; else somebody has moved it, or it is gone."""
        seen = self._seen(move.uuid)
        if not all(map(self._answers, self._inventory.hosts)) and not seen:
            return move
        if any(vm.host == move.source for vm in seen):
            return move
        if not seen:
            why = "it is on no host of the fleet that answers"
            return replace(move, state=MoveState.CANNOT, reason=why)
        where = ", ".join(sorted({vm.host for vm in seen}))
        return replace(
            move,
            state=MoveState.LEFT_OUT,
            reason=f"it is on {where} already, not moved by this run",
        )

    def _by_looking(self, run: Evacuation, move: EvacuationMove) -> EvacuationMove:
        """Its migration has no verdict, and nobody follows it: where does it run?"""
        hosts = {vm.host: vm for vm in self._seen(move.uuid)}
        there = hosts.get(move.target or "")
        here = hosts.get(move.source)
        if here is not None and here.job is not None:
            return move
        if not self._answers(move.target or ""):
            return move
        if there is not None and here is None:
            reason = f"it was found on {there.host}"
            return replace(move, state=MoveState.MOVED, reason=reason)
        if here is not None and there is None:
            return replace(move, state=MoveState.WAITING, began=None)
        why = f"it is not clear where it runs: look on {move.source} and {move.target}"
        return replace(move, state=MoveState.NEEDS_YOU, reason=why)


def _beside(run: Evacuation, considered: Considered) -> Considered:
    """Targets have less room: what waits has been promised it."""
    promised: dict[str, int] = {}
    for move in run.in_state(MoveState.WAITING):
        if move.target is not None:
            promised[move.target] = promised.get(move.target, 0) + move.memory_bytes
    planned = tuple(
        replace(
            one,
            plan=replace(
                one.plan,
                free_bytes=None
                if one.plan.free_bytes is None
                else max(0, one.plan.free_bytes - promised.get(one.plan.target, 0)),
            ),
        )
        for one in considered.planned
    )
    return replace(considered, planned=planned)
