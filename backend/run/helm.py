"""Carries out what `steering` decides about one running migration."""

import logging
import time

from backend.errors import FerryError
from backend.model import Phase, Tuning
from backend.plan.passes import passes_seen, throughput
from backend.plan.running import Prior, ahead
from backend.run.controls import ENGINE, Controls
from backend.run.hold import brake
from backend.run.steering import Action, View, decide
from backend.run.told import Told
from backend.run.watching import Watching

log = logging.getLogger(__name__)

STEER_EVERY_S = 1.0
"""Between ends of passes: only what cannot wait."""
SWITCH_LEAD_S = 1.0
"""A hold that ends at a set time is released so long before it."""


class Helm:
    """Looks after each sample; acts at most once a pass."""

    def __init__(
        self, told: Told, controls: Controls, watching: Watching, tuning: Tuning, prior: Prior
    ) -> None:
        self._told = told
        self._controls = controls
        self._watching = watching
        self._tuning = tuning
        self._prior = prior
        self._failed: set[str] = set()
        self._braked = False
        self._looked_s = 0.0

    async def steer(self, pass_ended: bool) -> None:
        """Decide and do; what the host refuses is told and not tried again."""
        state = self._told.state
        if state.phase is not Phase.MEMORY or state.abort_asked or not self._watching.samples:
            return
        now_s = time.monotonic()
        at_once = self._tuning.switch is not None and not state.post_copy
        if not pass_ended and not at_once and now_s - self._looked_s < STEER_EVERY_S:
            return
        self._looked_s = now_s
        if state.hold:
            await self._hold()
            return
        action = decide(self._view(pass_ended))
        if action is not None and action.kind not in self._failed:
            await self._act(action)

    def _view(self, pass_ended: bool) -> View:
        state = self._told.state
        return View(
            samples=self._watching.samples,
            policy=state.policy,
            tuning=self._tuning,
            prior=self._prior,
            pause_limit_ms=self._told.limit_ms,
            elapsed_s=time.monotonic() - self._told.zero,
            deadline_s=state.deadline_s,
            pass_ended=pass_ended,
            post_copy=state.post_copy,
            suspended=state.suspended,
            hold=state.hold,
            by_operator=self._controls.by_operator,
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
        except FerryError as error:
            self._failed.add(action.kind)
            self._told.note("note", f"{action.kind} refused: {error.sentence}")

    async def _hold(self) -> None:
        state = self._told.state
        if state.at is not None and time.time() >= state.at - SWITCH_LEAD_S:
            await self._release()
            return
        samples = self._watching.samples
        passes = passes_seen(samples, self._told.limit_ms)
        expected = ahead(samples[-1], passes, self._prior)
        writes = expected.likely[-1].rate_bytes_s if expected else 0.0
        full = max(self._prior.link_bytes_s or 0.0, throughput(samples))
        limit = brake(samples[-1].remaining_bytes, full, writes, self._braked)
        if (limit is not None) is self._braked:
            return
        try:
            await self._controls.brake(limit)
            self._braked = limit is not None
        except FerryError as error:
            log.warning("holding %s: %s", state.id, error)

    async def _release(self) -> None:
        try:
            await self._controls.switch("the time that was set: switching over", ENGINE)
        except FerryError as error:
            self._told.note("note", f"the hold could not be ended: {error.sentence}")
