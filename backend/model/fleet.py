"""Hosts, VMs and the fleet they make, as last seen."""

from dataclasses import dataclass
from enum import StrEnum

from backend.model.disks import BackingImage
from backend.model.tags import UNTAGGED, Tags


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
    remedy: str = ""
    """What to do about that; may be empty."""
    daemon_stopped: bool = False
    """The host answers, but nothing listens where its libvirt should."""
    retry_at: float | None = None
    """Epoch seconds of the next attempt while unreachable."""
    hostname: str = ""
    cpus: int | None = None
    cpu_percent: float | None = None
    """Of all CPUs together, 0-100."""
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    pressure_percent: float | None = None
    """Of the last second in which something waited for a CPU (PSI, some); None: not told."""
    link_out_bytes_s: float | None = None
    link_in_bytes_s: float | None = None
    link_speed_bytes_s: float | None = None
    """What the network card says of itself; None where it says nothing (veth, bridges)."""
    migrations_out: int = 0
    migrations_in: int = 0
    tls: bool = True
    """The fleet file requires encryption for what leaves this host."""
    maintenance_since: float | None = None
    """Epoch seconds; while it is in maintenance it takes no VM. None: it is not."""


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
    length_bytes: int | None = None
    """Of the image file, holes included; asked only of VMs that do not run."""
    snapshots: int = 0
    """The image's own; asked only of VMs that do not run."""
    shared: bool | None = None
    """As it looks from every host that is up (one inode everywhere); a plan proves it."""
    backing: str | None = None
    """The image below it; known while the VM runs, and in plans."""
    chain: tuple[BackingImage, ...] = ()
    """The images below it, the nearest first; asked only where they matter to a plan."""
    cluster_bytes: int | None = None
    """Of a qcow2 that a mirror would copy."""
    encrypted: bool = False
    mirrored: bool = False
    """A block job copies it already."""

    @property
    def is_device(self) -> bool:
        """Its image is a block device of the host (of a pool's volume too), not a file."""
        path = self.source or ""
        return self.kind == "block" or (self.kind == "volume" and path.startswith("/dev/"))


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
    cpu_usual_percent: float | None = None
    """The middle of the last seconds: one look alone may meet a host that is busy otherwise."""
    memory_bytes: int = 0
    memory_used_bytes: int | None = None
    """What its QEMU holds resident; None while shut off."""
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    job: Job | None = None
    writes_bytes_s: float | None = None
    """Dirty rate as last measured, or seen by a migration of it."""
    writes_at: float | None = None
    """Epoch seconds of that; None where it is not known."""
    policy: str | None = None
    """The policy its metadata names."""
    address: str | None = None
    """The network address its metadata names."""
    tags: Tags = UNTAGGED
    """Where its metadata says it may and should run."""
    last_move_at: float | None = None
    last_pause_ms: int | None = None
    trouble: str = ""
    """Why what is shown of it may be old, as a sentence; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of its memory a VM wrote to over one period, each page counted once.

    Of pages whose content changed: what is rewritten with the same bytes is not in it.
    """

    at: float
    """Epoch seconds of its end."""
    period_s: float
    unique_bytes: float
    """The middle of what the figure can mean."""
    resolution_bytes: float
    """What one sampled page stands for: the counting error is sqrt(unique * resolution)."""
    rounding_bytes: float = 0.0
    """Half of the span that was lost to rounding."""

    @property
    def rate_bytes_s(self) -> float:
        """The mean over the period."""
        return self.unique_bytes / self.period_s

    @property
    def error_bytes(self) -> float:
        """One standard deviation of `unique_bytes`; never less than one sampled page's."""
        counting = max(self.unique_bytes, self.resolution_bytes) * self.resolution_bytes
        return float((counting + self.rounding_bytes**2 / 3) ** 0.5)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One VM runs on several hosts at once: each copy writes as if it were alone."""

    vm: str
    uuid: str
    hosts: tuple[str, ...]
    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The whole fleet at one instant; published whenever anything in it changed."""

    name: str = ""
    hosts: tuple[Host, ...] = ()
    """In the order of the fleet file."""
    vms: tuple[Vm, ...] = ()
    """By name, then host."""
    alarms: tuple[Alarm, ...] = ()
    """What cannot wait: on top of every screen until it is seen to be gone."""

    def host(self, name: str) -> Host | None:
        """The host called `name`."""
        return next((host for host in self.hosts if host.name == name), None)

    def vms_named(self, name: str) -> tuple[Vm, ...]:
        """Every VM with this name or UUID (several when it is defined on several hosts)."""
        return tuple(vm for vm in self.vms if name in (vm.name, vm.uuid))
