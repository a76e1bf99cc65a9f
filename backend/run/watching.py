"""Looking at a running migration: samples at five a second, judged as passes end.

Samples come over a lane of their own. A QEMU that hands over answers nobody for as long as the
pause lasts: that must cost neither the host its control lane nor the operator the abort.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from backend.errors import CallTimedOut, FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains
from backend.hypervisor.connection import Lane
from backend.hypervisor.stats import job_age_s
from backend.model import Phase, Sample
from backend.plan.by_order import held_outlook, suspended_outlook
from backend.plan.forecast import outlook, pass_ended_note
from backend.plan.passes import of_memory
from backend.plan.post_copy import post_copy_outlook
from backend.plan.running import NOTHING, Prior
from backend.run.publish import Publisher
from backend.run.sampling import Account
from backend.run.told import Told

log = logging.getLogger(__name__)

SAMPLE_EVERY_S = 0.2
SAMPLE_LIMIT_S = 3.0
"""Beside the pause limit: while it pauses, QEMU does not answer."""
NOTE_EVERY_S = 1.0
"""Passes may end with every sample: not each of them is told."""
OTHERS_S = 0.25
"""A job that is so much older than our call is not ours: ours begins after it."""
STUCK_S, MOST_STUCK_S = 2.0, 10.0
"""After a sample that was not answered in time: its libvirt may keep a thread waiting for each,
and has not many."""
JUDGE_EVERY_S = 1.0
"""Between passes; a pass that ends is judged at once."""


class Watching:
    """Takes the samples of one migration."""

    def __init__(
        self, told: Told, source: HostWatch, publisher: Publisher, prior: Prior = NOTHING
    ) -> None:
        """`prior`: what was known before the start."""
        self._prior = prior
        self.account = Account()
        self.silent_since: float | None = None
        """Since when the source has not answered; None while it does."""
        self.contested = True
        """The job may be somebody else's: false once it is known whose it is."""
        self.others = False
        """The job seen last began before our call: somebody else's, for which ours waits."""
        self._told = told
        self._source = source
        self._publisher = publisher
        self._lane: Lane | None = None
        self._stuck = 0
        self._next_s = 0.0
        self._judged_s = -JUDGE_EVERY_S
        self._noted_s = -NOTE_EVERY_S

    @property
    def samples(self) -> Sequence[Sample]:
        """Every sample of the memory so far; those of the disks before it say nothing of it."""
        return of_memory(self.account.samples)

    @property
    def silent_s(self) -> float:
        """For how long the source has not answered."""
        return 0.0 if self.silent_since is None else time.monotonic() - self.silent_since

    async def sample(self) -> bool:
        """Look once; True when a pass has ended. A source that does not answer is told, and is no
        error."""
        if time.monotonic() < self._next_s:
            return False
        uuid = self._told.state.uuid
        limit_s = SAMPLE_LIMIT_S + self._told.limit_ms / 1000
        try:
            lane = await self._open_lane()
            raw = await lane.call(
                lambda conn: domains.read_job(conn, uuid), limit_s, "say how far it is"
            )
        except FerryError as error:
            self._stuck += isinstance(error, CallTimedOut)
            self._next_s = time.monotonic() + min(MOST_STUCK_S, STUCK_S * self._stuck)
            self._silent()
            return False
        self._stuck = 0
        self._heard()
        t_s = time.monotonic() - self._told.zero
        if raw is not None and self.contested:
            self.others = job_age_s(raw) > t_s + OTHERS_S
        if self.others:
            return False
        sample = self.account.take(raw, t_s, self._told.state.pause_limit_ms) if raw else None
        return sample is not None and self._take(sample)

    @property
    def lane(self) -> Lane | None:
        """The lane for samples, free between two of them; None where there is none now."""
        return self._lane if self._lane is not None and self._lane.alive else None

    async def close(self) -> None:
        """Let go of the lane."""
        lane, self._lane = self._lane, None
        if lane is not None:
            await lane.close()

    async def _open_lane(self) -> Lane:
        if self._lane is None or not self._lane.alive:
            await self.close()
            self._lane = await self._source.open_lane(f"samples {self._told.state.id}")
        return self._lane

    def _take(self, sample: Sample) -> bool:
        self._publisher.sample(self._told.state.id, sample)
        was, state = self._told.state.sample, self._told.state
        if was is None:
            self._told.update(sample=sample)
        self._told.state = replace(self._told.state, sample=sample)
        new_pass = was is not None and 0 < was.pass_number != sample.pass_number
        if new_pass or sample.t_s - self._judged_s >= JUDGE_EVERY_S:
            self._judged_s = sample.t_s
            self._judge()
        if was is not None:
            self._note_throttle(was.throttle_percent or 0, sample.throttle_percent or 0)
        if new_pass and not state.post_copy and sample.t_s - self._noted_s >= NOTE_EVERY_S:
            self._noted_s = sample.t_s
            note = pass_ended_note(self.samples, self._told.limit_ms, self._prior)
            self._told.note("note", note) if note else None
        return new_pass

    def _note_throttle(self, was: int, now: int) -> None:
        if now > was:
            text = f"throttle {was} → {now} %: the VM wrote more than half of what was sent"
            self._told.note("throttle", text)

    def _judge(self) -> None:
        """Look at the whole course; the word is told when it turns."""
        state = self._told.state
        if state.recoverable:
            return
        seen = self.samples
        if seen and state.post_copy:
            now = post_copy_outlook(seen, state.target)
        elif seen and state.suspended and state.phase is not Phase.VERIFY:
            now = suspended_outlook(seen, state.target)
        elif seen and state.hold and state.phase is Phase.MEMORY:
            now = held_outlook(seen, self._prior)
        else:
            every = self.account.samples
            now = outlook(every, self._told.limit_ms, state.phase, self._prior)
        if state.outlook == now:
            return
        turned = state.outlook is not None and state.outlook.word is not now.word
        self._told.update(outlook=now)
        if turned:
            self._told.note("note", f"{now.word.value.lower()}: {now.reason}")

    def _silent(self) -> None:
        if self.silent_since is None:
            self.silent_since = time.monotonic()
            name = self._source.name
            self._told.note("note", f"{name} does not answer; the hosts go on without us")

    def _heard(self) -> None:
        if self.silent_since is not None:
            gap_s, self.silent_since = self.silent_s, None
            self._told.note("note", f"{self._source.name} answers again after {gap_s:.0f} s")
