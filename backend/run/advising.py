"""The fleet's rules at work: rounds of load, what they advise, told whenever it changes.

Nothing is moved here: clients do that, by the requests that they have for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from backend.fleet.inventory import Inventory
from backend.model import Advice, Advising, Evacuation, Host, PastFilter, RuleKind
from backend.plan.rules import Rule
from backend.plan.rules_advice import advise
from backend.plan.rules_gathered import (
    fleet_of,
    past_moves,
    past_needed_s,
    round_of,
    rounds_needed,
    rule_line,
)
from backend.plan.rules_types import LoadRound
from backend.plan.rules_window import next_window
from backend.run.advice_plans import AdvicePlans
from backend.run.journal import Journal
from backend.run.planning import SETTLE_S, Planner

log = logging.getLogger(__name__)

LOOK_S = 1.0
LOOKS = 20
"""In one round."""
ROUND_S = LOOKS * LOOK_S
LONGEST_MOVE_S = 86_400.0
"""The journal is asked for moves by their begin, the rules ask by their end."""
MOST_MOVES = 20_000
MOST_TURNS = 8
"""Where a plan refuses what is advised, the next best is looked for so often in one round."""


class Advisor:
    """Of one fleet. `begin` it once, `close` it once; without rules it does nothing.

    `moving`: UUIDs of the VMs that this engine moves now; `runs`: its evacuations.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...],
        inventory: Inventory,
        planner: Planner,
        journal: Journal,
        moving: Callable[[], frozenset[str]],
        runs: Callable[[], Awaitable[Sequence[Evacuation]]],
        tell: Callable[[Advising], None],
    ) -> None:
        self._rules = rules
        self._inventory = inventory
        self._plans = AdvicePlans(planner)
        self._journal = journal
        self._moving = moving
        self._runs = runs
        self._tell = tell
        self._rounds: deque[LoadRound] = deque(maxlen=rounds_needed(rules) + 1)
        self._deciding = asyncio.Lock()
        self._decided = asyncio.Condition()
        self._known = asyncio.Event()
        """Loads are known of as many rounds as the rules ask for."""
        self._task: asyncio.Task[None] | None = None
        self._advising = Advising()

    def begin(self) -> None:
        """Start looking."""
        if self._rules:
            self._task = asyncio.create_task(self._live(), name="rules")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def asked(self, after: int | None, *, settle: bool) -> Advising:
        """What a client wants to know; see `service.protocol.GetAdvice`."""
        if not self._rules:
            return self._advising
        if after is not None:
            async with self._decided:
                await self._decided.wait_for(lambda: self._advising.round > after)
            return self._advising
        if settle:
            await self._inventory.settled(SETTLE_S)
            await self._known.wait()
        return await self._decide()

    async def _live(self) -> None:
        await self._inventory.settled(SETTLE_S)
        while True:
            if len(self._rounds) >= rounds_needed(self._rules):
                self._known.set()
            try:
                await self._decide()
            except Exception:
                log.exception("deciding by the rules")
            self._rounds.append(await self._gathered())

    async def _gathered(self) -> LoadRound:
        """One round of looks."""
        began = self._inventory.now()
        looks: list[tuple[Host, ...]] = []
        while len(looks) < LOOKS:
            await asyncio.sleep(LOOK_S)
            looks.append(self._inventory.snapshot.hosts)
        return round_of(began, looks)

    async def _decide(self) -> Advising:
        async with self._deciding:
            advice, notes = await self._advice()
            now = self._inventory.now()
            wall = datetime.fromtimestamp(now)
            lines = tuple(rule_line(rule, _opens(rule, wall)) for rule in self._rules)
            done = self._advising.round + 1
            self._advising = Advising(done, now, lines, advice, notes)
        self._tell(self._advising)
        async with self._decided:
            self._decided.notify_all()
        return self._advising

    async def _advice(self) -> tuple[tuple[Advice, ...], tuple[str, ...]]:
        await self._inventory.maintenance_known.wait()
        since = self._inventory.now() - past_needed_s(self._rules) - LONGEST_MOVE_S
        past = await self._journal.past(PastFilter(since=since, limit=MOST_MOVES))
        moves = past_moves(past)
        rules = self._rules
        if self._journal.trouble:
            # Without the past there is no cooldown: a VM could be sent to and fro.
            rules = tuple(rule for rule in rules if rule.kind is RuleKind.DRAIN)
        runs = await self._runs()
        for _ in range(MOST_TURNS):
            blocked = self._plans.blocked
            fleet = fleet_of(self._inventory.snapshot, moves, self._moving(), runs, blocked)
            now = self._inventory.now()
            wall = datetime.fromtimestamp(now)
            found = await asyncio.to_thread(advise, rules, tuple(self._rounds), fleet, now, wall)
            planned = [await self._plans.planned(one) for one in found]
            if None not in planned:
                return tuple(one for one in planned if one is not None), self._notes(runs)
        return (), self._notes(runs)

    def _notes(self, runs: Sequence[Evacuation]) -> tuple[str, ...]:
        """Why there is no more advice."""
        said = []
        needed, have = rounds_needed(self._rules), len(self._rounds)
        if have < needed:
            rounds = f"{needed} round{'s' * (needed != 1)} of {ROUND_S:.0f} s"
            said.append(f"loads are known of {have} of {rounds}")
        if self._journal.trouble:
            said.append(f"no moves while past ones are not known: {self._journal.trouble}")
        if self._moving():
            said.append("something moves: loads are looked at again when it is there")
        for run in runs:
            if run.state.open and not run.aborted:
                said.append(f"the {run.kind} of {run.host} is {run.state}")
        return (*said, *self._plans.notes)


def _opens(rule: Rule, wall: datetime) -> float | None:
    if rule.kind is not RuleKind.DRAIN:
        return None
    window = next_window(rule, wall)
    return window.span_s[0] if window else None
