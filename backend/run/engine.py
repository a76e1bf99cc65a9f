"""One fleet's engine: its inventory, its plans, and all its migrations.

Nothing here belongs to a screen. Clients come and go; migrations are tasks of the engine.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from backend.errors import BadInput
from backend.fleet.config import FleetSettings
from backend.fleet.inventory import Inventory
from backend.model import (
    Control,
    Evacuation,
    Examination,
    FleetSnapshot,
    Migration,
    Mode,
    MoveOptions,
    Now,
    Past,
    PastFilter,
    Plan,
    Policy,
    Sample,
    Tuning,
)
from backend.plan.own_policies import own_policies
from backend.plan.policy import BUILT_IN, DEFAULT, checked_pause_ms
from backend.plan.rules import rules_of
from backend.run import pool_moves
from backend.run.advising import Advisor
from backend.run.attached import AttachedRun
from backend.run.beginning import before_of, first_state
from backend.run.cold_move import ColdRun
from backend.run.doctor import examine
from backend.run.evacuations import Evacuations
from backend.run.foreign import ForeignRun
from backend.run.foreign_jobs import ForeignJobs
from backend.run.history import History
from backend.run.journal import Journal
from backend.run.lessons import lesson, rate_here
from backend.run.link_wait import LinkWait
from backend.run.migration import MigrationRun, Undertaking
from backend.run.onlooker import Onlooker
from backend.run.open_moves import OpenMoves
from backend.run.outage import OutageProbe
from backend.run.planning import Planner, check_target
from backend.run.preparing import Ledger, MakingReady
from backend.run.publish import Publisher
from backend.run.recorder import Recorder
from backend.run.rolls import Rolls
from backend.run.roster import Roster
from backend.run.runs import Run
from backend.run.second_attempts import SecondAttempts
from backend.run.taking_up import Left, TakingUp
from backend.run.together import Planned

log = logging.getLogger(__name__)

LOAD_LIMIT_S = 3.0
"""A host's load needs two looks a second apart; nobody waits longer for it."""
ALARM_LIMIT_S = 6.0
"""Two more looks at each host, a second apart, tell whether a VM runs twice."""


class Engine:
    """One fleet. `begin` it once, `close` it once."""

    def __init__(
        self,
        settings: FleetSettings,
        publisher: Publisher,
        agent: Callable[[], str | None],
        now: Now,
        history: Path | None = None,
        open_moves: Path | None = None,
        journal: Path | None = None,
        carried: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`history`: the file that keeps what past moves taught; `open_moves`: the directory of
        moves that are not done; `journal`: the file of all migrations; `carried(id)`: another
        engine of this process has that one. Raises BadInput for policies that cannot be.
        """
        self._now = now
        self._journal = Journal(journal, now, settings.key, publisher.trouble)
        self._publisher: Publisher = Recorder(
            publisher, self._journal, lambda migration: self.evacuations.saw(migration)
        )
        self._roster = Roster()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: set[asyncio.Task[None]] = set()
        """Those of somebody else's migrations: the engine need not stay for them."""
        self._inventory = Inventory(
            settings, agent, self._roster.moving, self._fleet_seen, self._roster.enriched, now
        )
        own = own_policies(
            settings.policy_tables, {one.name: one for one in BUILT_IN}, settings.path
        )
        names = [host.name for host in settings.hosts]
        rules = rules_of(settings.rule_tables, names, settings.path)
        self._history = History(history)
        self._open_moves = OpenMoves(open_moves)
        self._ledger = Ledger()
        self._planner = Planner(self._inventory, self._roster.running_uuids, own, self._history)
        self.evacuations = Evacuations(
            self, self._inventory, self._planner, self._journal, self._run_seen
        )
        """Hosts that are emptied, and VMs that are brought home: runs of many migrations."""
        self.rolls = Rolls(
            self.evacuations, self._inventory, self._journal, self._publisher.roll, now
        )
        """Hosts that are maintained one after the other: each two such runs."""
        self._second = SecondAttempts(self._planner, self._roster, self._begin_again)
        self.advisor = Advisor(
            rules,
            self._inventory,
            self._planner,
            self._journal,
            self._roster.running_uuids,
            lambda: self.evacuations.all(),
            self._publisher.advising,
        )
        """What the fleet file's rules say."""
        self._carried = carried
        self._opened = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None
        self._taking_up = TakingUp(
            self._inventory,
            self._publisher,
            self._open_moves,
            self._ledger,
            self._inventory.elsewhere,
        )
        self._foreign = ForeignJobs(
            self._inventory.hosts,
            self._publisher,
            self._roster.watched_uuids,
            self._roster.new_id,
            self._watch_foreign,
            now,
        )

    @property
    def fleet(self) -> FleetSnapshot:
        """The newest snapshot."""
        return self._inventory.snapshot

    @property
    def running_count(self) -> int:
        """Our own migrations without a verdict that is final, and runs that will start more."""
        tidying = (isinstance(run, ColdRun) and run.tidying for run in self._roster.runs.values())
        own = len(self._tasks) - sum(tidying) - len(self._watching)
        return own + self.evacuations.busy_count + self.rolls.busy_count

    def begin(self) -> None:
        """Start watching the fleet."""
        self._inventory.begin()
        self._opening = asyncio.create_task(self._open(), name="opening")

    async def close(self) -> None:
        """Let go: running migrations go on in the hosts."""
        await self.rolls.close()
        await self.advisor.close()
        await self.evacuations.close()
        await self._foreign.close()
        opening = () if self._opening is None else (self._opening,)
        for task in (*opening, *self._tasks):
            task.cancel()
        await asyncio.gather(*opening, *self._tasks, return_exceptions=True)
        await self._inventory.close()
        await self._journal.close()

    async def opened(self) -> None:
        """Wait until what earlier engines have left is known again."""
        await self._opened.wait()

    def knows(self, wanted: str) -> bool:
        """Whether there is a migration of that id, or one of a VM of that name."""
        return self._roster.knows(wanted)

    def carries(self, id: str) -> bool:
        """That migration is this engine's now, and has not ended."""
        return self._roster.carries(id)

    async def settled(self, limit_s: float) -> None:
        """Wait until every host has answered or failed once."""
        if limit_s > 0:
            await self._inventory.settled(limit_s)
            await self._inventory.informed(min(limit_s, LOAD_LIMIT_S))
            await self._inventory.sure(min(limit_s, ALARM_LIMIT_S))

    async def examine(self) -> Examination:
        """Look the whole fleet over, changing nothing; within about 20 s."""
        return await examine(self._inventory, self.migrations(running_only=False))

    @property
    def policies(self) -> tuple[Policy, ...]:
        """All that can be named, the default first."""
        return tuple(sorted(self._planner.policies, key=lambda one: one.name != DEFAULT.name))

    async def plan(
        self, vms: tuple[str, ...], target: str | None, options: MoveOptions
    ) -> tuple[Plan, ...]:
        """What moving these VMs would mean; changes nothing. Raises BadInput."""
        planned = await self._planner.plan(vms, target, options)
        return tuple(one.plan for one in planned)

    async def start(
        self,
        vms: tuple[str, ...],
        target: str | None,
        options: MoveOptions,
        ready: tuple[Planned, ...] = (),
        link: LinkWait | None = None,
    ) -> tuple[tuple[Plan, ...], tuple[Migration, ...]]:
        """Plan once more (`ready`: that was just done), then start all of them, or none if one is
        blocked; `link`: what is waited for before the first byte. Raises BadInput."""
        check_target(target, options)
        await self.opened()
        confirmed = time.monotonic()
        planned = ready or await self._planner.plan(vms, target, options)
        plans = tuple(one.plan for one in planned)
        if any(plan.blocked for plan in plans):
            return plans, ()
        taken = self._roster.running_uuids()
        if any(plan.uuid in taken for plan in plans):
            raise BadInput("One of these VMs has just begun to move.", "Look at `jobs`.")
        return plans, tuple(self._begin(one, options, confirmed, link=link) for one in planned)

    def migrations(self, *, running_only: bool) -> tuple[Migration, ...]:
        """All that is known of, oldest first."""
        return self._roster.states(running_only=running_only)

    async def migration(self, wanted: str) -> tuple[Migration, tuple[Sample, ...]]:
        """One migration with its samples, of an earlier engine too. Raises BadInput."""
        if not self.knows(wanted) and (found := await self._journal.find(wanted)) is not None:
            return found
        run = self._roster.run(wanted)
        return run.state, run.samples

    async def past(self, wanted: PastFilter) -> tuple[Past, ...]:
        """Ended migrations of this fleet, oldest first. Raises BadInput."""
        return await self._journal.past(wanted)

    @property
    def trouble(self) -> str:
        """Why the journal may not know all of them; empty when it is well."""
        return self._journal.trouble

    async def set_bandwidth(self, wanted: str, rate_bytes_s: int | None) -> None:
        """Limit a running migration. Raises FerryError."""
        if rate_bytes_s is not None and rate_bytes_s <= 0:
            raise BadInput("A bandwidth must be above 0; leave it out to lift the limit.")
        await self._roster.run(wanted).set_bandwidth(rate_bytes_s)

    async def set_pause_limit(self, wanted: str, pause_ms: int) -> None:
        """Change a running migration's pause limit. Raises FerryError."""
        checked_pause_ms(pause_ms)
        await self._roster.run(wanted).set_pause_limit(pause_ms)

    async def abort(self, wanted: str) -> None:
        """Ask a running migration to stay. Raises FerryError."""
        await self._roster.run(wanted).abort()

    async def operate(self, wanted: str, control: Control) -> None:
        """A control without a value. Raises FerryError."""
        await self._roster.run(wanted).operate(control)

    def going(self, uuid: str) -> Migration | None:
        """A VM's newest migration of this engine, running or ended."""
        return self._roster.newest_of(uuid)

    def _fleet_seen(self, fleet: FleetSnapshot) -> None:
        self._publisher.fleet(fleet)
        self._foreign.look()

    def _run_seen(self, run: Evacuation) -> None:
        self._publisher.evacuation(run)
        self.rolls.saw(run)

    def _watch_foreign(self, run: ForeignRun) -> None:
        self._keep_running(run, run.run(), f"foreign-{run.state.id}")

    def _begin(
        self,
        planned: Planned,
        options: MoveOptions,
        confirmed: float,
        after: str | None = None,
        link: LinkWait | None = None,
    ) -> Migration:
        plan, vm = planned.plan, planned.vm
        new_id = self._roster.new_id()
        state = first_state(new_id, plan, options, vm, self._now, confirmed, after)
        source = self._inventory.host(plan.source)
        target = self._inventory.host(plan.target)
        probe = OutageProbe(self._inventory.hosts, source, target, vm, options.address)
        tuning = plan.tuning or Tuning(plan.policy.pause_ms)
        wanted = plan.preparations if options.prepare else ()
        ready = MakingReady(self._ledger, wanted, lambda: self._planner.once_more(plan, options))
        before = before_of(vm, plan)
        begun = Undertaking(
            state, planned.order, before, tuning, planned.prior, confirmed, self._now, ready, link
        )
        elsewhere = self._inventory.elsewhere(plan.source, plan.target)
        run: Run
        if planned.cold is not None:
            run = ColdRun(begun, planned.cold, source, target, self._publisher, self._open_moves)
        elif plan.mode is Mode.STORAGE:
            run = pool_moves.begun_so(begun, source, self._publisher, self._open_moves)
        else:
            looker = Onlooker(probe, vm)
            run = MigrationRun(begun, source, target, looker, self._publisher, elsewhere)
        for other in self._roster.runs.values():
            if isinstance(other, ColdRun) and other.state.uuid == plan.uuid:
                other.leave_be()
        self._keep_running(run, self._carry_out(run, planned, options), f"migration-{state.id}")
        return run.state

    def _begin_again(self, planned: Planned, options: MoveOptions, after: str) -> Migration:
        return self._begin(planned, options, time.monotonic(), after)

    async def _open(self) -> None:
        """Take up what engines before this one have left, then look for what others do."""
        try:
            left = {state.id: (state, ()) for state in self._open_moves.found()}
            journal = {whole[0].id: whole for whole in await self._journal.unended()}
            for state, samples in (journal | left).values():
                if state.id not in self._roster.runs and not self._carried(state.id):
                    self._take_up(state, samples)
        finally:
            self._opened.set()
            self.evacuations.begin()
            self.rolls.begin()
            self._foreign.begin()
            self.advisor.begin()

    def _take_up(self, state: Migration, samples: tuple[Sample, ...]) -> None:
        run = self._taking_up.run_of(state, samples)
        if run is not None:
            self._keep_running(run, self._go_on(run), f"open-{state.id}")

    async def _go_on(self, run: Left) -> None:
        attached = run if isinstance(run, AttachedRun) else None
        if attached is None or not attached.second.wanted:
            await run.settle_open()
        if attached is not None and attached.followed:
            self._learn(attached, None)
        if attached is not None and attached.second.wanted:
            await self._second.keep_promise(attached)

    def _keep_running(self, run: Run, work: Coroutine[Any, Any, None], name: str) -> None:
        """From now on it is one of ours, and its work a task."""
        self._roster.add(run)
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        if run.state.foreign:
            self._watching.add(task)
        task.add_done_callback(self._ended)
        self._publisher.migration(run.state)

    async def _carry_out(self, run: Run, planned: Planned, options: MoveOptions) -> None:
        await self._publisher.kept()
        await run.run()
        if not isinstance(run, MigrationRun):
            if seen_bytes_s := rate_here(run.state):
                self._planner.links.learn_here(run.state.source, seen_bytes_s)
            return
        self._learn(run, planned.in_use_bytes)
        await self._second.attempt(run, options)

    def _learn(self, run: MigrationRun, in_use_bytes: int | None) -> None:
        taught = lesson(run, in_use_bytes, self._now())
        if taught is None:
            return
        self._history.add(taught)
        alone = self._roster.had_its_link_alone(run.state)
        if taught.link_bytes_s and alone and run.state.bandwidth_bytes_s is None:
            self._planner.links.learn(
                taught.source, taught.target, taught.link_bytes_s, run.state.encrypted is not False
            )

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._watching.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a migration's task failed", exc_info=error)
        self._inventory.touch()
