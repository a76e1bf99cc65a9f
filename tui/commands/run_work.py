"""Decides by what the rules say, and carries it out through the engine."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from backend.model import (
    Advice,
    Advising,
    Evacuation,
    EvacuationState,
    Outcome,
    RuleLevel,
    Severity,
)
from backend.service.client import EngineUnavailable, FerryError
from backend.service.protocol import (
    EvacuationReply,
    PlanEvacuation,
    Refused,
    Reply,
    Request,
    Started,
)
from tui.commands.run_log import RunLog
from tui.commands.run_orders import Order, advice_json, automatic, why_not
from tui.commands.run_seen import Seen

AGAIN_S = 600.0
"""What was refused is not asked for again so soon;"""
PLAN_AGAIN_S = 120.0
"""the plan of a host to be emptied is: its window does not wait."""
EXIT_STAYED = 1
EXIT_NEEDS_YOU = 3
Call = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class _Refused:
    again_s: float
    """Monotonic: not before."""
    why: str


class Work:
    """All that one `run` decides and does. Its orders outlive a connection to the engine."""

    def __init__(self, log: RunLog, seen: Seen, *, once: bool, dry: bool) -> None:
        """`once`: what one round decided is all done, one move after the other."""
        self._log = log
        self._seen = seen
        self._once = once
        self._dry = dry
        self._told: set[str] = set()
        self._refused: dict[str, _Refused] = {}
        self._orders: dict[asyncio.Task[None], Advice] = {}
        self._turn = asyncio.Lock()
        self.call: Call
        """Asks the engine; set anew with each connection."""
        self.code = 0
        """The worst of what was done."""

    @property
    def doing(self) -> tuple[Advice, ...]:
        """What is being carried out."""
        return tuple(self._orders.values())

    async def done(self) -> None:
        """Wait until all of it has ended."""
        while self._orders:
            await asyncio.wait(self._orders)

    async def leave(self) -> None:
        """Follow nothing any more; the engine goes on with what was begun."""
        for task in self._orders:
            task.cancel()
        await asyncio.gather(*self._orders, return_exceptions=True)

    async def take(self, advising: Advising) -> None:
        """One round: say what is new, decide, begin. Raises EngineUnavailable."""
        self._tell(advising)
        now_s = time.monotonic()
        not_now = {key for key, one in self._refused.items() if now_s < one.again_s}
        for advice in automatic(advising, self.doing, not_now, not self._once):
            order = await self._decided(advice)
            if order is None:
                continue
            self._log.order(order, dry=self._dry)
            if self._dry:
                continue
            task = asyncio.create_task(self._carry_out(order))
            self._orders[task] = advice
            task.add_done_callback(self._ended)

    def _tell(self, advising: Advising) -> None:
        """What is advised or asked, once for as long as it stands."""
        shown = [one for one in advising.advice if one.level is not RuleLevel.AUTOMATIC]
        for advice in shown:
            if advice.key not in self._told:
                self._log.advice(advice)
        self._told = {advice.key for advice in shown}

    async def _decided(self, advice: Advice) -> Order | None:
        wish = advice.wish
        if wish is None:
            return Order(advice)
        try:
            reply = await self.call(PlanEvacuation(wish))
        except EngineUnavailable:
            raise
        except FerryError as error:
            self._refuse(advice, str(error))
            return None
        assert isinstance(reply, EvacuationReply)
        why = why_not(advice, reply.evacuation)
        if why:
            self._refuse(advice, why)
            return None
        return Order(advice, reply.evacuation)

    def _refuse(self, advice: Advice, why: str) -> None:
        """Said once for as long as it is refused for the same reason."""
        known = self._refused.get(advice.key)
        if known is None or known.why != why:
            self._log.refused(advice, why)
        wait_s = AGAIN_S if advice.wish is None else PLAN_AGAIN_S
        self._refused[advice.key] = _Refused(time.monotonic() + wait_s, why)
        self.code = max(self.code, EXIT_STAYED)

    # -- doing it ----------------------------------------------------------------------------

    async def _carry_out(self, order: Order) -> None:
        try:
            if order.planned is not None:
                await self._empty(order)
                return
            async with self._turn:
                await self._move(order)
        except EngineUnavailable as error:
            # The journal knows; the next round looks at what is so.
            said = f"it is not known whether it was begun: {error}"
            self._log.say("lost", said, **advice_json(order.advice))
            self.code = EXIT_NEEDS_YOU
        except FerryError as error:
            self._refuse(order.advice, str(error))

    async def _move(self, order: Order) -> None:
        advice = order.advice
        reply = await self.call(order.request)
        if isinstance(reply, Refused):
            self._refuse(advice, "; ".join(_blocks(reply)))
            return
        assert isinstance(reply, Started)
        for migration in reply.migrations:
            self._log.started(advice, migration)
        for migration in reply.migrations:
            verdict = (await self._seen.ended(migration)).verdict
            assert verdict is not None
            self._log.verdict(advice, verdict)
            codes = {Outcome.MOVED: 0, Outcome.STAYED: EXIT_STAYED}
            self.code = max(self.code, codes.get(verdict.outcome, EXIT_NEEDS_YOU))

    async def _empty(self, order: Order) -> None:
        advice = order.advice
        reply = await self.call(order.request)
        assert isinstance(reply, EvacuationReply)
        run = reply.evacuation
        if run.changed:
            self._refuse(advice, f"it is not as it was planned: {run.changed}")
            return
        self._log.run_started(advice, run)
        told = 0
        async for now in self._seen.changes_of(run):
            run = now
            for note in now.notes[told:]:
                self._log.say("note", note.sentence, rule=advice.rule, id=now.id)
            told = len(now.notes)
        self._concluded(advice, run)

    def _concluded(self, advice: Advice, run: Evacuation) -> None:
        if run.state is EvacuationState.INTERRUPTED:
            sentence = (
                f"the {run.kind} of {run.host} was interrupted: its engine ended."
                f" `virt-ferry evacuations resume {run.host}` goes on with it"
            )
            self._log.say("interrupted", sentence, rule=advice.rule, id=run.id, host=run.host)
            self.code = EXIT_NEEDS_YOU
            return
        self._log.run_ended(advice, run)
        self.code = max(self.code, run.exit_code)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._orders.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.say("fault", f"an order failed: {error!r}")
            self.code = EXIT_NEEDS_YOU


def _blocks(refused: Refused) -> list[str]:
    found = (
        f"{plan.vm}: {finding.sentence.rstrip('.')}"
        for plan in refused.plans
        for finding in plan.findings
        if finding.severity is Severity.BLOCK
    )
    return list(dict.fromkeys(found))
