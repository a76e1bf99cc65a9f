"""One migration that somebody else has begun: shown from the moment it is found to its verdict.

Nothing of it is ours: it is not steered, nothing is carried over or cleaned, and what libvirt lets
anybody do to it (abort, limits, suspend) is done only when the operator asks.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import stats
from backend.hypervisor.events import EventKind, VmEvent
from backend.hypervisor.migrate import job_seen
from backend.model import Migration, Now, Outcome, Outlook, Phase, Sample, Word
from backend.run import conclude
from backend.run.changed import ChangedParameters
from backend.run.controls import Controls, available
from backend.run.foreign_state import judge_alone, moved_again, same_job
from backend.run.handover import Handover
from backend.run.onlooker import Seen
from backend.run.operated import Operated
from backend.run.publish import Publisher
from backend.run.settle import RECHECK_S, SILENT_S, ask, reached, settle
from backend.run.told import Told, as_monotonic
from backend.run.verdict import Before, Judgement, Standing, broken_sentence, standing
from backend.run.watching import SAMPLE_EVERY_S, Watching

log = logging.getLogger(__name__)

LOOKS_PER_QUESTION = 5
"""Samples between two questions to both ends: about a second."""
_CAME = ("started migrated", "resumed migrated", "resumed post-copy")
"""What only the target of a migration tells."""


class ForeignRun(Operated):
    """Watches one; all that is known of it is in `state` and `samples`."""

    def __init__(
        self,
        state: Migration,
        hosts: Mapping[str, HostWatch],
        publisher: Publisher,
        now: Now,
        samples: tuple[Sample, ...] = (),
    ) -> None:
        """`hosts`: the fleet's, one of which is its source; `samples`: those that an engine before
        this one has taken."""
        confirmed = as_monotonic(state.started, now())
        self._told = Told(state, publisher, confirmed, now, available)
        self._hosts = hosts
        self._source = hosts[state.source]
        self._watching = Watching(self._told, self._source, publisher)
        self._watching.account.resume(samples)
        self._watching.contested = False
        self._changed = ChangedParameters(self._source, self._told)
        self._controls = Controls(self._told, self._source, self._changed)
        self._handover = Handover()
        self._completed: stats.CompletedJob | None = None
        self._returned_s: float | None = None
        self._heard_s = time.monotonic()
        self._listening: dict[str, Callable[[VmEvent], None]] = {
            name: partial(self._on_event, name) for name in hosts
        }

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample since it was found."""
        return tuple(self._watching.account.samples)

    async def settle_open(self) -> None:
        """Go on with one that an engine before this one has watched. Never raises."""
        await reached(self._source)
        last_s = self.samples[-1].t_s if self.samples else 0.0
        uuid, found = self.state.uuid, None
        with contextlib.suppress(FerryError):
            found = await self._source.call(lambda conn: job_seen(conn, uuid), what="tell its job")
        if found is not None and not same_job(self.state, found, self._told.now()):
            await self._conclude(moved_again(self._source.name))
            return
        self._told.unseen(last_s) if found is not None else None
        await self.run()

    async def run(self) -> None:
        """To its verdict. Never raises."""
        for name, listener in self._listening.items():
            self._hosts[name].listeners.add(listener)
        try:
            await self._watch()
            await self._verify()
        except Exception:
            log.exception("somebody else's migration %s", self.state.id)
            await self._conclude(conclude.fault_of_our_own(self._before))
        finally:
            for name, listener in self._listening.items():
                self._hosts[name].listeners.discard(listener)
            await self._watching.close()

    # -- watching ------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Until its hosts are through, or its source has been silent for too long."""
        while await self._goes_on():
            for _ in range(LOOKS_PER_QUESTION):
                await self._look()
        self._returned_s = time.monotonic()

    async def _goes_on(self) -> bool:
        self._find_target()
        target = self._target
        asked = [self._source, *([target] if target is not None else [])]
        ends = await asyncio.gather(*(ask(host, self.state.uuid) for host in asked))
        at_source, at_target = ends[0], ends[1] if len(ends) > 1 else None
        if at_source is None:
            return time.monotonic() - self._heard_s < SILENT_S
        self._heard_s = time.monotonic()
        if at_source.in_post_copy and not self.state.post_copy:
            self._told.update(post_copy=True)
        now = standing(at_source, at_target)
        self._tell_broken(now is Standing.BROKEN)
        return now is not Standing.OVER

    async def _look(self) -> None:
        begun_s = time.monotonic()
        await self._watching.sample()
        sample = self.state.sample
        if self.state.phase is Phase.DISK and sample is not None and sample.pass_number:
            self._told.update(memory_at=self._told.now())
            self._told.enter(Phase.MEMORY)
        with contextlib.suppress(FerryError):
            await self._controls.deliver_abort()
        await asyncio.sleep(max(0.01, SAMPLE_EVERY_S - (time.monotonic() - begun_s)))

    def _tell_broken(self, broken: bool) -> None:
        state = self.state
        if not broken or (state.outlook and state.outlook.word is Word.NEEDS_YOU):
            return
        sentence = broken_sentence(state.vm, state.source, state.target)
        outlook = Outlook(Word.NEEDS_YOU, f"{sentence} Who began it has to recover it.")
        self._told.update(outlook=outlook)
        self._told.note("note", f"needs you: {sentence}")

    @property
    def _target(self) -> HostWatch | None:
        return self._hosts.get(self.state.target)

    def _find_target(self) -> None:
        """The host that has an incoming copy of it, or has just got it."""
        uuid, source = self.state.uuid, self.state.source
        for name, host in self._hosts.items():
            if self._target is not None:
                return
            has = any(vm.uuid == uuid and vm.state.active for vm in host.vms)
            if has and name != source:
                self._is_target(name)

    def _is_target(self, name: str) -> None:
        self._told.update(target=name)
        self._told.note("note", f"{name} takes it")

    def _on_event(self, host: str, event: VmEvent) -> None:
        if event.uuid != self.state.uuid or not self.state.running:
            return
        if event.kind is EventKind.LIFECYCLE:
            self._on_lifecycle(host, event.detail)
        if event.kind is EventKind.JOB_COMPLETED and event.stats and self._completed is None:
            self._completed = stats.completed(event.stats)

    def _on_lifecycle(self, host: str, detail: str) -> None:
        if detail in _CAME and host != self.state.source and self._target is None:
            self._is_target(host)
        if host not in (self.state.source, self.state.target):
            return
        self._handover.take(detail)
        if detail in ("suspended migrated", "suspended post-copy"):
            self._told.enter(Phase.SWITCHOVER)
        if detail == "suspended post-copy" and not self.state.post_copy:
            self._told.update(post_copy=True)

    # -- the verdict ---------------------------------------------------------------------------

    @property
    def _before(self) -> Before:
        state = self.state
        return Before(
            state.vm, state.source, state.target, state.persistent, state.state_before, False
        )

    async def _verify(self) -> None:
        """To a verdict; an `unknown` one is asked again while a host has yet to answer."""
        while True:
            judgement = await self._settled()
            await self._conclude(judgement)
            if judgement.outcome is not Outcome.UNKNOWN or judgement.settled:
                return
            await asyncio.sleep(RECHECK_S)

    async def _settled(self) -> Judgement:
        while True:
            if self.state.running:
                self._told.enter(Phase.VERIFY)
            self._find_target()
            if self._target is None:
                judgement, through = await self._judged_alone(), True
            else:
                ends = (self._source, self._target)
                judgement, through = await settle(self._before, self.state.uuid, *ends)
            if through and not await self._controls.wake(judgement.outcome):
                return judgement
            if not through:
                self._told.update(verdict=None)
                self._told.enter(Phase.MEMORY)
                await self._watch()

    async def _judged_alone(self) -> Judgement:
        """All hosts are asked: one of them may have it by now."""
        others = [host for name, host in self._hosts.items() if name != self.state.source]
        uuid = self.state.uuid
        at_source, *ends = await asyncio.gather(
            ask(self._source, uuid), *(ask(host, uuid) for host in others)
        )
        for host, end in zip(others, ends, strict=True):
            if end is not None and end.active:
                self._is_target(host.name)
                judgement, _ = await settle(self._before, uuid, self._source, host)
                return judgement
        silent = [host.name for host, end in zip(others, ends, strict=True) if end is None]
        return judge_alone(self.state, at_source, tuple(silent))

    async def _conclude(self, judgement: Judgement) -> None:
        was = self.state.verdict
        if was is not None and was.outcome is judgement.outcome is Outcome.UNKNOWN:
            return
        leftovers = list(judgement.leftovers)
        if judgement.outcome is Outcome.STAYED:
            leftovers += await self._changed.put_back()
        if judgement.outcome is Outcome.MOVED and self._target is not None:
            at_target = await conclude.completed_at(self._target, self.state.uuid)
            self._completed = at_target or self._completed
        total_s = max(0.0, (self._returned_s or time.monotonic()) - self._told.zero)
        verdict = conclude.verdict(
            self.state,
            judgement,
            call_error="",
            given_up="",
            lost_link="",
            completed=self._completed,
            passes=self._watching.account.passes(self._completed),
            total_s=total_s,
            wall_s=total_s,
            own_pause_ms=self._handover.pause_ms(self._controls.suspended_s, self.state.post_copy),
            stall_ms=None,
            seen=Seen(),
            leftovers=tuple(leftovers),
            samples=self._watching.samples,
        )
        self._told.update(
            verdict=verdict,
            phases=self._told.ended_phases(judgement.outcome),
            outlook=conclude.last_word(verdict),
        )
