"""`roll` and `rolls`: several hosts maintained one after the other, as one run."""

import argparse
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

from backend.model import (
    EvacuationChoice,
    MoveState,
    Roll,
    RollControl,
    RollState,
    RollStep,
    RollWish,
)
from backend.model.rolling import BACK_WITHIN_S, HOOK_WITHIN_S
from backend.service.client import BadInput, EngineClient
from backend.service.protocol import (
    Change,
    EvacuationChanged,
    FleetChoice,
    FleetReply,
    GetFleet,
    ListRolls,
    PlanRoll,
    RollChanged,
    RollReply,
    RollsReply,
    StartRoll,
    SteerRoll,
    Watch,
)
from tui.commands.evacuate import (
    EXIT_REFUSED,
    RunFollower,
    agreed,
    choices_of,
    print_moves,
    run_json,
)
from tui.commands.pausing import EXIT_NEEDS_YOU, until_left
from tui.commands.session import SETTLE_S, clean, connected, plain, print_json, print_table, warn
from tui.commands.wanted import roll_span, run_options
from tui.render import roll_words as words
from tui.render import units


async def roll(options: argparse.Namespace, choice: FleetChoice) -> int:
    """0 when all hosts are done, 1 when it stopped or waits, 2 refused, 3 a VM needs you."""
    wish = _wish(options)
    async with connected(choice) as client:
        wish = replace(wish, choices=await _choices(client, options))
        planned = await _asked(client, PlanRoll(wish))
        _print_plan(planned, options)
        if planned.trouble:
            warn(f"{planned.trouble} Leave a VM there with --leave, or mend that.")
        if options.plan or planned.trouble:
            print("Nothing was touched.", file=sys.stderr)
            return EXIT_REFUSED if planned.trouble else 0
        if not agreed(options):
            print("Nothing was touched.", file=sys.stderr)
            return EXIT_REFUSED
        return await _start(client, planned, options)


async def rolls(options: argparse.Namespace, choice: FleetChoice) -> int:
    """List rolls, or follow, pause, go on with or end the open one."""
    async with connected(choice) as client:
        if options.action is None:
            return _list(await _known(client), as_json=options.json)
        if options.action != "watch":
            await client.call(SteerRoll(RollControl(options.action)))
        found = await _known(client)
        if not found:
            raise BadInput("There is no roll.", "`virt-ferry roll HOST...` begins one.")
        if options.action == "pause":
            return 0
        # Only now: what is published begins with how it stands, and that is not to be older.
        await client.call(Watch(fleet=False, migrations=True, samples_of=("*",)))
        return await _follow(client, RollFollower(found[-1], as_json=options.json))


def _wish(options: argparse.Namespace) -> RollWish:
    """Without what needs the fleet. Raises BadInput."""
    if options.hook is not None and not options.hook.strip():
        raise BadInput("--hook: there is no command in it.", "Leave it out to work by hand.")
    return RollWish(
        hosts=tuple(options.host),
        hook=options.hook or "",
        hook_within_s=roll_span("--hook-within", options.hook_within, HOOK_WITHIN_S),
        back_within_s=roll_span("--back-within", options.back_within, BACK_WITHIN_S),
        reboots=options.reboots,
        targets=tuple(options.to or ()),
        options=run_options(options),
    )


async def _choices(
    client: EngineClient, options: argparse.Namespace
) -> tuple[EvacuationChoice, ...]:
    if not (options.leave or options.restart):
        return ()
    reply = await client.call(GetFleet(settle_s=SETTLE_S))
    assert isinstance(reply, FleetReply)
    return choices_of(options, reply.fleet)


async def _asked(client: EngineClient, request: PlanRoll | StartRoll) -> Roll:
    reply = await client.call(request)
    assert isinstance(reply, RollReply)
    return reply.roll


async def _known(client: EngineClient) -> tuple[Roll, ...]:
    reply = await client.call(ListRolls())
    assert isinstance(reply, RollsReply)
    return reply.rolls


def _list(known: tuple[Roll, ...], *, as_json: bool) -> int:
    if as_json:
        print_json([roll_json(one) for one in known])
        return 0
    rows: list[tuple[object, ...]] = [
        (one.id, units.clock(one.started or one.made), one.state, words.whole(one)) for one in known
    ]
    if rows:
        print_table(("ID", "STARTED", "STATE", ""), rows)
    else:
        print("No hosts have been rolled.")
    for one in known:
        if one.state.open and one.trouble:
            print(clean(one.trouble))
    return 0


def _print_plan(planned: Roll, options: argparse.Namespace) -> None:
    if options.json:
        first = run_json(planned.first) if planned.first else None
        print_json({**roll_json(planned), "event": "plan", "first": first})
        return
    print(clean(words.intent(planned.wish)))
    if planned.first is not None:
        print_moves(planned.first)
    if said := words.later(planned.wish):
        print(clean(said))


async def _start(client: EngineClient, planned: Roll, options: argparse.Namespace) -> int:
    assert planned.first is not None
    wish = replace(planned.wish, reviewed=planned.first.pinned)
    await client.call(Watch(fleet=False, migrations=True, samples_of=("*",)))
    begun = await _asked(client, StartRoll(wish))
    if begun.changed:
        if options.json:
            print_json({**roll_json(begun), "event": "refused"})
        said = f"It is not as it was planned: {begun.changed}. Nothing was touched."
        print(clean(said), file=sys.stderr)
        return EXIT_REFUSED
    return await _follow(client, RollFollower(begun, as_json=options.json))


class RollFollower:
    """Prints a roll, and its evacuations and returns, until it ends, stops or waits."""

    def __init__(self, roll: Roll, *, as_json: bool) -> None:
        self.roll = roll
        self._as_json = as_json
        self._notes = 0
        self._runs: dict[str, RunFollower] = {}
        self.leave_when_quiet = False
        self._show()

    async def follow(self, changes: AsyncIterator[Change]) -> int:
        """The exit code."""
        if self._stands:
            return self.roll.exit_code
        async for change in changes:
            self.take(change)
            if self._stands:
                return self.roll.exit_code
            if self.leave_when_quiet and self.quiet:
                break
        return EXIT_NEEDS_YOU

    @property
    def quiet(self) -> bool:
        """Nothing moves, and no hook runs."""
        host = self.roll.current
        hooks = host is not None and host.step is RollStep.HOOK and host.hook is None
        moves = any(one.run.in_state(MoveState.MOVING) for one in self._runs.values())
        return not (hooks and self.roll.wish.hook) and not moves

    @property
    def _stands(self) -> bool:
        """It goes on only when somebody says so."""
        waits = self.roll.state is RollState.PAUSED and not self.leave_when_quiet
        return not self.roll.state.open or waits or bool(self.roll.trouble)

    def take(self, change: Change) -> None:
        """Print one change, if it is about this roll."""
        if isinstance(change, RollChanged) and change.roll.id == self.roll.id:
            if change.roll != self.roll:
                self.roll = change.roll
                self._show()
            return
        if isinstance(change, EvacuationChanged) and self.roll.host_of(change.evacuation.id):
            run = change.evacuation
            if run.id not in self._runs and run.state.open:
                self._runs[run.id] = RunFollower(run, as_json=self._as_json)
                return
        for one in self._runs.values():
            if one.run.state.open:  # the way home is another run's, of the same VMs
                one.take(change)

    def _show(self) -> None:
        new, self._notes = self.roll.notes[self._notes :], len(self.roll.notes)
        if self._as_json:
            print_json({**roll_json(self.roll), "notes": [plain(note) for note in new]})
            return
        for note in new:
            print(clean(f"{units.clock(note.at)}  {note.sentence}"), flush=True)
        if self._stands:
            self._report()

    def _report(self) -> None:
        print(clean(words.ended(self.roll)))
        for one in self.roll.hosts:
            print(clean(f"  {one.host}: {words.step_words(one)}"))
            if one.hook is not None and one.hook.exit_status != 0:
                for line in one.hook.lines:
                    print(clean(f"    {line}"))


async def _follow(client: EngineClient, follower: RollFollower) -> int:
    """Ctrl-C pauses it, a second one leaves it so."""

    async def pause() -> None:
        try:
            if follower.roll.state is RollState.RUNNING:
                await client.call(SteerRoll(RollControl.PAUSE))
        finally:
            follower.leave_when_quiet = True

    code = await until_left(
        follower.follow(client.changes()),
        pause,
        lambda: follower.quiet,
        "Pausing the roll: what was begun is brought to its end; Ctrl-C again leaves.",
    )
    if follower.roll.state.open and not follower.roll.trouble:
        said = "`virt-ferry rolls resume` goes on with it, `... abort` ends it."
        print(f"The roll is not done: {said}", file=sys.stderr)
    return code


def roll_json(roll: Roll) -> dict[str, object]:
    """A roll as one object."""
    return {
        "event": "roll",
        "id": roll.id,
        "state": roll.state.value,
        "hosts": plain(roll.hosts),
        "hook": roll.wish.hook,
        "started": roll.started,
        "ended": roll.ended,
        "trouble": roll.trouble,
        "changed": roll.changed,
        "exit_code": None
        if roll.state in (RollState.PLANNED, RollState.RUNNING)
        else roll.exit_code,
    }
