"""A live migration of ours that an engine before this one has left: taken up where it stands.

The hosts have gone on without us. So the first look is at the limits that we had set, then at the
job; whatever has ended meanwhile is judged by what both ends hold now.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import tuning
from backend.hypervisor.migrate import JobSeen, MigrationOrder, job_seen
from backend.model import DiskAction, Migration, Now, Outcome, Sample, Tuning, Vm
from backend.plan.running import NOTHING
from backend.plan.wording import seconds
from backend.run import conclude
from backend.run.foreign_state import moved_again
from backend.run.migration import MigrationRun, Undertaking
from backend.run.mirrors import copied
from backend.run.onlooker import Onlooker
from backend.run.post_copy import begin_again
from backend.run.preparing import MakingReady
from backend.run.publish import Publisher
from backend.run.settle import ask, reached
from backend.run.told import as_monotonic
from backend.run.verdict import Before, Judgement, Standing, standing

log = logging.getLogger(__name__)

NEWER_S = 30.0
"""A job that began so long after our call is another one's."""


class AttachedRun(MigrationRun):
    """Goes on with one; instead of a call there is a look at what the hosts do."""

    def __init__(
        self,
        begun: Undertaking,
        samples: tuple[Sample, ...],
        source: HostWatch,
        target: HostWatch,
        look_on: Callable[[Vm], Onlooker],
        publisher: Publisher,
        elsewhere: Callable[[str], str | None],
    ) -> None:
        """`samples`: those that were taken before; `look_on` makes the outage's probe of a VM."""
        state = begun.state
        vm = Vm(state.uuid, state.vm, state.source, state.state_before)
        super().__init__(begun, source, target, look_on(vm), publisher, elsewhere)
        self._look_on = look_on
        self._now = begun.now
        self._watching.account.resume(samples)
        self._watching.contested = False
        if state.called_at is not None:
            self._called = self._told.zero = as_monotonic(state.called_at, begun.now())
        self._controls.resume()
        self._helm.resume()
        self.followed = False
        """It was seen to its end: its figures are whole but for the gap."""
        self._anothers = False
        """Somebody else moves the VM by now."""
        self._probing: asyncio.Task[None] | None = None

    @property
    def promised_s(self) -> float:
        """So long ago its verdict has promised a second attempt."""
        verdict = self.state.verdict
        ended = self.state.started + (verdict.wall_s if verdict is not None else 0.0)
        return max(0.0, self._now() - ended)

    async def settle_open(self) -> None:
        """Go on with it, to its verdict. Never raises."""
        try:
            await self.run()
        finally:
            if self._probing is not None:
                self._probing.cancel()

    async def _move(self) -> None:
        """A source that has the job says enough; else both ends are heard first."""
        await reached(self._source)
        found = await self._seen() if self.state.called_at is not None else None
        if found is None:
            await reached(self._target)
            if not await self._goes_on():
                return
        elif not self._is_ours(found):
            self._anothers = True
            return
        await self._take_up()
        self.followed = True
        self._probing = asyncio.create_task(self._see_client())
        await self._aftermath.follow()
        self._returned = time.monotonic()

    async def _goes_on(self) -> bool:
        """Whether there is anything to go on with, by what both ends hold."""
        if self.state.called_at is None:
            self._call_error = self._not_begun()
            return False
        uuid = self.state.uuid
        ends = await asyncio.gather(ask(self._source, uuid), ask(self._target, uuid))
        if ends[0] is not None and ends[0].in_post_copy and not self.state.post_copy:
            self._told.update(post_copy=True)
        return standing(*ends) is not Standing.OVER

    def _not_begun(self) -> str:
        """The engine that was asked has ended before it made the call: nothing has moved."""
        if self.state.at is not None:
            at = time.strftime("%H:%M:%S", time.localtime(self.state.at))
            return f"The engine ended while it waited for {at}: it was not begun, and is not now."
        return "The engine ended before it was begun."

    async def _take_up(self) -> None:
        unseen_s = self._told.unseen(self.samples[-1].t_s if self.samples else 0.0)
        begin_again(self._told, self._attached(unseen_s))
        await asyncio.gather(self._look_at_limits(), self._watching.sample())

    def _is_ours(self, found: JobSeen) -> bool:
        """A recovery of a post-copy is a job of its own, and younger."""
        later_s = self._told.now() - found.age_s - (self.state.called_at or 0.0)
        return self.state.post_copy or later_s <= NEWER_S

    async def _seen(self) -> JobSeen | None:
        uuid = self.state.uuid
        try:
            return await self._source.call(lambda conn: job_seen(conn, uuid), what="tell its job")
        except FerryError as error:
            log.info("attaching to %s: %s", self.state.id, error)
            return None

    def _attached(self, unseen_s: float) -> str:
        now = "held, as before" if self.state.hold else "steered from here on"
        return f"a new engine has taken it up, nothing was seen for {seconds(unseen_s)}: {now}"

    async def _look_at_limits(self) -> None:
        """As they are, whoever has set them; steering goes on from there."""
        uuid, state = self.state.uuid, self.state
        try:
            pause_ms, rate_bytes_s = await self._source.call(
                lambda conn: tuning.read_limits(conn, uuid), what="read its migration limits"
            )
        except FerryError as error:
            self._told.note("note", f"its limits are not known: {error.sentence}")
            return
        if pause_ms is not None and pause_ms != state.pause_limit_ms:
            was = state.pause_limit_ms
            self._told.update(pause_limit_ms=pause_ms)
            self._told.note("note", f"its pause limit is {pause_ms} ms now, not {was} ms")
        asked = state.bandwidth_bytes_s
        limited = rate_bytes_s is not None and (asked is None or rate_bytes_s < asked)
        if state.hold and limited:
            self._controls.brake_bytes_s = rate_bytes_s

    async def _see_client(self) -> None:
        """The outage is measured where the VM has not stopped yet."""
        uuid, now = self.state.uuid, self.state
        if now.post_copy or now.suspended:
            return
        await self._source.answered.wait()
        vm = next((vm for vm in self._source.vms if vm.uuid == uuid), None)
        if vm is not None:
            self._onlooker = self._look_on(vm)
            await self._onlooker.begin()

    # -- the verdict ---------------------------------------------------------------------------

    async def _settled(self) -> Judgement:
        if self._anothers:
            return moved_again(self._source.name)
        return await super()._settled()

    async def _conclude(self, judgement: Judgement) -> None:
        if judgement.outcome is Outcome.STAYED and not self._call_error and not self.followed:
            seen = await conclude.completed_at(self._source, self.state.uuid)
            self._call_error = seen.error if seen is not None else ""
        await super()._conclude(judgement)

    def _total_s(self) -> float:
        """Of one that ended unseen: what libvirt says, or what was seen of it."""
        if self.followed or self._called is None:
            return super()._total_s()
        if self._completed is not None and self._completed.total_ms:
            return self._completed.total_ms / 1000
        return self.samples[-1].t_s if self.samples else 0.0


def attached_undertaking(
    state: Migration, target: HostWatch, ready: MakingReady, now: Now
) -> Undertaking:
    """All that it was begun with, from what was kept of it."""
    tune = state.tuning or Tuning(state.policy.pause_ms)
    order = MigrationOrder(
        uuid=state.uuid,
        vm=state.vm,
        target_uri=target.migrate_uri,
        persistent=state.persistent,
        tls=state.encrypted is not False,
        unsafe=any(move.action is DiskAction.SHARED for move in state.moves),
        bandwidth_bytes_s=state.bandwidth_bytes_s,
        throttle_start_percent=tune.throttle_start_percent,
        throttle_step_percent=tune.throttle_step_percent,
        post_copy=tune.post_copy,
        compression=tune.compression,
        streams=tune.streams,
        copy_disks=tuple(move.target for move in copied(state.moves)),
    )
    before = Before(
        state.vm,
        state.source,
        state.target,
        state.persistent,
        state.state_before,
        state.autostart,
    )
    prior = replace(NOTHING, allowed_ms=state.policy.pause_ms)
    confirmed = as_monotonic(state.started, now())
    return Undertaking(state, order, before, tune, prior, confirmed, now, ready)
