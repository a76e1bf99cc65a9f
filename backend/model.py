"""The nouns every room shares, and nothing that acts.

All are frozen and slotted, compare by value (so a change is `old != new`), and travel as JSON
between the engine and its clients (`service.protocol`). Sizes are bytes, rates bytes/s; other
units are in the names. `None` means not known, never zero.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class HostState(StrEnum):
    """Whether the engine can talk to a host now."""

    CONNECTING = "connecting"
    UP = "up"
    UNREACHABLE = "unreachable"


class VmState(StrEnum):
    """What libvirt says a VM does."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUT_OFF = "shut off"
    SHUTTING_DOWN = "shutting down"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"

    @property
    def active(self) -> bool:
        """True while a QEMU process holds the VM."""
        return self not in (VmState.SHUT_OFF, VmState.CRASHED, VmState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the fleet as last seen."""

    name: str
    state: HostState
    reason: str = ""
    """Why it is not up, as a sentence; empty when up."""
    retry_at: float | None = None
    """Epoch seconds of the next attempt while unreachable."""
    hostname: str = ""
    cpus: int | None = None
    cpu_percent: float | None = None
    """Of all CPUs together, 0-100."""
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    link_out_bytes_s: float | None = None
    link_in_bytes_s: float | None = None
    link_speed_bytes_s: float | None = None
    """What the network card says of itself; None where it says nothing (veth, bridges)."""
    migrations_out: int = 0
    migrations_in: int = 0
    tls: bool = True
    """The fleet file requires encryption for what leaves this host."""


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a VM, from its domain XML."""

    target: str
    """The name the guest's bus gives it: vda, sdb."""
    device: str = "disk"
    """disk, cdrom, floppy, lun."""
    kind: str = "file"
    """file, block, volume, network, dir."""
    format: str = "raw"
    source: str | None = None
    """Path, `pool/volume`, or the network source's name; None for an empty drive."""
    pool: str | None = None
    read_only: bool = False
    shareable: bool = False
    transient: bool = False
    cache: str = "default"
    virtual_bytes: int | None = None
    allocated_bytes: int | None = None
    shared: bool | None = None
    """As it looks from every host that is up (one inode everywhere); a plan proves it."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One network interface of a VM, from its domain XML."""

    mac: str
    kind: str
    """bridge, network, direct, user, hostdev, ethernet, vhostuser."""
    source: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A job libvirt runs on a VM, whoever started it."""

    kind: str
    """migration out, migration in, save, dump, backup, snapshot."""
    progress_percent: float | None = None
    remaining_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM on one host. A VM seen on two hosts is two of these with one uuid."""

    uuid: str
    name: str
    host: str
    state: VmState
    persistent: bool = True
    autostart: bool = False
    vcpus: int = 0
    cpu_percent: float | None = None
    """Of one CPU per vCPU: 100 means all its vCPUs are busy."""
    memory_bytes: int = 0
    memory_used_bytes: int | None = None
    """What its QEMU holds resident; None while shut off."""
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    job: Job | None = None
    writes_bytes_s: float | None = None
    """Dirty rate as last seen by a migration of it; None before the first."""
    last_move_at: float | None = None
    last_pause_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The whole fleet at one instant; published whenever anything in it changed."""

    name: str = ""
    hosts: tuple[Host, ...] = ()
    """In the order of the fleet file."""
    vms: tuple[Vm, ...] = ()
    """By name, then host."""

    def host(self, name: str) -> Host | None:
        """The host called `name`."""
        return next((host for host in self.hosts if host.name == name), None)

    def vms_named(self, name: str) -> tuple[Vm, ...]:
        """Every VM with this name or UUID (several when it is defined on several hosts)."""
        return tuple(vm for vm in self.vms if name in (vm.name, vm.uuid))


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
class Band:
    """A figure that is not known exactly."""

    low: float
    mid: float
    high: float


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


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows a migration to do to a VM."""

    name: str
    pause_ms: int
    """The longest pause allowed at the switchover."""
    about: str = ""


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
    """From 1."""
    remaining_bytes: int
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
    pages_dup: int = 0


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


@dataclass(frozen=True, slots=True)
class Decision:
    """Something done to a running migration, or noticed about it, in one sentence."""

    t_s: float
    """Since the migrate call."""
    at: float
    """Epoch seconds."""
    action: str
    """note, pause-limit, bandwidth, abort, restore."""
    reason: str
    by: str = "engine"
    """engine, or operator."""


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
    mode: str = "live"
    policy: str = "balanced"
    encrypted: bool = True
    authenticated: bool = True
    leftovers: tuple[str, ...] = ()
    """What is left that should not be, each with how to remove it."""


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
    mode: str = "live"
    encrypted: bool = True
    phase: Phase = Phase.PREPARE
    phases: dict[Phase, PhaseState] = field(default_factory=dict)
    called_at: float | None = None
    """Epoch seconds of libvirt's migrate call, the zero of every `t_s`; None before."""
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

    @property
    def running(self) -> bool:
        """False once a verdict stands."""
        return self.verdict is None


@dataclass(frozen=True, slots=True)
class Plan:
    """What moving one VM to one target would mean; nothing has been touched."""

    vm: str
    uuid: str
    source: str
    target: str
    findings: tuple[Finding, ...]
    policy: Policy
    mode: str = "live"
    encrypted: bool = True
    forecast: Forecast | None = None
    fit: int | None = None
    """0-100, how well the target suits; None where it cannot take the VM."""
    free_bytes: int | None = None
    """The target's free memory now."""
    summary: str = ""
    """`live, balanced, encrypted`."""
    virsh: str = ""

    @property
    def blocked(self) -> bool:
        """True when a finding forbids the start."""
        return any(finding.severity is Severity.BLOCK for finding in self.findings)
