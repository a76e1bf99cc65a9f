"""A migration: its phases, samples, decisions, outlook and verdict."""

from dataclasses import dataclass, field
from enum import StrEnum

from backend.model.band import Band
from backend.model.disks import DiskMove, DiskProgress, NewVolume
from backend.model.fleet import VmState
from backend.model.planning import (
    Forecast,
    Mode,
    MoveOptions,
    Policy,
    TrackRecord,
    Tuning,
)
from backend.model.preparing import Prepared

NOT_KNOWN = "?"
"""The target of somebody else's migration while no host of the fleet is seen to take it."""


class Phase(StrEnum):
    """The five phases every migration goes through, in this order."""

    PREPARE = "prepare"
    DISK = "disk"
    MEMORY = "memory"
    SWITCHOVER = "switchover"
    VERIFY = "verify"


class PhaseState(StrEnum):
    """How far a phase is."""

    WAITING = "waiting"
    ACTIVE = "active"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a running migration's job statistics."""

    t_s: float
    """Since the migrate call."""
    pass_number: int
    """From 1; 0 while only disks are copied."""
    remaining_bytes: int
    """Of the memory, as is the total."""
    total_bytes: int
    sent_bytes: int
    """Work done so far: memory and disk, never falling."""
    rate_bytes_s: float
    """Throughput, smoothed by QEMU."""
    dirty_bytes_s: float | None
    """None during the first pass, when QEMU does not know it yet."""
    pause_limit_ms: int | None = None
    expected_pause_ms: int | None = None
    throttle_percent: int | None = None
    disk_total_bytes: int = 0
    disk_remaining_bytes: int = 0
    disk_sent_bytes: int = 0
    """The disks' part of `sent_bytes`."""
    pages_dup: int = 0
    post_copy_requests: int | None = None
    """Pages the VM had to wait for since it runs at the target."""

    @property
    def memory_sent_bytes(self) -> int:
        """Without the disks."""
        return self.sent_bytes - self.disk_sent_bytes


class Word(StrEnum):
    """The big line's word on the migration screen."""

    STARTING = "STARTING"
    COPYING_DISK = "COPYING DISK"
    CONVERGING = "CONVERGING"
    WILL_NOT_CONVERGE = "WILL NOT CONVERGE"
    SWITCHING_OVER = "SWITCHING OVER"
    MOVED = "MOVED"
    STAYED = "STAYED"
    NEEDS_YOU = "NEEDS YOU"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be said of a running migration now: a word, a reason, the rest as a forecast."""

    word: Word
    reason: str
    left_s: Band | None = None
    """Time until the switchover."""
    pause_ms: Band | None = None
    passes_left: int | None = None
    expected_sent_bytes: int | None = None
    total_s: Band | None = None
    """What the migrate call will have taken when it returns."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Something done to a running migration, or noticed about it, in one sentence."""

    t_s: float
    """Since the migrate call."""
    at: float
    """Epoch seconds."""
    action: str
    """note, pause-limit, bandwidth, throttle, post-copy, suspend, resume, hold, switch, recover,
    abort, restore, clean, volume, prepare."""
    reason: str
    by: str = "engine"
    """engine, or operator."""


class Control(StrEnum):
    """What an operator can do to a running migration."""

    BANDWIDTH = "bandwidth"
    PAUSE_LIMIT = "pause-limit"
    POST_COPY = "post-copy"
    SUSPEND = "suspend"
    RESUME = "resume"
    SWITCH = "switch"
    """End a hold: switch over now."""
    HOLD = "hold"
    RECOVER = "recover"
    """Go on with a post-copy whose stream broke."""
    ABORT = "abort"


class Outcome(StrEnum):
    """How a migration ended, as seen from both ends."""

    MOVED = "moved"
    STAYED = "stayed"
    UNKNOWN = "unknown"
    LOST = "lost"
    SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who owns the VM after a migration, asked of both ends; design.md section 4 names the keys."""

    id: str
    vm: str
    source: str
    target: str
    outcome: Outcome
    owner: str | None
    reason: str
    total_s: float
    """libvirt's migrate call to its return."""
    wall_s: float
    """The operator's confirm to this verdict."""
    pause_ms: int | None = None
    stall_ms: int | None = None
    outage_ms: int | None = None
    sent_bytes: int = 0
    passes: int = 0
    mode: Mode = Mode.LIVE
    policy: str = "balanced"
    encrypted: bool | None = True
    """None: not known, of a migration that somebody else has begun."""
    authenticated: bool | None = True
    leftovers: tuple[str, ...] = ()
    """What is left that should not be, each with how to remove it."""
    lost_probes: int | None = None
    """Of the outage probe: how many were not answered."""
    network: str = ""
    """What the check of the network after the switchover found; empty: not checked."""
    throttle_percent: int | None = None
    """The most the VM was throttled."""
    forecast: Forecast | None = None
    """The one before the start."""
    record: TrackRecord | None = None
    """How good the forecasts had been before it."""
    disks: tuple[str, ...] = ()
    """Of each disk that was copied, what was proven of the copy and what was not."""
    kept: tuple[str, ...] = ()
    """Images left at the source on purpose: `kept: PATH on HOST`."""
    again: bool = False
    """It is tried once more, as another migration, when the link is back."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The engine's clock beside the machine's time since its boot, which nobody sets."""

    boot: str
    """Tells one boot from another."""
    uptime_s: float
    at: float
    """Epoch seconds."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How a migration stood from a moment on; the fields are its own, kept for a replay."""

    at: float
    """Epoch seconds."""
    phase: Phase
    phases: dict[Phase, PhaseState]
    outlook: Outlook | None = None
    hold: bool = False
    post_copy: bool = False
    suspended: bool = False
    recoverable: bool = False
    abort_asked: bool = False
    bandwidth_bytes_s: int | None = None
    pause_limit_ms: int | None = None
    outage_ms: int | None = None
    disks: tuple[DiskProgress, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangedLimit:
    """A limit of the VM that a migration has changed, as it was before."""

    name: str
    """pause-limit (ms), bandwidth (bytes/s)."""
    before: int | None
    """None: it was not told, or there was none."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One VM, one attempt: all about it but its history of samples."""

    id: str
    vm: str
    uuid: str
    source: str
    target: str
    started: float
    """Epoch seconds of the operator's confirm."""
    policy: Policy
    mode: Mode = Mode.LIVE
    encrypted: bool | None = True
    """None: not known, of a foreign one."""
    phase: Phase = Phase.PREPARE
    phases: dict[Phase, PhaseState] = field(default_factory=dict)
    called_at: float | None = None
    """Epoch seconds of libvirt's migrate call, the zero of every `t_s`; None before."""
    memory_at: float | None = None
    """Epoch seconds at which the disks were copied and the memory began; None: not yet, or there
    was none to copy."""
    sample: Sample | None = None
    """The newest."""
    outlook: Outlook | None = None
    decisions: tuple[Decision, ...] = ()
    bandwidth_bytes_s: int | None = None
    """The limit set by the operator; None: unlimited."""
    pause_limit_ms: int | None = None
    abort_asked: bool = False
    verdict: Verdict | None = None
    virsh: str = ""
    """The equal virsh command line."""
    tuning: Tuning | None = None
    forecast: Forecast | None = None
    """As it was before the start."""
    record: TrackRecord | None = None
    """How good the forecasts had been before it."""
    can_hold: bool = False
    hold: bool = False
    """It is to wait before the switchover until told."""
    at: float | None = None
    """Epoch seconds at which the pause is to fall."""
    deadline_s: float | None = None
    """Of the migrate call without its disks, by the policy and the VM's memory."""
    post_copy: bool = False
    """The VM runs at the target, its memory follows."""
    runs_there: bool = False
    """Its pause is over: the target's host said so; the verdict is to come."""
    suspended: bool = False
    """We suspended the VM to finish."""
    recoverable: bool = False
    """Its post-copy broke: the VM stands still until it is recovered."""
    outage_ms: int | None = None
    """The longest gap a client saw so far; None: not probed."""
    probe: str = ""
    """What the outage probe asks, and from where; or why there is none."""
    controls: tuple[Control, ...] = ()
    """What can be done to it now."""
    moves: tuple[DiskMove, ...] = ()
    """Its disks, as planned."""
    disks: tuple[DiskProgress, ...] = ()
    """How far the copied ones are."""
    volumes: tuple[NewVolume, ...] = ()
    """What was made at the target for them; each is here before it exists."""
    prepared: tuple[Prepared, ...] = ()
    """What was made ready at the target; each is here before it is done."""
    remove_source: bool = False
    autostart: bool = False
    """The VM starts with its host."""
    idle: bool = False
    """It is shut off while its disks move to other pools."""
    carried: tuple[str, ...] = ()
    """Firmware and TPM files put at the target; each is here before it is."""
    after: str | None = None
    """Id of the migration of which this is the second attempt."""
    turns: tuple[Turn, ...] = ()
    """Its course so far, oldest first; brought up to date with each phase and the verdict."""
    foreign: bool = False
    """Begun by somebody else (virsh, another user's engine): shown, not steered. How it was begun
    is not known, and `target` is `?` while no host of this fleet is seen to take it."""
    persistent: bool = True
    """The VM had a stored definition at its source."""
    state_before: VmState = VmState.RUNNING
    """Of the VM, at the confirm."""
    address: str | None = None
    """Where the operator wants its outage to be measured."""
    changed: tuple[ChangedLimit, ...] = ()
    """The VM's limits that were changed; each is here before it is."""
    asked: MoveOptions | None = None
    """What the operator asked for; a second attempt asks for the same."""
    gaps: tuple[tuple[float, float], ...] = ()
    """From and to, as `Sample.t_s`: spans in which no engine watched it."""
    clocks: ClockReading | None = None
    """When it began, by both; None: the system does not tell."""

    @property
    def running(self) -> bool:
        """False once a verdict stands."""
        return self.verdict is None
