"""What can be done to a running migration, by the operator or by steering."""

import time
from dataclasses import dataclass

from backend.errors import BadInput, CallTimedOut, FerryError, HostUnreachable, HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains, migrate
from backend.model import Control, Migration, Outcome, Phase
from backend.run.changed import ChangedParameters
from backend.run.hold import HOLD_PAUSE_MS
from backend.run.told import Told, as_monotonic

ABORT_AGAIN_S = 30.0
"""After an abort that was not answered: meanwhile the host's controls are the other VMs'."""
OPERATOR = "operator"
ENGINE = "engine"


def available(state: Migration) -> tuple[Control, ...]:
    """What can be done to a migration that stands so."""
    if state.verdict is not None:
        return (Control.ABORT,) if state.verdict.again else ()
    if state.recoverable:
        return (Control.RECOVER,)
    if state.phase is Phase.VERIFY:
        return ()
    if state.called_at is None:
        return (Control.ABORT,)
    if state.phase is Phase.DISK and state.abort_asked:
        return ()
    if state.post_copy or state.abort_asked:
        return (Control.BANDWIDTH,)
    if state.phase is Phase.DISK:
        # libvirt keeps the mirrors' rate to itself, and nothing of the memory has begun.
        limits = () if state.hold else (Control.PAUSE_LIMIT,)
        return (*limits, Control.ABORT)
    found = [Control.BANDWIDTH]
    if not state.hold:
        found.append(Control.PAUSE_LIMIT)
    if state.sample is not None and not state.suspended:
        if state.tuning is not None and state.tuning.post_copy:
            found.append(Control.POST_COPY)
        found.append(Control.SUSPEND)
    if state.hold:
        found.append(Control.SWITCH)
    elif state.can_hold and not state.suspended and not _throttles(state):
        found.append(Control.HOLD)
    return (*found, Control.ABORT)


def _throttles(state: Migration) -> bool:
    """QEMU may slow the VM: a hold would drive that up to its end."""
    return state.tuning is not None and state.tuning.throttle_start_percent is not None


@dataclass(slots=True)
class Controls:
    """The controls of one migration. Each tells what it did, or raises FerryError."""

    told: Told
    source: HostWatch
    changed: ChangedParameters
    by_operator: bool = False
    """The operator has set the pause limit: steering leaves it alone."""
    suspended_s: float | None = None
    """`time.monotonic()` of our suspend."""
    abort_delivered: bool = False
    abort_next_s: float = 0.0
    """`time.monotonic()`: not before it is the abort asked again."""
    abort_reason: str = ""
    """Why the engine gave up; empty when the operator asked."""
    brake_bytes_s: int | None = None
    """A hold's own limit of the bandwidth."""
    before_hold_ms: int | None = None
    """The pause limit that a hold has replaced; None: it was begun with one."""

    def resume(self) -> None:
        """Of a migration that an engine before this one has left: what it had done, by its log."""
        for one in self.told.state.decisions:
            if one.action == "pause-limit" and one.by == OPERATOR:
                self.by_operator = True
            elif one.action == "suspend" and self.told.state.suspended:
                self.suspended_s = as_monotonic(one.at, self.told.now())
            elif one.action == "abort" and one.by == ENGINE:
                self.abort_reason = one.reason

    async def set_bandwidth(self, rate_bytes_s: int | None, by: str = OPERATOR) -> None:
        """Limit the rate from now on; None lifts the limit."""
        if self.told.state.phase is Phase.DISK:
            raise BadInput(
                f"The disks of {self.told.state.vm} are being copied: libvirt sets the rate of a"
                " mirror only at its start.",
                "Limit it before the start (--bandwidth), or once the memory is sent.",
            )
        await self._limit_bandwidth(rate_bytes_s, self.brake_bytes_s)
        self.told.update(bandwidth_bytes_s=rate_bytes_s)
        limit = "no limit" if rate_bytes_s is None else f"{rate_bytes_s / 1e6:.1f} MB/s"
        self.told.note("bandwidth", f"bandwidth: {limit}", by=by)

    async def brake(self, rate_bytes_s: int | None) -> None:
        """As `set_bandwidth`, for a hold: the operator's own limit stays the one shown."""
        await self._limit_bandwidth(self.told.state.bandwidth_bytes_s, rate_bytes_s)
        self.brake_bytes_s = rate_bytes_s

    async def _limit_bandwidth(self, *limits_bytes_s: int | None) -> None:
        known = [one for one in limits_bytes_s if one]
        limit = min(known) if known else None
        if self.told.state.post_copy:
            await self.changed.set_post_copy_bandwidth(limit)
        else:
            await self.changed.set_bandwidth(limit)

    async def set_pause_limit(self, pause_ms: int, reason: str = "", by: str = OPERATOR) -> None:
        """Allow another pause from now on."""
        was = self.told.state.pause_limit_ms
        if self.told.state.hold:
            raise BadInput(
                f"{self.told.state.vm} is held: its pause limit keeps it from switching over.",
                "End the hold first.",
            )
        await self.changed.set_pause_limit(pause_ms)
        self.by_operator = self.by_operator or by == OPERATOR
        self.told.update(pause_limit_ms=pause_ms)
        before = "" if was is None else f"{was} → "
        self.told.note("pause-limit", reason or f"pause limit {before}{pause_ms} ms", by=by)

    async def start_post_copy(self, reason: str, by: str = OPERATOR) -> None:
        """Let the VM go on at the target. There is no way back."""
        uuid = self.told.state.uuid
        await self._unheld()
        await self.source.call(
            lambda conn: migrate.start_post_copy(conn, uuid),
            timeout_s=10.0,
            what="switch to post-copy",
        )
        self.told.update(post_copy=True)
        self.told.enter(Phase.SWITCHOVER)
        self.told.note("post-copy", reason, by=by)

    async def suspend(self, reason: str, by: str = OPERATOR) -> None:
        """Stop the VM at the source; it goes on at the target."""
        uuid = self.told.state.uuid
        await self._unheld()
        self.suspended_s = time.monotonic()  # before it is asked: an answer that is late counts
        try:
            await self.source.call(
                lambda conn: domains.suspend(conn, uuid), timeout_s=10.0, what="suspend the VM"
            )
        except HypervisorError:
            self.suspended_s = None
            raise
        self.told.update(suspended=True)
        self.told.note("suspend", reason, by=by)

    async def wake(self, outcome: Outcome) -> bool:
        """A VM that we suspended and that stayed goes on at the source; True when it was woken."""
        if self.suspended_s is None or outcome is not Outcome.STAYED:
            return False
        self.suspended_s = None
        uuid = self.told.state.uuid
        try:
            await self.source.call(lambda conn: domains.resume(conn, uuid), what="resume the VM")
        except FerryError as error:
            self.told.note("note", f"the VM could not be resumed: {error.sentence}")
            return False
        self.told.update(suspended=False)
        self.told.note("resume", f"VM resumed on {self.source.name}: it stays there", by=ENGINE)
        return True

    async def hold(self) -> None:
        """Wait before the switchover from now on."""
        self.before_hold_ms = self.told.state.pause_limit_ms
        await self.changed.set_pause_limit(HOLD_PAUSE_MS)
        self.told.update(hold=True, pause_limit_ms=HOLD_PAUSE_MS)
        self.told.note("hold", "held: it goes on sending, and switches over when told", by=OPERATOR)

    async def switch(self, reason: str, by: str = OPERATOR) -> None:
        """End a hold; it goes on where its limits could not be set."""
        tuning = self.told.state.tuning
        pause_ms = tuning.pause_limit_ms if tuning else self.told.state.policy.pause_ms
        pause_ms = self.before_hold_ms or pause_ms
        self.told.update(hold=False)
        try:
            await self.changed.set_bandwidth(self.told.state.bandwidth_bytes_s)
            self.brake_bytes_s = None
            await self.changed.set_pause_limit(pause_ms)
        except FerryError:
            self.told.update(hold=True)
            raise
        self.told.update(pause_limit_ms=pause_ms)
        self.told.note("switch", reason, by=by)

    async def _unheld(self) -> None:
        """A hold's brake would slow what finishes the migration."""
        if self.told.state.hold:
            await self.switch("the hold has ended")

    async def abort(self, reason: str = "", by: str = OPERATOR) -> None:
        """Ask the hosts to leave the VM at the source; delivered once they have a job to end."""
        if not self.told.state.abort_asked:
            self.abort_reason = reason
            self.told.update(abort_asked=True)
            self.told.note("abort", reason or "abort asked for", by=by)
        try:
            await self.deliver_abort()
        except HostUnreachable as error:
            text = f"{error.sentence} The abort is delivered once it answers."
            self.told.note("abort", text)

    async def deliver_abort(self) -> None:
        """Until libvirt had a job to abort: it has none yet right after the call began."""
        state = self.told.state
        if state.called_at is None or self.abort_delivered or not state.abort_asked:
            return
        if state.post_copy or time.monotonic() < self.abort_next_s:
            return  # there is no way back, or its QEMU answers nobody just now
        uuid = state.uuid
        try:
            self.abort_delivered = await self.source.call(
                lambda conn: migrate.abort(conn, uuid), timeout_s=15.0, what="abort the migration"
            )
        except CallTimedOut:
            self.abort_next_s = time.monotonic() + ABORT_AGAIN_S
            raise

    async def operate(self, control: Control) -> None:
        """A control without a value, by the operator. Raises BadInput where it is not offered."""
        if control not in available(self.told.state):
            raise BadInput(
                f"{control.value} cannot be done to {self.told.state.vm} now.",
                "What can be done is listed with the migration.",
            )
        match control:
            case Control.POST_COPY:
                await self.start_post_copy("post-copy, as asked")
            case Control.SUSPEND:
                await self.suspend("VM suspended, as asked: it goes on at the target")
            case Control.HOLD:
                await self.hold()
            case Control.SWITCH:
                await self.switch("switching over, as asked")
            case _:
                raise BadInput(f"{control.value} has a request of its own.")
