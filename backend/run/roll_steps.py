"""The steps of a roll that move VMs: emptying a host, and bringing home what left it.

Both are runs like any other (`run.evacuations`); a roll only knows their ids.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from backend.errors import FerryError
from backend.model import (
    Evacuation,
    EvacuationChoice,
    EvacuationKind,
    EvacuationMove,
    EvacuationWish,
    MoveState,
    Roll,
    RollHost,
    RollWish,
)
from backend.plan import roll_course as course
from backend.run.roll_kit import RollKit, TroubleError

PLANS = 3
"""How often a host may have changed between its plan and its start."""
SEEN_S = 15.0
"""How long the fleet may take to show what both ends of each move have said."""
LOOK_S = 0.5
CHECK_S = 2.0


def emptying(wish: RollWish, host: str) -> EvacuationWish:
    """What is asked of the evacuation of one of its hosts."""
    targets = tuple(target for target in wish.targets if target != host)
    return EvacuationWish(host, EvacuationKind.EVACUATE, targets, wish.options, wish.choices)


class MovingSteps:
    """Of one roll: `told` is it as it stands, `set_roll` changes it."""

    def __init__(
        self, kit: RollKit, told: Callable[[], Roll], set_roll: Callable[[Roll], None]
    ) -> None:
        self._kit = kit
        self._told = told
        self._set = set_roll
        self.changed = asyncio.Event()
        """To be set when a run has changed."""

    def run_of(self, host: RollHost) -> Evacuation | None:
        """The run that belongs to its step, where there is one."""
        return next((run for run in self._kit.runs.known if run.id == host.run), None)

    async def empty(self, host: RollHost) -> None:
        """Raises TroubleError where a VM stays that was to go."""
        run = self._taken_up(host, EvacuationKind.EVACUATE) or await self._begin_emptying(host)
        if run is not None:
            ended = await self._ended(run.id)
            self._set(course.with_left(self._told(), ended))
            stays = course.staying(ended, self._told().wish)
            if stays:
                raise _trouble(f"{host.host} could not be emptied", stays)
        await self.until_empty(host)

    async def until_empty(self, host: RollHost) -> None:
        """Raises TroubleError where something runs on it."""
        await self._until(
            lambda: not self._there(host),
            lambda: f"{host.host} is not empty: on it is {', '.join(self._there(host))}",
        )

    async def bring_home(self, host: RollHost) -> None:
        """Raises TroubleError where one of its VMs is not back."""
        run = self._taken_up(host, EvacuationKind.RETURN)
        if run is None and not host.left:
            await self._kit.runs.set_maintenance(host.host, False)
            return
        run = run or await self._begin_return(host)
        if run is not None:
            missing = course.not_home(await self._ended(run.id), host)
            if missing:
                raise _trouble(f"Not all VMs of {host.host} came home", missing)
        await self._until(
            lambda: not self._away(host),
            lambda: f"{len(self._away(host))} of the VMs that left {host.host} are not seen on it",
        )

    def _taken_up(self, host: RollHost, kind: EvacuationKind) -> Evacuation | None:
        """Its run, also one that an engine had begun but not yet written down as the roll's."""
        known = self.run_of(host)
        if known is not None:
            return known
        for run in self._kit.runs.known:
            ours = run.host == host.host and run.kind is kind and run.state.open
            if ours and (run.started or 0.0) >= (host.began or 0.0):
                self._set(course.with_run(self._told(), run))
                return run
        return None

    async def _begin_emptying(self, host: RollHost) -> Evacuation | None:
        """None where nothing is on it, or only what is to stay."""
        wish, changed = emptying(self._told().wish, host.host), ""
        for _ in range(PLANS):
            planned = await self._kit.runs.plan(wish, fresh=True)
            stays = course.staying(planned, self._told().wish)
            if stays:
                raise _trouble(f"{host.host} cannot be emptied", stays)
            if not planned.in_state(MoveState.WAITING):
                await self._kit.runs.set_maintenance(host.host, True)
                return None
            run = await self._kit.runs.start(replace(wish, choices=planned.pinned))
            if not run.changed:
                self._set(course.with_run(self._told(), run))
                return run
            changed = run.changed
        raise TroubleError(f"{host.host} does not stay as it is planned: {changed}")

    async def _begin_return(self, host: RollHost) -> Evacuation | None:
        """None where somebody has brought them all home already."""
        wish = EvacuationWish(host.host, EvacuationKind.RETURN, options=self._told().wish.options)
        changed = "a VM that left is not known to be away"
        for _ in range(PLANS):
            planned = await self._kit.runs.plan(wish, fresh=True)
            ours = [move for move in planned.moves if move.uuid in host.left]
            if self._away(host) - {move.uuid for move in ours}:
                await asyncio.sleep(CHECK_S)  # the journal is told a moment after the run has ended
                continue
            if not ours:
                await self._kit.runs.set_maintenance(host.host, False)
                return None
            if not any(move.state is MoveState.WAITING for move in ours):
                raise _trouble(f"No VM of {host.host} can come home", ours)
            choices = tuple(_only(choice, host.left) for choice in planned.pinned)
            run = await self._kit.runs.start(replace(wish, choices=choices))
            if not run.changed:
                self._set(course.with_run(self._told(), run))
                return run
            changed = run.changed
        raise TroubleError(f"The way home to {host.host} does not stay as it is planned: {changed}")

    async def _ended(self, id: str) -> Evacuation:
        while True:
            self.changed.clear()
            run = next((one for one in self._kit.runs.known if one.id == id), None)
            if run is None:
                raise TroubleError(f"Run {id} is not known any more")
            if not run.state.open:
                return run
            try:
                async with asyncio.timeout(CHECK_S):
                    await self.changed.wait()
            except TimeoutError:
                continue

    def _there(self, host: RollHost) -> tuple[str, ...]:
        wish = self._told().wish
        return course.still_there(host.host, self._kit.fleet(), wish)

    def _away(self, host: RollHost) -> set[str]:
        """UUIDs of those that left it and are not seen on it."""
        home = {vm.uuid for vm in self._kit.fleet().vms if vm.host == host.host}
        return set(host.left) - home

    async def _until(self, so: Callable[[], bool], why: Callable[[], str]) -> None:
        for _ in range(round(SEEN_S / LOOK_S)):
            if so():
                return
            await asyncio.sleep(LOOK_S)
        raise TroubleError(why())


def _only(choice: EvacuationChoice, left: tuple[str, ...]) -> EvacuationChoice:
    """Who left before this roll stays where it is."""
    return choice if choice.uuid in left else EvacuationChoice(choice.uuid, leave=True)


def _trouble(what: str, moves: Sequence[EvacuationMove]) -> FerryError:
    needs_you = any(move.state is MoveState.NEEDS_YOU for move in moves)
    return TroubleError(f"{what}: {course.move_words(moves)}", needs_you=needs_you)
