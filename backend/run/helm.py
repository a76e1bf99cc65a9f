"""Carries out what `steering` decides about one running migration."""

import logging
import time
from collections import Counter

from backend.errors import FerryError, HostUnreachable
from backend.model import Moment, Phase, Sample, Tuning
from backend.plan.passes import passes_seen, throughput
from backend.plan.running import Prior, ahead
from backend.run.controls import ENGINE, Controls
from backend.run.hold import brake, held_before
from backend.run.steering import Action, View, can_tell, decide
from backend.run.told import Told
from backend.run.watching import Watching

log = logging.getLogger(__name__)

STEER_EVERY_S = 1.0
"""Between ends of passes only what cannot wait; shorter passes tell nothing one by one."""
RELEASED_S = 5.0
"""After a hold: until then the rate is still that of its brake."""
MOST_TRIES = 3
"""Of an action that a host did not answer."""
SWITCH_LEAD_S = 1.0
"""A hold that ends at a set time is released so long before it."""


class Helm:
    """Looks after each sample; acts at most once a second."""

    def __init__(
        self, told: Told, controls: Controls, watching: Watching, tuning: Tuning, prior: Prior
    ) -> None:
        self._told = told
        self._controls = controls
        self._watching = watching
        self._tuning = tuning
        self._prior = prior
        self._tries: Counter[str] = Counter()
        self._looked_s = 0.0
        self._judged_s = 0.0
        self._writes_bytes_s = 0.0
        self._seen: Sample | None = None
        self._pass_ended = False
        """One has, and nothing was decided since."""
        self._held_s = 0.0
        """While held, the deadline waits."""
        self._held_from_s: float | None = None
        self.disks_s = 0.0
        """So long the disks took: the deadline is the memory's."""
        self._released_s = -RELEASED_S

    def resume(self) -> None:
        """Of a migration that an engine before this one has left: the times that do not count."""
        state = self._told.state
        if state.called_at is None:
            return
        zero_s = begun_s = self._told.zero
        if state.memory_at is not None:
            self.disks_s = max(0.0, state.memory_at - state.called_at)
            begun_s += self.disks_s
        held = held_before(state.decisions, state.hold, begun_s, zero_s)
        self._held_s, self._held_from_s = held

    async def steer(self, pass_ended: bool) -> None:
        """Decide and do; what the host refuses is told and not tried again."""
        state = self._told.state
        self._pass_ended = self._pass_ended or pass_ended
        self._time_disks(state.phase)
        self._time_hold(state.hold and state.phase is not Phase.DISK)
        if state.phase is not Phase.MEMORY or state.abort_asked or not self._watching.samples:
            return
        if state.hold:
            await self._hold()
            return
        newest, now_s = self._watching.samples[-1], time.monotonic()
        fresh, self._seen = newest is not self._seen, newest
        if not fresh or now_s - self._released_s < RELEASED_S or not self._due(now_s):
            return  # a source that does not answer tells nothing to decide on
        self._looked_s = now_s
        view = self._view(self._pass_ended)
        if self._pass_ended and can_tell(self._watching.samples):
            self._pass_ended, self._judged_s = False, now_s
        action = decide(view)
        if action is not None:
            await self._act(action)

    def _due(self, now_s: float) -> bool:
        """At the end of a pass, while post-copy is to begin at once, and every second."""
        at_once = self._tuning.switch is Moment.AT_ONCE and not self._tries["post-copy"]
        ended = self._pass_ended and now_s - self._judged_s >= STEER_EVERY_S
        return at_once or ended or now_s - self._looked_s >= STEER_EVERY_S

    def _time_disks(self, phase: Phase) -> None:
        if phase is Phase.DISK:
            self.disks_s = time.monotonic() - self._told.zero

    def _time_hold(self, held: bool) -> None:
        now_s = time.monotonic()
        if held and self._held_from_s is None:
            self._held_from_s = now_s
        elif not held and self._held_from_s is not None:
            self._held_s += now_s - self._held_from_s
            self._held_from_s, self._released_s = None, now_s

    def _view(self, pass_ended: bool) -> View:
        state = self._told.state
        return View(
            samples=self._watching.samples,
            policy=state.policy,
            tuning=self._tuning,
            prior=self._prior,
            pause_limit_ms=self._told.limit_ms,
            elapsed_s=time.monotonic() - self._told.zero - self._held_s - self.disks_s,
            deadline_s=state.deadline_s,
            pass_ended=pass_ended,
            post_copy=state.post_copy,
            suspended=state.suspended,
            hold=state.hold,
            by_operator=self._controls.by_operator,
            refused=frozenset(kind for kind, n in self._tries.items() if n >= MOST_TRIES),
        )

    async def _act(self, action: Action) -> None:
        try:
            match action.kind:
                case "pause-limit" if action.pause_ms is not None:
                    await self._controls.set_pause_limit(action.pause_ms, action.reason, ENGINE)
                case "post-copy":
                    await self._controls.start_post_copy(action.reason, ENGINE)
                case "suspend":
                    await self._controls.suspend(action.reason, ENGINE)
                case "abort":
                    await self._controls.abort(action.reason, ENGINE)
        except HostUnreachable as error:
            self._tries[action.kind] += 1
            self._told.note("note", f"{action.kind} not answered: {error.sentence}")
        except FerryError as error:
            self._tries[action.kind] = MOST_TRIES
            self._told.note("note", f"{action.kind} refused: {error.sentence}")

    async def _hold(self) -> None:
        state = self._told.state
        if state.at is not None and self._told.now() >= state.at - SWITCH_LEAD_S:
            await self._release()
            return
        samples, now_s = self._watching.samples, time.monotonic()
        if now_s - self._looked_s >= STEER_EVERY_S:
            self._looked_s = now_s
            passes = passes_seen(samples, self._told.limit_ms)
            expected = ahead(samples[-1], passes, self._prior)
            self._writes_bytes_s = expected.likely[-1].rate_bytes_s if expected else 0.0
        braked = self._controls.brake_bytes_s is not None
        full = max(self._prior.link_bytes_s or 0.0, throughput(samples))
        limit = brake(samples[-1].remaining_bytes, full, self._writes_bytes_s, braked)
        if (limit is not None) is braked:
            return
        try:
            await self._controls.brake(limit)
        except FerryError as error:
            log.warning("holding %s: %s", state.id, error)

    async def _release(self) -> None:
        try:
            await self._controls.switch("the time that was set: switching over", ENGINE)
        except FerryError as error:
            self._tries["switch"] += 1
            if self._tries["switch"] == 1:
                self._told.note("note", f"the hold could not be ended: {error.sentence}")
