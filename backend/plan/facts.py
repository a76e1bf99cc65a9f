"""The facts a preflight judges: one VM, its source, one target. Plain values, nothing acts.

Every fact may be unknown: then it is None, and `Survey.unknown` may say why. `run.survey`
gathers them; tests write them down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from backend.errors import virsh_word
from backend.model import CopyRoute, Disk, DiskChoice, Host, HostState, Mode, Nic, Reading, Vm
from backend.plan.modes import moved_while_off


@dataclass(frozen=True, slots=True)
class Definition:
    """What the VM's domain XML says: the live one while it runs."""

    virt_type: str = "kvm"
    machine: str = ""
    emulator: str = ""
    memory_bytes: int = 0
    """The most it can have, balloon full."""
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    hostdevs: tuple[str, ...] = ()
    filesystems: tuple[str, ...] = ()
    """`virtiofs DIR as TAG` or `9p DIR as TAG`."""
    shmems: tuple[str, ...] = ()
    redirected_usb: int = 0
    tpm: str | None = None
    nvram: str | None = None
    vsock: str | None = None
    """`auto`, or the fixed context id."""
    launch_security: str | None = None
    hugepage_bytes: int | None = None
    """Size of the huge pages that hold its memory; None: ordinary pages."""
    pinned: bool = False
    leases: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Files other than disks that QEMU opens: kernel, firmware, serial logs."""


class Held(StrEnum):
    """What the target holds under the VM's name or UUID."""

    NOTHING = "nothing"
    STALE = "stale"
    """The same UUID, defined and not running."""
    RUNNING = "running"
    """The same UUID, running there too."""
    OTHER_NAMED_SO = "other"
    """Another VM of the same name."""


class ReachProblem(StrEnum):
    """Why the source host cannot use the target's migration URI."""

    NONE = "none"
    NAME = "name"
    PORT = "port"
    SILENT = "silent"
    """Nothing comes back: no route, or a firewall that drops."""
    URI = "uri"
    """libvirt cannot make sense of it."""
    OTHER_HOST = "other-host"
    """It leads to another host."""
    CREDENTIALS = "credentials"
    """The source has no certificate of its own, or one that the target refuses."""
    TRUST = "trust"
    NAME_MISMATCH = "name-mismatch"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Reach:
    """What came of trying the migration URI from the source host."""

    problem: ReachProblem
    detail: str = ""
    """What the host answered, as told to the operator."""


@dataclass(frozen=True, slots=True)
class CpuAnswer:
    """libvirt's comparison of the VM's CPU with what the target can give it."""

    fits: bool
    missing: tuple[str, ...] = ()
    detail: str = ""
    running: bool = True
    """The CPU of the running VM was compared; False: the one of its definition."""


@dataclass(frozen=True, slots=True)
class DiskProof:
    """What probing a disk's file on both hosts has shown."""

    shared: bool | None = None
    """The target sees what the source writes; None: could not be tried."""
    target_bytes: int | None = None
    """Size of the file of that path at the target; None: there is none, or not known."""
    at_target: bool | None = None
    """A file of that path exists at the target."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A storage pool of the target."""

    name: str
    kind: str = "dir"
    active: bool = True
    path: str = ""
    available_bytes: int = 0
    volumes: frozenset[str] = frozenset()
    autostart: bool = False

    @property
    def takes_files(self) -> bool:
        """Its volumes are image files."""
        return self.kind in ("dir", "fs", "netfs")


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """A network of the source, as the target could have it."""

    name: str
    xml: str
    autostart: bool = False
    needs: tuple[str, ...] = ()
    """Bridges and network devices that must be at the target."""
    makes: str = ""
    """A bridge that must not; empty where libvirt chooses its name."""


@dataclass(frozen=True, slots=True)
class Room:
    """A directory at the target that a pool has, or could be given."""

    there: bool = False
    empty: bool = False
    could_be: bool = False
    """It is not there, and the one above it is."""
    available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Preparing:
    """What tells whether the target can be made ready."""

    own_pools: Mapping[str, PoolFacts] = field(default_factory=lambda: MappingProxyType({}))
    """The source's, by name."""
    own_networks: Mapping[str, NetworkFacts] = field(default_factory=lambda: MappingProxyType({}))
    target_networks: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    """Whether each is active."""
    rooms: Mapping[str, Room] = field(default_factory=lambda: MappingProxyType({}))
    """By the path of a pool."""
    devices: frozenset[str] | None = None
    """Of those that networks need or make: the ones that are at the target."""


@dataclass(frozen=True, slots=True)
class Versions:
    """As libvirt counts: major * 1,000,000 + minor * 1,000 + release."""

    libvirt: int
    qemu: int


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured for a forecast; `Survey.unknown` has why something was not
    (`memory-use`, `readings`, `link`)."""

    in_use_bytes: int | None = None
    """Guest memory that QEMU really holds; the rest is zero pages."""
    readings: tuple[Reading, ...] = ()
    """What it wrote over 1, 2, 4, 8 s, of the last 90 s, oldest first."""
    link_probe_bytes_s: float | None = None
    """Payload that a probe from source to target got through."""
    link_probed_at: float | None = None
    """Epoch seconds."""
    cpu_percent: float | None = None
    """The VM's: 100 means all its vCPUs are busy."""
    sharing_link: int = 0
    """Migrations that use the source's way out or the target's way in already."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirror finds in an image."""

    data_bytes: int
    laid_out_bytes: int = 0
    """Beside that: never written, but carried as if it was."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A way on which others could read or change what travels."""

    sentence: str
    remedy: str
    allowed: bool = False
    """The fleet file says so."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All that is known about moving one VM from one host to another."""

    vm: Vm
    source: Host
    target: Host
    encrypted: bool = True
    moved_by_others: bool = False
    """A migration that runs on it is not this engine's."""
    mode: Mode = Mode.LIVE
    flatten: bool = False
    migrate_uri: str = ""
    exposures: tuple[Exposure, ...] = ()
    """Of what is asked and told beside the VM's own data: our connections, and theirs."""
    definition: Definition | None = None
    paused_reason: str = ""
    """libvirt's reason while paused: `user`, `I/O error`, ..."""
    io_error: bool | None = None
    snapshots: int | None = None
    checkpoints: int | None = None
    managed_save: bool | None = None
    held: Held | None = None
    held_uuid: str = ""
    """UUID of the other VM that has the name at the target."""
    reach: Reach | None = None
    cpu: CpuAnswer | None = None
    machines: frozenset[str] | None = None
    """Machine types the target offers for this virt type."""
    emulator_there: bool | None = None
    free_hugepage_bytes: int | None = None
    disks: Mapping[str, DiskProof] = field(default_factory=lambda: MappingProxyType({}))
    """By the disk's target name."""
    choices: tuple[DiskChoice, ...] = ()
    """The operator's, by disk."""
    shared_layers: frozenset[str] = frozenset()
    """Paths of images below the VM's own that the target was shown to have too."""
    source_pools: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The pool at the source that a disk lies in, by the disk's target name."""
    stored_sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What the stored definition of a running VM calls a disk's image, by its target name."""
    target_pools: tuple[PoolFacts, ...] | None = None
    occupied: frozenset[str] = frozenset()
    """Paths at the target where a copy would go and a file is already."""
    copy_route: CopyRoute = CopyRoute.DIRECT
    """How images of a VM that does not run are copied."""
    copy_why: str = ""
    """That, and why so, as a sentence."""
    copy_refused: str = ""
    """Why they cannot be."""
    copy_remedy: str = ""
    networks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What the operator renames: name at the source -> at the target."""
    attachments: Mapping[str, bool | None] = field(default_factory=lambda: MappingProxyType({}))
    """By `kind name` of a NIC's source, as renamed: whether it is there and active at the
    target."""
    files_missing: tuple[str, ...] | None = None
    source_versions: Versions | None = None
    target_versions: Versions | None = None
    measures: Measures = Measures()
    preparing: Preparing = Preparing()
    internal_snapshots: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Inside the image of a disk that is copied, by its target name."""
    mirrored: Mapping[str, Mirrored] = field(default_factory=lambda: MappingProxyType({}))
    """What a mirror finds in a disk, images below it included, by its target name."""
    occupied_bytes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Virtual size of the images at `occupied`, where it is known."""
    unknown: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name of a fact -> the sentence why it is not known."""

    @property
    def idle(self) -> bool:
        """No QEMU has its disks while they are copied."""
        return moved_while_off(self.mode, self.vm.state)

    @property
    def same_host(self) -> bool:
        """Source and target are one."""
        return self.source.name == self.target.name

    @property
    def target_up(self) -> bool:
        """The target answers."""
        return self.target.state is HostState.UP

    @property
    def target_free_bytes(self) -> int | None:
        """Memory the target has left now."""
        if self.target.memory_bytes is None or self.target.memory_used_bytes is None:
            return None
        return max(0, self.target.memory_bytes - self.target.memory_used_bytes)

    @property
    def needed_bytes(self) -> int:
        """Memory the VM's QEMU may take at the target: the VM's own and 64 MiB + 1/64 for QEMU."""
        own = self.definition.memory_bytes if self.definition else 0
        own = own or self.vm.memory_bytes
        return own + 64 * 2**20 + own // 64

    @property
    def shell_name(self) -> str:
        """The VM as a word of a virsh command."""
        return virsh_word(self.vm.name, self.vm.uuid)

    def why(self, fact: str) -> str:
        """` (REASON)` for a fact that is not known; empty without one."""
        reason = self.unknown.get(fact, "").rstrip(".")
        return f" ({reason})" if reason else ""


def attachment(nic: Nic) -> str:
    """The key of a NIC's source in `Survey.attachments`."""
    return f"{nic.kind} {nic.source}"


def renamed(nic: Nic, networks: Mapping[str, str]) -> Nic:
    """The interface as it will be at the target."""
    if nic.kind not in ("bridge", "network"):
        return nic
    return replace(nic, source=networks.get(nic.source, nic.source))
