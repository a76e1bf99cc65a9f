"""One roll: does the next step of the host whose turn it is, stops by the first trouble.

All of it stands in one `Roll`, kept in the journal before and after each step: an engine that
dies leaves a roll that the next one can go on with, when it is told to.
"""

import asyncio
import logging
import time
from dataclasses import replace

from backend.errors import BadInput, CallTimedOut, FerryError
from backend.model import (
    Evacuation,
    EvacuationControl,
    EvacuationNote,
    EvacuationState,
    HookEnd,
    HostState,
    Roll,
    RollControl,
    RollHost,
    RollState,
    RollStep,
)
from backend.plan import roll_course as course
from backend.remote import hook
from backend.remote.shell import Shell
from backend.run.roll_kit import RollKit, TroubleError, Watched
from backend.run.roll_steps import MovingSteps

log = logging.getLogger(__name__)

MOST_NOTES = 200
LOOK_EVERY_S = 1.0
SURE_LOOKS = 2
"""Of libvirt's answers: the first may have been asked before the hook has ended."""


class RollRun:
    """`begin` it; `control` it; `close` it."""

    def __init__(self, roll: Roll, kit: RollKit) -> None:
        self.roll = roll
        self._kit = kit
        self._steps = MovingSteps(kit, lambda: self.roll, self._set)
        self._task: asyncio.Task[None] | None = None
        self._given_up = asyncio.Event()
        """Somebody asked for its end."""

    def begin(self) -> None:
        """From now on it goes on."""
        if self._task is None:
            self._task = asyncio.create_task(self._live(), name=f"roll-{self.roll.id}")

    async def close(self) -> None:
        """Let go: what moves goes on, and the journal has the rest."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def busy(self) -> bool:
        """It needs this engine."""
        return self._task is not None

    def saw(self, run: Evacuation) -> None:
        """An evacuation or a return began, went on or ended."""
        self._steps.changed.set()

    # -- what is done to it --------------------------------------------------------------------

    async def control(self, control: RollControl) -> None:
        """Raises BadInput for what cannot be now."""
        if not self.roll.state.open:
            raise BadInput("The roll has ended.", "`virt-ferry roll HOST...` begins another.")
        match control:
            case RollControl.PAUSE:
                await self._pause()
            case RollControl.RESUME:
                await self._resume()
            case RollControl.SKIP:
                self._skip()
            case RollControl.ABORT:
                await self._abort()
        await self._keep()

    async def _pause(self) -> None:
        if self.roll.state is not RollState.RUNNING:
            raise BadInput(f"The roll is {self.roll.state} already.")
        self._set(replace(self.roll, state=RollState.PAUSED))
        self._note("paused: what was begun is brought to its end", "operator")
        await self._to_run(EvacuationControl.PAUSE, EvacuationState.RUNNING)

    async def _resume(self) -> None:
        if self.roll.state is RollState.RUNNING or self.roll.aborted:
            raise BadInput(f"The roll {'is to end' if self.roll.aborted else 'goes on already'}.")
        await self._to_run(
            EvacuationControl.RESUME, EvacuationState.PAUSED, EvacuationState.INTERRUPTED
        )
        host = self.roll.current
        worked = host is not None and host.step is RollStep.HOOK and host.hook_began is not None
        self._set(course.resumed(self.roll))
        if worked and not self.roll.wish.hook:
            self._set(course.advanced(self.roll, self._kit.now()))
        self._note("goes on", "operator")
        self.begin()

    def _skip(self) -> None:
        host = self.roll.current
        if host is None or host.step not in course.SKIPPABLE:
            raise BadInput("Only a hook, or the wait for a host, can be left out.")
        if self._task is not None:
            raise BadInput(f"That of {host.host} still goes on.", "Pause or abort the roll.")
        said = "the hook" if host.step is RollStep.HOOK else "waiting until it is back"
        self._note(f"{host.host}: {said} is left out", "operator")
        self._set(course.set_host(self.roll, replace(host, hook=None)))
        self._set(course.resumed(course.advanced(self.roll, self._kit.now())))
        self.begin()

    async def _abort(self) -> None:
        self._set(replace(self.roll, aborted=True))
        self._given_up.set()
        self._note("to be ended: nothing more is begun", "operator")
        host = self.roll.current
        run = self._steps.run_of(host) if host else None
        if run is not None and run.state.open:
            await self._kit.runs.control(run.id, EvacuationControl.ABORT, None)
        if self._task is None:
            if run is not None and host is not None and host.step is RollStep.EMPTYING:
                self._set(course.with_left(self.roll, run))
            self._end_early()

    async def _to_run(self, control: EvacuationControl, *states: EvacuationState) -> None:
        """The same to the run of its step, where that is so."""
        host = self.roll.current
        run = self._steps.run_of(host) if host else None
        if run is not None and run.state in states:
            await self._kit.runs.control(run.id, control, None)

    # -- its life ------------------------------------------------------------------------------

    @property
    def _goes_on(self) -> bool:
        return self.roll.state is RollState.RUNNING and not self.roll.aborted

    async def _live(self) -> None:
        while True:
            while self._goes_on:
                await self._one_step()
                await self._keep()
            if self.roll.aborted and self.roll.state.open:
                self._end_early()
                await self._keep()
            if not self._goes_on:
                break
        self._task = None

    async def _one_step(self) -> None:
        host = self.roll.current
        assert host is not None
        try:
            done = await self._do(host)
        except TroubleError as trouble:
            self._stop(trouble.sentence, needs_you=trouble.needs_you)
        except FerryError as error:
            self._stop(str(error))
        except Exception:
            log.exception("roll %s: %s of %s", self.roll.id, host.step, host.host)
            self._stop("The engine met a fault of its own; its log has it")
        else:
            if done:
                self._advance()

    async def _do(self, host: RollHost) -> bool:
        """True once the step is done; False where it waits for the operator."""
        watch = self._kit.watched(host.host)
        match host.step:
            case RollStep.WAITING:
                marked = host.host in self._kit.marked()
                seen = replace(watch.host, maintenance_since=0.0 if marked else None)
                course.check_host(self.roll.wish, seen, watch.shell is not None)
            case RollStep.EMPTYING:
                await self._steps.empty(host)
                self._note(f"{host.host} is empty")
            case RollStep.HOOK:
                return await self._work(host, watch)
            case RollStep.BACK:
                return await self._wait_for(host, watch)
            case RollStep.RETURNING:
                await self._steps.bring_home(host)
                self._note(f"{host.host} is done: its VMs are home")
        return True

    async def _work(self, host: RollHost, watch: Watched) -> bool:
        booted = await hook.look(watch.shell) if watch.shell is not None else None
        command = self.roll.wish.hook
        if command and (watch.shell is None or booted is None):
            raise TroubleError(f"No command can be run on {host.host} now: the hook was not begun")
        if command:
            await self._steps.until_empty(host)  # it may have stood here for hours
        boot_id = booted.boot_id if booted else ""
        host = replace(host, boot_id=boot_id, hook_began=self._kit.now(), hook=None)
        self._set(course.set_host(self.roll, host))
        if not command:
            self._set(replace(self.roll, state=RollState.PAUSED))
            self._note(
                f"{host.host} is ready for your work; `virt-ferry rolls resume` when it is done"
            )
            return False
        self._note(f"the hook runs on {host.host}: {command}")
        await self._keep()
        assert watch.shell is not None
        ended = await self._hook_ends(host, watch.shell)
        self._hooked(host, HookEnd(ended.exit_status, ended.took_s, ended.lines))
        return True

    async def _hook_ends(self, host: RollHost, shell: Shell) -> hook.Hooked:
        """Raises TroubleError where it takes too long, or is not waited for any more."""
        wish = self.roll.wish
        runs = asyncio.create_task(hook.run_hook(shell, wish.hook, wish.hook_within_s))
        given_up = asyncio.create_task(self._given_up.wait())
        try:
            await asyncio.wait({runs, given_up}, return_when=asyncio.FIRST_COMPLETED)
            if runs.done():
                return await runs
        except CallTimedOut:
            limit = f"within {wish.hook_within_s:g} s"
            raise TroubleError(
                f"The hook on {host.host} did not end {limit}, and may go on there"
            ) from None
        finally:
            for task in (runs, given_up):
                task.cancel()
            await asyncio.gather(runs, given_up, return_exceptions=True)
        raise TroubleError(f"the hook on {host.host} is not waited for: it may go on there")

    def _hooked(self, host: RollHost, ended: HookEnd) -> None:
        """Raises TroubleError where it failed."""
        self._set(course.set_host(self.roll, replace(host, hook=ended)))
        last = f": {ended.lines[-1]}" if ended.lines else ""
        if ended.exit_status is None:
            self._note(
                f"the connection to {host.host} was lost while the hook ran:"
                " it counts as done if the host has booted anew"
            )
        elif ended.exit_status:
            raise TroubleError(
                f"The hook on {host.host} ended with exit code {ended.exit_status}"
                f" after {ended.took_s:.0f} s{last}"
            )
        else:
            self._note(f"the hook on {host.host} is done after {ended.took_s:.0f} s{last}")

    async def _wait_for(self, host: RollHost, watch: Watched) -> bool:
        wish, before = self.roll.wish, watch.looks
        until_s = time.monotonic() + wish.back_within_s
        said = ""
        while not self.roll.aborted:
            why = course.not_back(host, wish, await self._look(watch, before))
            if not why:
                self._note(f"{host.host} is back")
                return True
            if time.monotonic() > until_s:
                raise TroubleError(
                    f"{host.host} is not back within {wish.back_within_s:g} s: {why}"
                )
            if why != said:
                said = why
                log.info("roll %s: %s is not back yet: %s", self.roll.id, host.host, why)
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    async def _look(self, watch: Watched, before: int) -> course.Seen:
        seen = watch.host
        if seen.state is not HostState.UP or watch.looks < before + SURE_LOOKS:
            return course.Seen(False, why=seen.reason)
        if watch.shell is None:
            return course.Seen(True)
        booted = await hook.look(watch.shell)
        if booted is None:
            return course.Seen(False, why="it takes no command by SSH")
        return course.Seen(True, booted.boot_id, booted.stopping)

    # -- small things ---------------------------------------------------------------------------

    def _advance(self) -> None:
        self._set(course.advanced(self.roll, self._kit.now()))
        if not self.roll.state.open:
            self._note("all hosts are done")

    def _stop(self, why: str, *, needs_you: bool = False) -> None:
        if self.roll.aborted:
            self._note(why)
            return
        self._set(course.stopped(self.roll, why, self._kit.marked(), needs_you=needs_you))
        self._note(f"stopped: {why}")

    def _end_early(self) -> None:
        marked = self._kit.marked()
        todo = " · ".join(f"`{one}`" for one in course.left_to_do(self.roll, marked))
        said = f"{course.true_now(self.roll, marked)}{f' Left to do: {todo}.' if todo else ''}"
        self._set(course.ended(replace(self.roll, trouble=said), self._kit.now()))
        self._note("ended, as asked")

    def _note(self, sentence: str, by: str = "engine") -> None:
        log.info("roll %s: %s", self.roll.id, sentence)
        note = EvacuationNote(self._kit.now(), sentence, by)
        self._set(replace(self.roll, notes=(*self.roll.notes[-MOST_NOTES:], note)))

    def _set(self, roll: Roll) -> None:
        self.roll = roll
        self._kit.publish(roll)

    async def _keep(self) -> None:
        await self._kit.keep(self.roll)
