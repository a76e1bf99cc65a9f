"""A second attempt, when the link was lost for so long that libvirt gave the first one up.

libvirt's own keepalive ends a migration after 25 to 30 s without an answer (9.0, its defaults). The
VM then stays whole at its source, and what the operator confirmed is still wanted: so it is
planned and begun once more, as a migration of its own, when the source reaches the target again.
Once only, never after an abort, within the first one's deadline, and only while nobody was told
otherwise: not after a verdict of `unknown`, nor by an engine that comes long after the promise.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from backend.fleet.host import HostWatch
from backend.model import HostState, MoveOptions, Outcome, Sample
from backend.plan.passes import silent_s
from backend.plan.wording import seconds
from backend.run.reach import reaches
from backend.run.told import Told
from backend.run.verdict import Judgement

LOST_S = 5.0
"""Nothing was sent for at least so long before the call failed."""
WAIT_S = 300.0
"""So long the link may take to come back."""
LOOK_EVERY_S = 2.0
LEAST_LEFT_S = 10.0
"""Of the deadline."""
CUT_SILENT_S = 100.0
"""How long an end may be silent, after a call that lost its link, before the verdict is `unknown`:
a minute's cut, then a reconnect."""


def promise(source: str, target: str) -> str:
    """The verdict's last sentence, as long as it holds."""
    return f"It is tried once more when {source} reaches {target} again."


def link_lost(samples: Sequence[Sample], call_error: str) -> str:
    """How a call has lost its link; empty when it ended otherwise."""
    if not call_error or not samples:
        return ""
    quiet_s = silent_s(samples)
    if quiet_s < LOST_S or samples[-1].remaining_bytes == 0:
        return ""
    return f"nothing could be sent for {seconds(quiet_s)}, and libvirt gave the connection up"


def lost_its_link(judgement: Judgement, samples: Sequence[Sample], call_error: str) -> str:
    """Why a migration that stayed is to be tried once more; empty when it is not."""
    return link_lost(samples, call_error) if judgement.outcome is Outcome.STAYED else ""


class SecondAttempt:
    """What follows the verdict of one migration that lost its link."""

    def __init__(self, told: Told, source: HostWatch, target: HostWatch) -> None:
        self._told = told
        self._source = source
        self._target = target
        self._off = asyncio.Event()

    @property
    def wanted(self) -> bool:
        """Its verdict promises one."""
        verdict = self._told.state.verdict
        return verdict is not None and verdict.again

    def allowed(self, by_abort: bool, begun_s: float) -> bool:
        """Before the verdict. `begun_s`: `time.monotonic()` of the call, or of the confirm."""
        state = self._told.state
        in_time = state.deadline_s is None or self._left_s(state.deadline_s, begun_s) > 0
        first = state.after is None and state.verdict is None  # nobody was told otherwise
        return first and not by_abort and not state.suspended and in_time

    def withheld(self, call_error: str, lost: str) -> str:
        """What the call said, and that there is no second attempt where `lost` would call for one
        but the verdict had to be `unknown` meanwhile."""
        verdict = self._told.state.verdict
        if not lost or verdict is None or self._told.state.abort_asked:
            return call_error
        return f"{call_error} It is not tried again by itself: it was not known where it runs."

    def options(self, options: MoveOptions, begun_s: float) -> MoveOptions | None:
        """As the first one was asked for and changed meanwhile, with what is left of its deadline;
        None when that is over.
        """
        state = self._told.state
        deadline_s = state.deadline_s
        if deadline_s is not None and (deadline_s := self._left_s(deadline_s, begun_s)) <= 0:
            return None
        held_until = state.at if state.hold and state.at and state.at > self._told.now() else None
        return replace(
            options,
            deadline_s=deadline_s,
            bandwidth_bytes_s=state.bandwidth_bytes_s,
            hold=state.hold,
            at=held_until,
        )

    @staticmethod
    def _left_s(deadline_s: float, begun_s: float) -> float:
        return deadline_s - (time.monotonic() - begun_s) - LEAST_LEFT_S

    async def link_is_back(self, promised_s: float = 0.0) -> bool:
        """Wait for it. False: called off meanwhile, or it took too long (told). `promised_s`: so
        long ago an engine before this one has promised it."""
        end_s = time.monotonic() + WAIT_S - promised_s
        while not self._off.is_set() and time.monotonic() < end_s:
            up = self._target.host.state is self._source.host.state is HostState.UP
            if up and await reaches(self._source, self._target):
                return not self._off.is_set()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._off.wait()
            except TimeoutError:
                continue
        if not self._off.is_set():
            name = self._target.name
            self.end(f"{self._source.name} did not reach {name} again within {seconds(WAIT_S)}")
        return False

    def call_off(self) -> None:
        """The operator does not want it any more."""
        self._off.set()
        self.end("called off, as asked")

    def begun(self, id: str) -> None:
        """The second attempt is there."""
        self._kept(f"tried again: migration {id}", f"It was tried again: migration {id}.")

    def end(self, why: str) -> None:
        """There will be none."""
        why = why.rstrip(".")
        self._kept(f"not tried again: {why}", f"It was not tried again: {why}.")

    def _kept(self, note: str, sentence: str) -> None:
        """The verdict promises nothing any more, and says what became of it."""
        state = self._told.state
        verdict = state.verdict
        if verdict is None or not verdict.again:
            return
        self._told.note("note", note)
        reason = verdict.reason.replace(promise(state.source, state.target), sentence)
        outlook = state.outlook and replace(state.outlook, reason=reason)
        self._told.update(verdict=replace(verdict, again=False, reason=reason), outlook=outlook)
