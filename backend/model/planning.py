"""What moving a VM would mean: findings, forecast, policy, the plan. Nothing is touched."""

from dataclasses import dataclass
from enum import StrEnum

from backend.model.band import Band
from backend.model.disks import DiskChoice, DiskMove, NetworkChoice
from backend.model.preparing import Preparation


class Severity(StrEnum):
    """What a finding means for the start."""

    OK = "ok"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Finding:
    """One preflight result: what was checked, what is so, what to do."""

    code: str
    """Stable, for scripts: `cpu-missing-features`."""
    check: str
    """The row it belongs to: cpu, memory, storage, network, ..."""
    severity: Severity
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a migration would do, or what is left of one that runs."""

    converges: bool
    total_s: Band | None = None
    pause_ms: Band | None = None
    passes: int | None = None
    sent_bytes: int | None = None
    needs: str = ""
    """What would make it converge, or what is not known; empty when all is well."""
    throttle_percent: int | None = None
    """How far the VM is expected to be throttled; None: not at all."""
    post_copy: bool = False
    """It finishes by post-copy."""
    basis: str = ""
    """Where the figures come from, as a sentence."""


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """How good the forecasts have been so far, over the newest migrations that were forecast."""

    count: int
    median_error_percent: float
    """Of the total time, without its sign."""
    bands_held_percent: float
    """How often the total time lay inside its band."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows a migration to do to a VM."""

    name: str
    pause_ms: int
    """The longest pause allowed at the switchover."""
    about: str = ""
    deadline_s: float | None = None
    """Of the migrate call; the VM stays when it is over. None: only the one per GiB counts."""
    deadline_s_per_gib: float | None = None
    """Per GiB of the VM's memory; with both, the shorter one counts."""
    throttle_percent: int = 0
    """The most its vCPUs may be slowed; 0: never."""
    post_copy: bool = False
    """It may run at the target before its memory is there."""
    suspend: bool = False
    """It may be suspended to finish at the deadline."""
    compression: bool = False
    """Pages sent again go as differences (XBZRLE)."""
    streams: int = 1
    """Connections that carry the memory (multifd when above 1)."""


class Moment(StrEnum):
    """When post-copy begins."""

    AT_ONCE = "at once"
    AFTER_PASS_1 = "after pass 1"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is set before the start, chosen by forecast within the policy.

    All but the pause limit stay so until the end: changing them means abort and restart.
    """

    pause_limit_ms: int
    """The first one; steering may raise it."""
    throttle_start_percent: int | None = None
    """None: auto-converge is off."""
    throttle_step_percent: int = 10
    post_copy: bool = False
    """Permitted; it begins when steering or the operator says so."""
    switch: Moment | None = None
    """When post-copy is to begin; None: only if the forecast turns out wrong."""
    compression: bool = False
    streams: int = 1


class Mode(StrEnum):
    """What kind of move it is."""

    LIVE = "live"
    """It runs on, and its memory is copied meanwhile."""
    COLD = "cold"
    """It is shut off and stays so."""
    RESTART = "restart"
    """It is shut down, moved, and started there."""
    STORAGE = "storage"
    """Only disks move, to other pools of the same host."""

    @property
    def copies_memory(self) -> bool:
        """The VM runs at the source until it runs at the target."""
        return self is Mode.LIVE


@dataclass(frozen=True, slots=True)
class MoveOptions:
    """What an operator asks for beside VM and target; None: as the policy says."""

    policy: str | None = None
    """A policy's name; None: the VM's own, else the default."""
    pause_ms: int | None = None
    deadline_s: float | None = None
    bandwidth_bytes_s: int | None = None
    hold: bool = False
    """Copy now, switch over when told."""
    at: float | None = None
    """Epoch seconds at which the pause is to fall."""
    address: str | None = None
    """The VM's address for the outage probe; None: found out."""
    disks: tuple[DiskChoice, ...] = ()
    """Pools and names for disks that are copied; the others get a default."""
    networks: tuple[NetworkChoice, ...] = ()
    remove_source: bool = False
    """Remove the source's images once the target is seen to run the VM from its own."""
    mode: Mode | None = None
    """None: live, or cold for a VM that is shut off."""
    flatten: bool = False
    """Chains of images become one image each."""
    prepare: bool = False
    """Make the target ready first, as the plan's `preparations` say."""
    shutdown_s: float | None = None
    """How long a VM that is to be restarted may take to shut down; None: the default."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What moving one VM to one target would mean; nothing has been touched."""

    vm: str
    uuid: str
    source: str
    target: str
    findings: tuple[Finding, ...]
    policy: Policy
    mode: Mode = Mode.LIVE
    encrypted: bool = True
    forecast: Forecast | None = None
    fit: int | None = None
    """0-100, how well the target suits; None where it cannot take the VM."""
    free_bytes: int | None = None
    """The target's free memory now."""
    summary: str = ""
    """`live, balanced, encrypted`."""
    virsh: str = ""
    """The equal command line; empty where no one command does it."""
    tuning: Tuning | None = None
    """None where it is blocked."""
    remarks: tuple[str, ...] = ()
    """What the choice of settings means: risks and costs, one sentence each."""
    can_hold: bool = False
    """The VM writes enough for QEMU to be held before the switchover."""
    record: TrackRecord | None = None
    deadline_s: float | None = None
    """Of the migrate call, disks not counted; None: as long as it takes."""
    disks: tuple[DiskMove, ...] = ()
    """Every disk, in the order of the VM's definition."""
    pools: tuple[str, ...] = ()
    """Names of the target's pools that can take images."""
    idle: bool = False
    """It is shut off, and only its disks move to other pools."""
    preparations: tuple[Preparation, ...] = ()
    """What could be made ready at the target; done first if the options ask for it."""

    @property
    def blocked(self) -> bool:
        """True when a finding forbids the start."""
        return any(finding.severity is Severity.BLOCK for finding in self.findings)
