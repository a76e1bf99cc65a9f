"""The end of a move of a VM that does not run: undo or finish, ask both ends, say who owns it."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from backend.errors import FerryError
from backend.hypervisor import definitions
from backend.model import Mode, Outcome, Outlook, Phase, Verdict, Word
from backend.run import conclude
from backend.run.cold_state import SmallState
from backend.run.cold_target import ColdTarget
from backend.run.migration import Undertaking
from backend.run.new_volumes import NewVolumes
from backend.run.old_images import OldImages
from backend.run.preparing import TargetReady
from backend.run.settle import RECHECK_S, ask
from backend.run.told import Told
from backend.run.verdict import End, Judgement

if TYPE_CHECKING:
    from backend.run.cold_move import Progress

log = logging.getLogger(__name__)
START_LIMIT_S = 60.0
TIDY_S = 900.0


class ColdEnd:
    """Brings one to its verdict."""

    def __init__(
        self,
        told: Told,
        begun: Undertaking,
        progress: "Progress",
        definition: ColdTarget,
        volumes: NewVolumes,
        ready: TargetReady,
        small: SmallState,
        images: OldImages,
        proven: Callable[[], tuple[str, ...]],
    ) -> None:
        self._told = told
        self._begun = begun
        self._progress = progress
        self._definition = definition
        self._volumes = volumes
        self._ready = ready
        self._small = small
        self._images = images
        self._proven = proven
        self._returned_s: float | None = None
        self._undone: tuple[str, ...] = ()
        """What could not be taken away yet."""

    async def conclude(self, after_crash: bool = False) -> None:
        """Until a verdict stands; an `unknown` one is published, and looked at again."""
        self._returned_s = time.monotonic()
        self._told.enter(Phase.VERIFY)
        while True:
            at_source, at_target = await self._ask()
            judgement = judge_cold(self._begun.before.vm, at_source, at_target, self._names())
            if self._must_go_on(at_source, at_target):
                judgement = await self._forward()
            if judgement.outcome is Outcome.MOVED and self._progress.given_back is False:
                judgement = await self._released(judgement, at_target)
            if judgement.outcome is not Outcome.UNKNOWN:
                await self._conclude(judgement, after_crash)
                return
            self._publish(judgement)
            await asyncio.sleep(RECHECK_S)

    async def tidy(self) -> bool:
        """What a host that was not reached still holds is removed once it can be. False: it could
        not be for `TIDY_S`; the next engine tries again."""
        until_s = time.monotonic() + TIDY_S
        while (verdict := self._told.state.verdict) is not None and self._undone:
            if time.monotonic() > until_s:
                return False
            await asyncio.sleep(RECHECK_S)
            left = await self._undo()
            if left != self._undone:
                kept = tuple(one for one in verdict.leftovers if one not in self._undone)
                self._told.update(verdict=replace(verdict, leftovers=(*left, *kept)))
            self._undone = left
        return True

    async def _ask(self) -> tuple[End | None, End | None]:
        uuid = self._told.state.uuid
        source, target = self._definition.source, self._definition.target
        at_source, at_target = await asyncio.gather(ask(source, uuid), ask(target, uuid))
        return at_source, at_target

    def _names(self) -> tuple[str, str]:
        return self._definition.source.name, self._definition.target.name

    def _must_go_on(self, source: End | None, target: End | None) -> bool:
        """Once the source was told to let go it may still do so, whatever it answered: to take
        the target's away then could leave the VM without any definition."""
        if not self._progress.handed_over or self._progress.given_back:
            return False
        here = source is not None and source.defined and not source.active
        return here and target is not None and target.defined

    async def _forward(self) -> Judgement:
        try:
            await self._definition.hand_over()
        except FerryError as error:
            return Judgement(
                Outcome.UNKNOWN,
                None,
                f"{self._definition.source.name} was told to let go of it, and has not yet:"
                f" {error.sentence}",
                settled=False,
            )
        here, there = self._names()
        return moved_judgement(here, there, runs=False)

    async def _released(self, judgement: Judgement, at_target: End | None) -> Judgement:
        """A target that may not start it yet (we, or an engine before us, were cut off)."""
        uuid, target = self._told.state.uuid, self._definition.target
        try:
            locked = await target.call(
                lambda conn: definitions.read_guard(conn, uuid), 10.0, "say whether it may start"
            )
            if locked:
                await self._definition.release()
        except FerryError as error:
            return Judgement(
                Outcome.UNKNOWN,
                None,
                f"{target.name} has it, but it cannot be started there yet: {error.sentence}",
                settled=False,
            )
        return judgement

    async def _conclude(self, judgement: Judgement, after_crash: bool) -> None:
        leftovers = list(judgement.leftovers)
        if judgement.outcome is Outcome.STAYED:
            self._undone = await self._undo()
            leftovers += self._undone
            leftovers += await self._running_again(after_crash)
            judgement = await self._as_it_is(judgement)
        elif judgement.outcome is Outcome.MOVED:
            self._ready.keep()
            leftovers += await self._not_started()
            leftovers += await self._images.finish(self._proven())
        else:
            leftovers += (*self._volumes.undecided(), *self._ready.undecided())
        self._publish(judgement, tuple(leftovers))

    async def _undo(self) -> tuple[str, ...]:
        """In this order: a volume that a definition names is not removed."""
        left = await self._definition.take_away()
        left += await self._small.remove()
        left += await self._volumes.remove()
        return left + await self._ready.undo()

    async def _not_started(self) -> tuple[str, ...]:
        """A restart that ended on a VM which nobody has seen to run."""
        state = self._told.state
        if state.mode is not Mode.RESTART or self._progress.started_s is not None:
            return ()
        end, there = await ask(self._definition.target, state.uuid), self._definition.target.name
        if end is not None and end.active:
            return ()
        return (f"it may be shut off on {there}: virsh start {state.uuid} there",)

    async def _running_again(self, after_crash: bool) -> tuple[str, ...]:
        """What was shut down for the move runs again at its source; an engine that comes later
        does not know whether it still should."""
        uuid, source = self._told.state.uuid, self._definition.source
        if self._told.state.mode is not Mode.RESTART:
            return ()
        if after_crash:
            end = await ask(source, uuid)
            off = end is not None and not end.active
            return (f"it is shut off on {source.name}: virsh start {uuid} there",) * off
        if self._progress.stopped_s is None:
            return ()
        try:
            await source.call(
                lambda conn: definitions.start(conn, uuid), START_LIMIT_S, "start the VM"
            )
        except FerryError as error:
            self._told.note("note", error.sentence)
            return (f"it is shut off on {source.name}: virsh start {uuid} there",)
        self._told.note("start", f"started it again on {source.name}")
        return ()

    async def _as_it_is(self, judgement: Judgement) -> Judgement:
        """What the source says once all is undone."""
        source, target = self._names()
        end, there = await self._ask()
        if end is None:
            return judgement
        words = stayed_words(end, source, target, gone=there is not None and there.absent)
        return Judgement(judgement.outcome, judgement.owner, words)

    def _publish(self, judgement: Judgement, leftovers: tuple[str, ...] = ()) -> None:
        was = self._told.state.verdict
        if was is not None and was.outcome is judgement.outcome:
            return
        verdict = self._verdict(judgement, leftovers)
        word = conclude.last_word(verdict)
        self._told.update(
            verdict=verdict,
            phases=self._told.ended_phases(judgement.outcome),
            outlook=word if verdict.outcome is not Outcome.UNKNOWN else _needs(verdict),
        )

    def _verdict(self, judgement: Judgement, leftovers: tuple[str, ...]) -> Verdict:
        state, progress = self._told.state, self._progress
        now_s = time.monotonic()
        off_s = None
        if progress.stopped_s is not None and progress.started_s is not None:
            off_s = progress.started_s - progress.stopped_s
        moved = judgement.outcome is Outcome.MOVED
        verdict = conclude.plain_verdict(
            state,
            judgement,
            reason=self._reason(judgement),
            total_s=(self._returned_s or now_s) - self._begun.confirmed,
            wall_s=now_s - self._begun.confirmed,
            sent_bytes=sum(one.done_bytes for one in state.disks),
            leftovers=leftovers,
        )
        return replace(
            verdict,
            pause_ms=round(off_s * 1000) if moved and off_s is not None else None,
            disks=self._images.sentences,
            kept=self._images.kept,
        )

    def _reason(self, judgement: Judgement) -> str:
        state = self._told.state
        if state.abort_asked and judgement.outcome is Outcome.STAYED:
            return f"{judgement.reason} Aborted as asked."
        return f"{judgement.reason} {self._progress.error}".rstrip()


def judge_cold(
    vm: str, source: End | None, target: End | None, names: tuple[str, str]
) -> Judgement:
    """Who owns a VM that is not moved while it runs. Pure.

    A source that has its definition owns it, whatever the target says: the target's cannot be
    started before the source has let go.
    """
    here, there = names
    if source is not None and source.defined:
        return Judgement(Outcome.STAYED, here, stayed_words(source, here, there))
    if source is None or target is None:
        silent = here if source is None else there
        return Judgement(
            Outcome.UNKNOWN,
            None,
            f"{silent} did not answer, so who has {vm} is not known. Do not start it anywhere by"
            " hand; it is asked again until it is known.",
            settled=False,
        )
    if target.defined:
        return moved_judgement(here, there, target.active)
    return Judgement(Outcome.LOST, None, f"Neither {here} nor {there} has it.", settled=False)


def moved_judgement(here: str, there: str, runs: bool) -> Judgement:
    """The target alone has it."""
    does = "runs" if runs else "is shut off"
    return Judgement(
        Outcome.MOVED, there, f"It {does} on {there}; {here} has nothing of it any more."
    )


def stayed_words(source: End, here: str, there: str, gone: bool = False) -> str:
    """What is true of a VM that stayed; `gone`: the target has said that it has nothing of it."""
    runs = "runs" if source.active else "is shut off, and whole,"
    other = f"{there} has nothing of it" if gone else f"it cannot be started on {there}"
    return f"It {runs} on {here}; {other}."


def _needs(verdict: Verdict) -> Outlook:
    return Outlook(Word.NEEDS_YOU, verdict.reason)
