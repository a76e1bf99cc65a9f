"""All rolls of one fleet: planned, begun, found again after an engine has ended."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace

from backend.errors import BadInput
from backend.fleet.inventory import Inventory
from backend.model import (
    Evacuation,
    EvacuationNote,
    MoveState,
    Now,
    Roll,
    RollControl,
    RollHost,
    RollState,
    RollStep,
    RollWish,
)
from backend.plan import roll_course as course
from backend.run.evacuations import NOT_KEPT, Evacuations
from backend.run.journal import Journal
from backend.run.journal_runs import RunRows
from backend.run.planning import SETTLE_S
from backend.run.roll_kit import RollKit
from backend.run.roll_run import RollRun
from backend.run.roll_steps import emptying

KEPT = 20
"""Ended rolls that clients are told of."""


class Rolls:
    """`begin` it once, `close` it once. One roll is open at a time."""

    def __init__(
        self,
        runs: Evacuations,
        inventory: Inventory,
        journal: Journal,
        publish: Callable[[Roll], None],
        now: Now,
    ) -> None:
        self._runs = runs
        self._now = now
        self._inventory = inventory
        self._rows = RunRows(journal)
        self._kit = RollKit(
            runs,
            lambda: inventory.snapshot,
            inventory.host,
            lambda: inventory.maintenance,
            self._rows.keep_roll,
            publish,
            now,
        )
        self._rolls: dict[str, RollRun] = {}
        self._loading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    def begin(self) -> None:
        """Read what an engine before this one has left; nothing of it goes on unasked."""
        self._loading = asyncio.create_task(self._load(), name="rolls")

    async def close(self) -> None:
        """Let go: the journal has all of it."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in self._rolls.values()))

    @property
    def busy_count(self) -> int:
        """Rolls that need this engine."""
        return sum(one.busy for one in self._rolls.values())

    @property
    def known(self) -> tuple[Roll, ...]:
        """Of what was read so far."""
        return tuple(one.roll for one in self._rolls.values())

    async def all(self) -> tuple[Roll, ...]:
        """Open ones and the newest that ended, oldest first."""
        await self._loaded()
        return tuple(sorted(self.known, key=lambda one: one.started or one.made))

    def saw(self, run: Evacuation) -> None:
        """An evacuation or a return began, went on or ended."""
        for one in self._rolls.values():
            if one.busy:
                one.saw(run)

    async def plan(self, wish: RollWish) -> Roll:
        """What it would be: the first host planned, the others when their turn comes. Changes
        nothing. Raises BadInput."""
        await self._check(wish)
        first = await self._runs.plan(emptying(wish, wish.hosts[0]), fresh=True)
        stays = course.staying(first, wish)
        said = f"{wish.hosts[0]} cannot be emptied: {course.move_words(stays)}" if stays else ""
        return replace(_new(wish, self._now()), first=first, trouble=said)

    async def start(self, wish: RollWish) -> Roll:
        """Begin it if the first host is as it was reviewed; else say in `changed` what differs,
        and begin nothing. Raises BadInput."""
        async with self._starting:
            await self._check(wish)
            roll = _new(replace(wish, reviewed=None), self._now())
            first = await self._first(wish)
            if first is not None and first.changed:
                return replace(roll, first=first, changed=first.changed)
            return await self._begin(roll, first)

    async def control(self, control: RollControl) -> None:
        """Of the open one. Raises FerryError."""
        await self._loaded()
        one = self._open()
        if one is None:
            raise BadInput("There is no open roll.", "`virt-ferry roll HOST...` begins one.")
        await one.control(control)

    def _open(self) -> RollRun | None:
        return next((one for one in self._rolls.values() if one.roll.state.open), None)

    async def _check(self, wish: RollWish) -> None:
        await self._loaded()
        await self._inventory.maintenance_known.wait()
        await self._inventory.settled(SETTLE_S)
        watched = self._inventory.hosts
        hosts = [self._inventory.marked(one.host) for one in watched.values()]
        reached = {name for name, one in watched.items() if one.shell is not None}
        self._check_free(wish)
        course.check(wish, hosts, reached)

    def _check_free(self, wish: RollWish) -> None:
        one = self._open()
        if one is not None:
            raise BadInput(
                f"A roll of {', '.join(one.roll.wish.hosts)} is {one.roll.state}:"
                f" {one.roll.trouble or 'one goes on at a time.'}",
                "`virt-ferry rolls` shows it; `... resume` goes on with it, `... abort` ends it.",
            )
        for run in self._runs.known:
            if run.state.open and run.host in wish.hosts:
                raise BadInput(
                    f"A run of {run.host} is {run.state}: {run.kind} {run.id}.",
                    f"`virt-ferry evacuations resume {run.host}` goes on with it,"
                    f" `... abort {run.host}` ends it.",
                )

    async def _first(self, wish: RollWish) -> Evacuation | None:
        """The first host's evacuation, begun, or with what has changed; None where it is empty."""
        asked = emptying(wish, wish.hosts[0])
        if wish.reviewed is None or not any(one.target for one in wish.reviewed):
            planned = await self._runs.plan(asked, fresh=True)
            stays = course.staying(planned, wish)
            goes = planned.in_state(MoveState.WAITING)
            if stays:
                raise BadInput(f"{asked.host} cannot be emptied: {course.move_words(stays)}")
            if not goes:
                return None
            if wish.reviewed is not None:
                return replace(planned, changed=f"{goes[0].vm} has come to {asked.host}")
            return await self._runs.start(replace(asked, choices=planned.pinned))
        return await self._runs.start(replace(asked, choices=wish.reviewed))

    async def _begin(self, roll: Roll, first: Evacuation | None) -> Roll:
        now_s = self._now()
        roll = replace(roll, state=RollState.RUNNING, started=now_s)
        roll = course.advanced(roll, first.started or now_s if first else now_s)
        if first is not None:
            roll = course.with_run(roll, first)
        if not await self._rows.keep_roll(roll):
            roll = replace(roll, notes=(EvacuationNote(now_s, NOT_KEPT),))
        one = RollRun(roll, self._kit)
        self._remember(one)
        self._kit.publish(roll)
        one.begin()
        return one.roll

    def _remember(self, one: RollRun) -> None:
        self._rolls[one.roll.id] = one
        ended = [key for key, other in self._rolls.items() if not other.roll.state.open]
        for key in ended[:-KEPT]:
            del self._rolls[key]

    async def _loaded(self) -> None:
        if self._loading is not None:
            await asyncio.wait({self._loading}, timeout=SETTLE_S)

    async def _load(self) -> None:
        await self._runs.all()
        await self._inventory.maintenance_known.wait()
        for roll in (await self._rows.rolls())[-KEPT:]:
            roll = course.found_again(roll, self._inventory.maintenance)
            self._rolls.setdefault(roll.id, RollRun(roll, self._kit))
            self._kit.publish(roll)


def _new(wish: RollWish, now_s: float) -> Roll:
    hosts = tuple(RollHost(name, RollStep.WAITING) for name in wish.hosts)
    return Roll(secrets.token_hex(3), wish, hosts=hosts, made=now_s)
