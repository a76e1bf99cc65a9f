"""One migration, from the operator's confirm to the verdict.

It belongs to the engine and outlives every client. The hosts do the work (peer-to-peer); this
watches it, carries the operator's controls, and asks both ends at the end. Whatever the migrate
call returns or raises only ends the watching: the verdict comes from `settle`.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace

from backend.errors import BadInput, FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains, migrate, stats
from backend.hypervisor.events import EventKind, VmEvent
from backend.hypervisor.migrate import MigrationOrder
from backend.model import (
    Decision,
    Migration,
    Outcome,
    Phase,
    PhaseState,
    Sample,
)
from backend.plan.forecast import outlook, pass_ended_note
from backend.run import conclude
from backend.run.changed import ChangedParameters
from backend.run.publish import Publisher
from backend.run.sampling import Account
from backend.run.settle import RECHECK_S, settle
from backend.run.verdict import Before, Judgement

log = logging.getLogger(__name__)

SAMPLE_EVERY_S = 0.2
_SAMPLE_LIMIT_S = 3.0
JUDGE_EVERY_S = 1.0
"""Between passes; a pass that ends is judged at once."""


class MigrationRun:
    """Runs one migration and keeps all that is known of it in `state` and `samples`."""

    def __init__(
        self,
        state: Migration,
        order: MigrationOrder,
        before: Before,
        source: HostWatch,
        target: HostWatch,
        publisher: Publisher,
        confirmed: float,
    ) -> None:
        self.state = state
        self._order = order
        self._before = before
        self._source = source
        self._target = target
        self._publisher = publisher
        self._account = Account()
        self._changed = ChangedParameters(source, state.uuid)
        self._confirmed = confirmed
        self._called: float | None = None
        self._returned: float | None = None
        self._call_error = ""
        self._completed: stats.CompletedJob | None = None
        self._silent_since: float | None = None
        self._judged_s = -JUDGE_EVERY_S
        self._abort_delivered = False
        self.ended = asyncio.Event()
        """Set with the first verdict, also an `unknown` one."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample so far."""
        return tuple(self._account.samples)

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        self._source.listeners.add(self._on_event)
        self._target.listeners.add(self._on_event)
        try:
            await self._move()
        except FerryError as error:
            self._call_error = str(error)
            self._note("note", error.sentence)
        except Exception as error:
            log.exception("migration %s", self.state.id)
            self._call_error = f"The engine met a fault of its own: {error!r}."
        try:
            await self._verify()
        except Exception:
            log.exception("verdict of %s", self.state.id)
        finally:
            self._source.listeners.discard(self._on_event)
            self._target.listeners.discard(self._on_event)
            self.ended.set()

    # -- controls ------------------------------------------------------------------------------

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the rate from now on; None lifts the limit. Raises FerryError."""
        self._must_run()
        await self._changed.set_bandwidth(rate_bytes_s)
        self._update(bandwidth_bytes_s=rate_bytes_s)
        limit = "no limit" if rate_bytes_s is None else f"{rate_bytes_s / 1e6:.1f} MB/s"
        self._note("bandwidth", f"bandwidth: {limit}", by="operator")

    async def set_pause_limit(self, pause_ms: int) -> None:
        """Allow another pause from now on. Raises FerryError."""
        self._must_run()
        was = self.state.pause_limit_ms
        await self._changed.set_pause_limit(pause_ms)
        self._update(pause_limit_ms=pause_ms)
        before = "" if was is None else f"{was} → "
        self._note("pause-limit", f"pause limit {before}{pause_ms} ms", by="operator")

    async def abort(self) -> None:
        """Ask the hosts to leave the VM at the source. Raises FerryError."""
        self._must_run()
        if self.state.phase in (Phase.VERIFY,):
            raise BadInput(f"{self.state.vm}: too late to abort, the hosts have finished.")
        if not self.state.abort_asked:
            self._update(abort_asked=True)
            self._note("abort", "abort asked for", by="operator")
        await self._deliver_abort()

    async def _deliver_abort(self) -> None:
        """Until libvirt had a job to abort: it has none yet right after the call began."""
        if self._called is None or self._abort_delivered:
            return
        uuid = self.state.uuid
        self._abort_delivered = await self._source.call(
            lambda conn: migrate.abort(conn, uuid), timeout_s=15.0, what="abort the migration"
        )

    def _must_run(self) -> None:
        if not self.state.running:
            raise BadInput(f"Migration {self.state.id} of {self.state.vm} has ended.")

    # -- the phases ----------------------------------------------------------------------------

    async def _move(self) -> None:
        self._enter(Phase.PREPARE)
        await self._prepare()
        lane = await self._source.open_lane(f"migration {self.state.id}")
        try:
            if self.state.abort_asked:
                return
            self._called = time.monotonic()
            self._update(called_at=time.time())
            self._enter(Phase.MEMORY, skipped=(Phase.DISK,))
            order = self._order
            call = asyncio.create_task(
                lane.call(lambda conn: migrate.run(conn, order), timeout_s=None, what="migrate")
            )
            await self._watch_until(call)
        finally:
            self._returned = time.monotonic()
            await lane.close()

    async def _prepare(self) -> None:
        if self.state.bandwidth_bytes_s is not None:
            await self._changed.set_bandwidth(self.state.bandwidth_bytes_s)
        await self._changed.set_pause_limit(self.state.policy.pause_ms)
        self._update(pause_limit_ms=self.state.policy.pause_ms)
        self._note("pause-limit", f"pause limit {self.state.policy.pause_ms} ms, as agreed")

    async def _watch_until(self, call: asyncio.Task[None]) -> None:
        """Sample until the call returned; remember what it said."""
        while not call.done():
            await self._sample()
            if self.state.abort_asked:
                with contextlib.suppress(FerryError):
                    await self._deliver_abort()
            await asyncio.wait({call}, timeout=SAMPLE_EVERY_S)
        try:
            call.result()
        except FerryError as error:
            self._call_error = error.sentence
            log.info("migrate call of %s: %s", self.state.id, error)

    async def _sample(self) -> None:
        uuid = self.state.uuid
        try:
            raw = await self._source.call(
                lambda conn: domains.read_job(conn, uuid), _SAMPLE_LIMIT_S, "say how far it is"
            )
        except FerryError:
            self._silent()
            return
        self._heard()
        t_s = time.monotonic() - (self._called or self._confirmed)
        sample = self._account.take(raw, t_s, self.state.pause_limit_ms) if raw else None
        if sample is None:
            return
        self._publisher.sample(self.state.id, sample)
        was = self.state.sample
        self.state = replace(self.state, sample=sample)
        new_pass = was is not None and was.pass_number != sample.pass_number
        if new_pass and (note := pass_ended_note(self._account.samples, self._limit_ms)):
            self._note("note", note)
        if new_pass or t_s - self._judged_s >= JUDGE_EVERY_S:
            self._judged_s = t_s
            self._judge()

    @property
    def _limit_ms(self) -> int:
        return self.state.pause_limit_ms or self.state.policy.pause_ms

    def _judge(self) -> None:
        """Look at the whole course; the word is told when it turns."""
        now = outlook(self._account.samples, self._limit_ms, self.state.phase)
        was = self.state.outlook
        if was == now:
            return
        self.state = replace(self.state, outlook=now)
        if was is not None and was.word is not now.word:
            self._note("note", f"{now.word.value.lower()}: {now.reason}")
        self._publisher.migration(self.state)

    def _silent(self) -> None:
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            self._note("note", f"{self._source.name} does not answer; the hosts go on without us")

    def _heard(self) -> None:
        if self._silent_since is not None:
            gap_s = time.monotonic() - self._silent_since
            self._silent_since = None
            self._note("note", f"{self._source.name} answers again after {gap_s:.0f} s")

    def _on_event(self, event: VmEvent) -> None:
        if event.uuid != self.state.uuid or not self.state.running:
            return
        switching = event.kind is EventKind.LIFECYCLE and event.detail == "suspended migrated"
        if switching and self.state.phase is Phase.MEMORY:
            self._enter(Phase.SWITCHOVER)
        if event.kind is EventKind.JOB_COMPLETED and event.stats and self._completed is None:
            self._completed = stats.completed(event.stats)

    # -- the verdict ---------------------------------------------------------------------------

    async def _verify(self) -> None:
        while True:
            self._enter(Phase.VERIFY)
            judgement, at_source, _ = await settle(
                self._before, self.state.uuid, self._source, self._target
            )
            if at_source is None or at_source.job != "migration out":
                break
            await self._watch_orphan()
        await self._conclude(judgement)
        while self.state.verdict is not None and self.state.verdict.outcome is Outcome.UNKNOWN:
            self.ended.set()
            await asyncio.sleep(RECHECK_S)
            judgement, _, _ = await settle(
                self._before, self.state.uuid, self._source, self._target
            )
            if judgement.outcome is not Outcome.UNKNOWN:
                await self._conclude(judgement)

    async def _watch_orphan(self) -> None:
        """Our call broke, the migration did not: go on watching it."""
        self._enter(Phase.MEMORY)
        self._note("note", "our connection broke, the hosts go on; watching again")
        uuid = self.state.uuid
        job: str | None = "migration out"
        while job == "migration out":
            await self._sample()
            await asyncio.sleep(SAMPLE_EVERY_S)
            with contextlib.suppress(FerryError):
                job = await self._source.call(
                    lambda conn: domains.job_info_kind(conn, uuid), what="say what it does"
                )
        self._returned = time.monotonic()

    async def _conclude(self, judgement: Judgement) -> None:
        leftovers = list(judgement.leftovers)
        if judgement.outcome is Outcome.STAYED:
            leftovers += await self._changed.put_back()
        if judgement.outcome is Outcome.MOVED:
            leftovers += await conclude.carry_autostart(
                self._target, self.state.uuid, self._before.autostart
            )
            self._completed = (
                await conclude.completed_at(self._target, self.state.uuid) or self._completed
            )
        verdict = conclude.verdict(
            self.state,
            judgement,
            call_error=self._call_error,
            completed=self._completed,
            total_s=(self._returned - self._called)
            if self._called is not None and self._returned is not None
            else 0.0,
            wall_s=time.monotonic() - self._confirmed,
            leftovers=tuple(leftovers),
        )
        self._finish_phases(judgement)
        self.state = replace(
            self.state, verdict=verdict, outlook=conclude.last_word(verdict, self.state.outlook)
        )
        self._publisher.migration(self.state)

    def _finish_phases(self, judgement: Judgement) -> None:
        phases = dict(self.state.phases)
        moved = judgement.outcome is Outcome.MOVED
        for phase, state in phases.items():
            if phase is Phase.VERIFY:
                known = judgement.outcome is not Outcome.UNKNOWN
                phases[phase] = PhaseState.DONE if known else PhaseState.FAILED
            elif moved and state is not PhaseState.SKIPPED:
                phases[phase] = PhaseState.DONE
            elif state is PhaseState.ACTIVE:
                phases[phase] = PhaseState.FAILED
        self.state = replace(self.state, phases=phases)

    # -- telling -------------------------------------------------------------------------------

    def _enter(self, phase: Phase, skipped: tuple[Phase, ...] = ()) -> None:
        phases = dict(self.state.phases) or dict.fromkeys(Phase, PhaseState.WAITING)
        for other, state in phases.items():
            if state is PhaseState.ACTIVE and phase is not Phase.VERIFY:
                phases[other] = PhaseState.DONE
        phases |= dict.fromkeys(skipped, PhaseState.SKIPPED)
        phases[phase] = PhaseState.ACTIVE
        self._update(phase=phase, phases=phases)

    def _note(self, action: str, reason: str, by: str = "engine") -> None:
        zero = self._called if self._called is not None else self._confirmed
        decision = Decision(
            t_s=round(time.monotonic() - zero, 3),
            at=time.time(),
            action=action,
            reason=reason,
            by=by,
        )
        self.state = replace(self.state, decisions=(*self.state.decisions, decision))
        self._publisher.decision(self.state.id, decision)
        self._publisher.migration(self.state)

    def _update(self, **fields: object) -> None:
        self.state = replace(self.state, **fields)  # type: ignore[arg-type]
        self._publisher.migration(self.state)
