"""`run` and `rules`: what the fleet file's rules say, and doing it without anybody at a screen."""

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

from backend.model import Advising
from backend.service.client import BadInput, EngineClient, EngineUnavailable, only_run
from backend.service.protocol import (
    AdviceReply,
    Change,
    FleetChoice,
    GetAdvice,
    GetFleet,
    Watch,
)
from tui.commands.run_log import RunLog
from tui.commands.run_orders import said
from tui.commands.run_seen import Seen
from tui.commands.run_work import EXIT_NEEDS_YOU, Work
from tui.commands.session import SETTLE_S, clean, connected, print_json, print_table
from tui.render import units

BRIEF = "carries out the fleet file's rules and schedules, without a console"
LONGEST_RETRY_S = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of `run`."""
    parser.add_argument("--once", action="store_true", help="one round of decisions, to its end")
    parser.add_argument(
        "--dry-run", action="store_true", help="prints what would be done, and touches nothing"
    )
    parser.add_argument(
        "--metrics", metavar="PORT", type=int, help="for Prometheus, at 127.0.0.1:PORT"
    )


async def rules(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Each rule, and what it says now."""
    async with connected(choice) as client:
        await client.call(GetFleet(settle_s=SETTLE_S))
        advising = await _asked(client, GetAdvice())
    if options.json:
        print_json(advising)
        return 0
    rows: list[tuple[object, ...]] = [
        (
            line.name,
            line.kind,
            line.level,
            units.stamp(line.opens) if line.opens else units.DASH,
            line.about,
        )
        for line in advising.rules
    ]
    if not rows:
        print("The fleet file has no rules.")
        return 0
    print_table(("RULE", "KIND", "LEVEL", "NEXT WINDOW", "WHAT"), rows)
    for advice in advising.advice:
        print(clean(said(advice)))
    for note in advising.notes:
        print(clean(f"({note})"))
    return 0


async def run(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Until it is told to stop; with --once, until what one round decided has ended."""
    with contextlib.ExitStack() as held:
        if not options.dry_run:
            held.enter_context(only_run(choice))
        observe, lost = _metrics(options.metrics, held)
        running = _Running(options, choice, observe, lost)
        return await running.serve()


def _metrics(
    port: int | None, held: contextlib.ExitStack
) -> tuple[Callable[[Change], None], Callable[[], None]]:
    """What is to be told of every change, and of an engine that is gone. Raises BadInput."""
    if port is None:
        return (lambda _: None), (lambda: None)
    # Imported here: only this pays for it.
    from tui.commands.metrics import Metrics

    metrics = Metrics()
    serving: AbstractContextManager[None] = metrics.serve(port)
    held.enter_context(serving)
    return metrics.observe, metrics.engine_gone


async def _asked(client: EngineClient, request: GetAdvice) -> Advising:
    reply = await client.call(request)
    assert isinstance(reply, AdviceReply)
    return reply.advising


class _Running:
    """One `run`, over as many connections to the engine as it takes."""

    def __init__(
        self,
        options: argparse.Namespace,
        choice: FleetChoice,
        observe: Callable[[Change], None],
        lost: Callable[[], None],
    ) -> None:
        self._choice = choice
        self._once = options.once or options.dry_run
        self._dry = options.dry_run
        self._measures = options.metrics is not None
        self._log = RunLog(as_json=options.json)
        self._seen = Seen(observe)
        self._work = Work(self._log, self._seen, once=self._once, dry=self._dry)
        self._lost = lost
        self._stop = asyncio.Event()
        self._decided = False

    async def serve(self) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        wait_s = 1.0
        began = gone = False
        while not self._stop.is_set():
            try:
                async with connected(self._choice) as client:
                    wait_s = 1.0
                    if not began:
                        await self._begin(client)
                        began = True
                    elif gone:
                        self._log.say("engine-back", "the engine is there again")
                    gone = False
                    if await self._served(client):
                        return self._work.code
            except EngineUnavailable as error:
                if not began:
                    raise
                gone = True
                self._lost()
                self._log.say("engine-gone", f"{error} Trying again in {wait_s:.0f} s.")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), wait_s)
                wait_s = min(2 * wait_s, LONGEST_RETRY_S)
        return await self._stopped()

    async def _begin(self, client: EngineClient) -> None:
        advising = await _asked(client, GetAdvice())
        if not advising.rules:
            raise BadInput(
                "The fleet file has no rules: there is nothing to run.",
                'Add some, e.g. [rules.even] with kind = "balance"; the README has examples.',
            )
        names = ", ".join(f"{line.name} ({line.level})" for line in advising.rules)
        if not self._dry:
            self._log.say("began", f"rules: {names}", pid=os.getpid(), rules=advising.rules)

    async def _served(self, client: EngineClient) -> bool:
        """True when all is done; False when told to stop. Raises EngineUnavailable."""
        samples = ("*",) if self._measures else ()
        await client.call(Watch(fleet=self._measures, migrations=True, samples_of=samples))
        reading = asyncio.create_task(self._seen.follow(client.changes()))
        self._work.call = client.call
        self._work.call = client.call
        working = asyncio.create_task(self._rounds(client))
        stopping = asyncio.create_task(self._stop.wait())
        tasks = (reading, working, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return False
            if working.done():
                working.result()
                return True
            reading.result()
            raise EngineUnavailable("The engine is gone.")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rounds(self, client: EngineClient) -> None:
        if not self._once:
            after = 0
            while True:
                advising = await _asked(client, GetAdvice(after=after))
                after = advising.round
                await self._work.take(advising)
        if not self._decided:
            advising = await _asked(client, GetAdvice(settle=True))
            await self._work.take(advising)
            self._decided = True
            for note in advising.notes if not self._work.doing else ():
                self._log.say("note", note)
        await self._work.done()

    async def _stopped(self) -> int:
        left = self._seen.running
        doing = self._work.doing
        await self._work.leave()
        names = ", ".join(f"{one.vm} to {one.target} ({one.id})" for one in left)
        sentence = "stopped"
        if left:
            sentence += f"; the engine goes on with {names}: `virt-ferry jobs` shows them"
        hosts = [advice.drain or advice.moves[0].source for advice in doing if advice.wish]
        if hosts:
            sentence += f"; {', '.join(hosts)} goes on being emptied: `virt-ferry evacuations`"
        ids = [one.id for one in left]
        self._log.say("stopped", sentence, running=ids)
        return EXIT_NEEDS_YOU if self._once and doing else 0
