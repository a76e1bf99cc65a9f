"""`evacuate`, `return`, `evacuations` and `maintenance`: many moves as one run."""

import argparse
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from backend.model import (
    Evacuation,
    EvacuationChoice,
    EvacuationControl,
    EvacuationKind,
    EvacuationState,
    EvacuationWish,
    FleetSnapshot,
    Mode,
    MoveState,
)
from backend.service.client import BadInput, EngineClient
from backend.service.protocol import (
    Change,
    EvacuationChanged,
    EvacuationReply,
    EvacuationsReply,
    FleetChoice,
    FleetReply,
    GetFleet,
    ListEvacuations,
    MigrationChanged,
    PlanEvacuation,
    SetMaintenance,
    StartEvacuation,
    SteerEvacuation,
    Watch,
)
from tui.commands.follow import Follower
from tui.commands.pausing import EXIT_NEEDS_YOU, until_left
from tui.commands.session import SETTLE_S, clean, connected, plain, print_json, print_table
from tui.commands.wanted import run_options
from tui.render import evacuation_words as words
from tui.render import units

EXIT_REFUSED = 2
_PROGRESS_EVERY_S = 10.0


async def evacuate(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Empty a host; 0 when all VMs moved, 1 when some stayed, 3 when one needs the operator."""
    return await _run(EvacuationKind.EVACUATE, options, choice)


async def bring_back(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Bring home what left a host in an evacuation."""
    return await _run(EvacuationKind.RETURN, options, choice)


async def maintenance(options: argparse.Namespace, choice: FleetChoice) -> int:
    """A host takes no VM, or does again."""
    on = options.state == "on"
    async with connected(choice) as client:
        await client.call(SetMaintenance(options.host, on))
    if options.json:
        print_json({"host": options.host, "maintenance": on})
    else:
        said = "is in maintenance: it takes no VM" if on else "takes VMs again"
        print(clean(f"{options.host} {said}."))
    return 0


async def evacuations(options: argparse.Namespace, choice: FleetChoice) -> int:
    """List runs, or go on with, pause, follow or end one."""
    async with connected(choice) as client:
        if options.action is None:
            return _list(await _runs(client), options.json)
        if options.run is None:
            raise BadInput("It is not said which run.", "Name its host, or its id.")
        await client.call(Watch(fleet=False, migrations=True, samples_of=("*",)))
        if options.action != "watch":
            control = EvacuationControl(options.action)
            await client.call(SteerEvacuation(options.run, control))
        run = _found(await _runs(client), options.run)
        if options.action == "pause":
            return 0
        return await _follow(client, RunFollower(run, as_json=options.json))


async def _runs(client: EngineClient) -> tuple[Evacuation, ...]:
    reply = await client.call(ListEvacuations())
    assert isinstance(reply, EvacuationsReply)
    return reply.evacuations


def _found(runs: tuple[Evacuation, ...], wanted: str) -> Evacuation:
    named = [run for run in runs if wanted in (run.id, run.host)]
    still = [run for run in named if run.state.open]
    if not named:
        raise BadInput(f"There is no run {wanted!r}.", "`virt-ferry evacuations` lists them.")
    return (still or named)[-1]


def _list(runs: tuple[Evacuation, ...], as_json: bool) -> int:
    if as_json:
        print_json([run_json(run) for run in runs])
        return 0
    rows: list[tuple[object, ...]] = [
        (
            run.id,
            run.kind,
            run.host,
            units.clock(run.started or run.made),
            run.state,
            words.whole(run, time.time()),
        )
        for run in runs
    ]
    if rows:
        print_table(("ID", "WHAT", "HOST", "STARTED", "STATE", ""), rows)
    else:
        print("No host has been evacuated.")
    return 0


async def _run(kind: EvacuationKind, options: argparse.Namespace, choice: FleetChoice) -> int:
    async with connected(choice) as client:
        wish = await _wish(client, kind, options)
        planned = await _planned(client, wish)
        if options.plan or not words.going(planned):
            return _print_plan(planned, options)
        if options.json:
            print_json({**run_json(planned), "event": "plan"})
        else:
            print_moves(planned)
        if not agreed(options):
            print("Nothing was touched.", file=sys.stderr)
            return EXIT_REFUSED
        return await _start(client, planned, options)


async def _wish(
    client: EngineClient, kind: EvacuationKind, options: argparse.Namespace
) -> EvacuationWish:
    choices: tuple[EvacuationChoice, ...] = ()
    if options.restart or options.leave or options.place:
        reply = await client.call(GetFleet(settle_s=SETTLE_S))
        assert isinstance(reply, FleetReply)
        choices = choices_of(options, reply.fleet)
    return EvacuationWish(
        options.host,
        kind,
        tuple(getattr(options, "to", None) or ()),
        run_options(options),
        choices,
        options.fixed_cap,
    )


def choices_of(options: argparse.Namespace, fleet: FleetSnapshot) -> tuple[EvacuationChoice, ...]:
    """What is wanted of single VMs. Raises BadInput."""
    fields: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        found = fleet.vms_named(name)
        if not found:
            raise BadInput(f"There is no VM {name!r} in the fleet.", "`virt-ferry vms` lists them.")
        return fields.setdefault(found[0].uuid, {})

    for name in options.restart or ():
        of(name)["mode"] = Mode.RESTART
    for name in options.leave or ():
        of(name)["leave"] = True
    for text in options.place or ():
        name, equals, host = text.partition("=")
        if not (name and equals and host):
            raise BadInput(f"--place: {text!r} is not VM=HOST.", "As in db-1=kvm-c.")
        of(name)["target"] = host
    return tuple(EvacuationChoice(uuid, **given) for uuid, given in fields.items())


async def _planned(client: EngineClient, wish: EvacuationWish) -> Evacuation:
    reply = await client.call(PlanEvacuation(wish))
    assert isinstance(reply, EvacuationReply)
    return reply.evacuation


def _print_plan(planned: Evacuation, options: argparse.Namespace) -> int:
    if options.json:
        print_json({**run_json(planned), "event": "plan"})
    else:
        print_moves(planned)
        print("Nothing was touched.", file=sys.stderr)
    if not planned.moves:
        return 0
    return 0 if not words.staying(planned) else 1 if words.going(planned) else EXIT_REFUSED


def print_moves(run: Evacuation) -> None:
    """A plan, or a run, as a table."""
    print(clean(f"{words.title(run)}: {words.whole(run, time.time())}"))
    rows: list[tuple[object, ...]] = [
        (
            move.vm,
            move.target or "–",
            words.way_word(move),
            _span(move.begins_s, move.ends_s),
            words.pause_words(move),
            move.reason,
        )
        for move in run.moves
    ]
    if rows:
        print_table(("VM", "TO", "HOW", "WHEN", "PAUSE", "WHY"), rows)
    else:
        print("There is nothing to move.")


def _span(begins_s: float | None, ends_s: float | None) -> str:
    if begins_s is None or ends_s is None:
        return "–"
    return f"{begins_s:.0f}–{ends_s:.0f} s"


def agreed(options: argparse.Namespace) -> bool:
    """Asked where somebody sits at a terminal; a script has said it by calling."""
    if options.yes or options.json or not sys.stdin.isatty():
        return True
    print("Start? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _start(client: EngineClient, planned: Evacuation, options: argparse.Namespace) -> int:
    wish = planned.wish
    pinned = replace(wish, choices=planned.pinned)
    await client.call(Watch(fleet=False, migrations=True, samples_of=("*",)))
    reply = await client.call(StartEvacuation(pinned))
    assert isinstance(reply, EvacuationReply)
    run = reply.evacuation
    if run.changed:
        if options.json:
            print_json({**run_json(run), "event": "refused"})
        said = f"It is not as it was planned: {run.changed}. Nothing was touched."
        print(clean(said), file=sys.stderr)
        return EXIT_REFUSED
    return await _follow(client, RunFollower(run, as_json=options.json))


class RunFollower:
    """Prints a run until it has ended: its notes for people; for programs its state whenever it
    changed, and what its migrations do."""

    def __init__(self, run: Evacuation, *, as_json: bool) -> None:
        self.run = run
        self._as_json = as_json
        self._notes = 0
        self._moves = Follower((), as_json=True) if as_json else None
        self._progress_at = 0.0
        self.leave_when_quiet = False
        self._show(run)

    async def follow(self, changes: AsyncIterator[Change]) -> int:
        """To its end; the exit code."""
        if not self._open:
            return self.run.exit_code
        async for change in changes:
            self.take(change)
            if not self._open:
                return self.run.exit_code
            if self.leave_when_quiet and not self.run.in_state(MoveState.MOVING):
                break
        return EXIT_NEEDS_YOU

    @property
    def _open(self) -> bool:
        return self.run.state.open

    def take(self, change: Change) -> None:
        """Print one change, if it is about this run or its migrations."""
        if isinstance(change, EvacuationChanged) and change.evacuation.id == self.run.id:
            self.run = change.evacuation
            self._show(self.run)
        elif self._moves is not None:
            if isinstance(change, MigrationChanged) and self._ours(change):
                self._moves.follow_too(change.migration)
            self._moves.take(change)

    def _ours(self, change: MigrationChanged) -> bool:
        migration = change.migration
        begun = migration.started >= (self.run.started or 0.0) - 1
        return begun and self.run.move_of(migration.uuid) is not None

    def _show(self, run: Evacuation) -> None:
        new, self._notes = run.notes[self._notes :], len(run.notes)
        if self._as_json:
            print_json({**run_json(run), "notes": [plain(note) for note in new]})
            return
        for note in new:
            print(clean(f"{units.clock(note.at)}  {note.sentence}"), flush=True)
        now = time.monotonic()
        if run.state.open and now - self._progress_at >= _PROGRESS_EVERY_S:
            self._progress_at = now
            print(clean(f"          {words.whole(run, time.time())}"), flush=True)
        elif not run.state.open:
            self._report(run)

    def _report(self, run: Evacuation) -> None:
        print(clean(words.ended(run)))
        for move in run.moves:
            if move.state is not MoveState.MOVED:
                print(clean(f"  {move.vm}: {move.state}: {move.reason}"))
            for said in (*move.kept, *(f"left over: {one}" for one in move.leftovers)):
                print(clean(f"  {move.vm}: {said}"))


async def _follow(client: EngineClient, follower: RunFollower) -> int:
    """Ctrl-C pauses the queue, a second one leaves it so."""

    async def pause() -> None:
        try:
            if follower.run.state is EvacuationState.RUNNING:
                await client.call(SteerEvacuation(follower.run.id, EvacuationControl.PAUSE))
        finally:
            follower.leave_when_quiet = True

    code = await until_left(
        follower.follow(client.changes()),
        pause,
        lambda: not follower.run.in_state(MoveState.MOVING),
        "Pausing the queue: what moves goes on, nothing new is started; Ctrl-C again leaves.",
    )
    if follower.run.state.open:
        host = follower.run.host
        said = (
            f"`virt-ferry evacuations resume {host}` goes on with it, `... abort {host}` ends it."
        )
        print(clean(f"The run is not done: {said}"), file=sys.stderr)
    return code


def run_json(run: Evacuation) -> dict[str, object]:
    """A run as one object."""
    moves = [
        {
            **{key: value for key, value in plain(move).items() if key != "candidates"},
            "id": move.id,
            "forecast": plain(move.forecast),
        }
        for move in run.moves
    ]
    return {
        "event": "evacuation",
        "id": run.id,
        "kind": run.kind.value,
        "host": run.host,
        "state": run.state.value,
        "started": run.started,
        "ended": run.ended,
        "total_s": plain(run.total_s),
        "worst_pause_ms": run.worst_pause_ms,
        "moves": moves,
        "changed": run.changed,
        "exit_code": run.exit_code if run.state is EvacuationState.ENDED else None,
    }
