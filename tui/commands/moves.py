"""`plan` and `migrate`: what would happen, and doing it."""

import argparse
import asyncio
import signal
import sys

from backend.model import Plan, Severity
from backend.service.client import EngineClient, FerryError
from backend.service.protocol import (
    Abort,
    FleetChoice,
    MakePlan,
    PlanReply,
    Refused,
    Start,
    Started,
    Watch,
)
from tui.commands.follow import Follower
from tui.commands.session import clean, connected, plain, print_json
from tui.commands.wanted import move_options
from tui.render.disks import disk_words
from tui.render.forecasts import detail_rows

_GLYPH = {Severity.OK: "✓", Severity.WARN: "!", Severity.BLOCK: "✕"}
EXIT_REFUSED = 2
EXIT_NEEDS_YOU = 3


async def plan(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Findings and forecast for every VM and target; 2 when no target would take one of them."""
    request = MakePlan(tuple(options.vm), options.to, move_options(options))
    async with connected(choice) as client:
        reply = await client.call(request)
    assert isinstance(reply, PlanReply)
    if options.json:
        print_json([plan_json(one) for one in reply.plans])
    else:
        for one in reply.plans:
            _print_plan(one)
    movable = {one.uuid for one in reply.plans if not one.blocked}
    return 0 if all(one.uuid in movable for one in reply.plans) else EXIT_REFUSED


async def migrate(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Move VMs and say how each ended; the exit code is that of the worst."""
    request = Start(tuple(options.vm), options.to, move_options(options))
    async with connected(choice) as client:
        await client.call(Watch(fleet=False, migrations=True, samples_of=("*",)))
        reply = await client.call(request)
        if isinstance(reply, Refused):
            _print_refusal(reply, options.json)
            return EXIT_REFUSED
        assert isinstance(reply, Started)
        follower = Follower(reply.migrations, as_json=options.json)
        follower.foretell(reply.migrations)
        return await follow(client, follower)


async def follow(client: EngineClient, follower: Follower) -> int:
    """Print until every followed migration has a verdict. Ctrl-C aborts, a second one leaves."""
    interrupts = _Interrupts(client, follower)
    reading = asyncio.create_task(follower.run(client.changes()))
    leaving = asyncio.create_task(interrupts.left.wait())
    try:
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return reading.result()
        print(f"Left to the hosts. `virt-ferry watch {follower.first}` finds it.", file=sys.stderr)
    except FerryError as error:
        print(f"virt-ferry: {clean(error)}", file=sys.stderr)
    finally:
        interrupts.end()
        for task in (reading, leaving):
            task.cancel()
        await asyncio.gather(reading, leaving, return_exceptions=True)
    return EXIT_NEEDS_YOU


class _Interrupts:
    """Ctrl-C: the first asks for an abort, the second leaves the migration to the hosts."""

    def __init__(self, client: EngineClient, follower: Follower) -> None:
        self._client = client
        self._follower = follower
        self._asked = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.left = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupted)

    def end(self) -> None:
        """Ctrl-C is Python's own again."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _interrupted(self) -> None:
        if self._asked:
            self.left.set()
            return
        self._asked = True
        print("Asking for an abort; Ctrl-C again leaves it to the hosts.", file=sys.stderr)
        task = asyncio.create_task(self._abort())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _abort(self) -> None:
        for migration_id in self._follower.open_ids:
            try:
                await self._client.call(Abort(migration_id))
            except FerryError as error:
                print(f"virt-ferry: {clean(error)}", file=sys.stderr)


def plan_json(one: Plan) -> dict[str, object]:
    """A plan with its conclusion spelled out."""
    return {**plain(one), "blocked": one.blocked}


def _print_refusal(refused: Refused, as_json: bool) -> None:
    if as_json:
        plans = [plan_json(one) for one in refused.plans]
        print_json({"event": "refused", "plans": plans})
    for one in refused.plans:
        for finding in one.findings:
            if finding.severity is Severity.BLOCK:
                said = f"{one.vm}: {finding.sentence.rstrip('.')}. {finding.remedy}".rstrip()
                print(clean(said), file=sys.stderr)
    print("Nothing was touched.", file=sys.stderr)


def _print_plan(one: Plan) -> None:
    print(clean(f"{one.vm}  {one.source} → {one.target}  {one.summary}"))
    for finding in one.findings:
        line = f"  {_GLYPH[finding.severity]} {finding.check:<10} {finding.sentence}"
        print(clean(line))
        if finding.remedy:
            print(clean(f"    {'':<10} {finding.remedy}"))
    for disk in one.disks:
        for index, said in enumerate(disk_words(disk, one.target)):
            print(clean(f"  {'' if index else disk.target:<10} {said}"))
    for ready in one.preparations:
        print(clean(f"  {'prepare':<10} {ready.sentence} (with --prepare; undone if it stays)"))
    for label, said, _ in detail_rows(one):
        print(clean(f"  {label:<10} {said}"))
    if one.virsh:
        print(clean(f"  virsh      {one.virsh}"))
