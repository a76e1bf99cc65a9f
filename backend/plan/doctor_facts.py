"""The facts an examination judges: every host of a fleet, and the ways between them. Plain values.

Whatever is None or absent was not asked or not answered; `Checkup.unknown` says why. `run.doctor`
gathers them; tests write them down.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import urlsplit

from backend.model import FleetFinding, Grade, Host, HostState, VmState
from backend.plan.facts import Reach, Versions


@dataclass(frozen=True, slots=True)
class Copy:
    """One VM as one host has it."""

    uuid: str
    name: str
    host: str
    state: VmState = VmState.RUNNING
    reason: str = ""
    """libvirt's reason for the state: migrated, migration, post-copy failed, user, ..."""
    job: str | None = None
    job_known: bool = True
    saved: bool = False
    images: frozenset[str] = frozenset()
    """Paths that it names, of the running VM and of its definition."""
    pause_ms: int | None = None
    """Its pause limit while it runs; None: not known."""
    bandwidth_bytes_s: int | None = None
    """None: no limit, or not known."""
    deaf: bool = False
    """Its QEMU did not answer in time."""

    @property
    def active(self) -> bool:
        """A QEMU process holds it here."""
        return self.state.active

    @property
    def paused(self) -> bool:
        """That process does not execute it."""
        return self.state is VmState.PAUSED

    @property
    def migrates(self) -> bool:
        """A migration's job is on it."""
        return self.job is not None and "migration" in self.job


@dataclass(frozen=True, slots=True)
class Volume:
    """An image in a pool of a host."""

    host: str
    pool: str
    name: str
    path: str
    identity: tuple[int, int] | None = None
    """Inode and time of birth; None: not known."""
    idle_s: int | None = None
    """Since it was last written to."""
    allocated_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Paper:
    """A file of certificates on a host."""

    role: str
    """libvirt-ca, libvirt-server, libvirt-client, qemu-ca, qemu-server, qemu-client."""
    path: str
    there: bool = True
    readable: bool = True
    fault: str = ""
    """Why what is in it cannot be used."""
    names: tuple[str, ...] = ()
    starts: float = 0.0
    ends: float = 0.0
    """Epoch seconds."""


class PortWord(StrEnum):
    """What came of trying a port that nothing has to listen on."""

    OPEN = "open"
    SILENT = "silent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Checkup:
    """One host: what it is, what it has, and what it reaches of the others."""

    host: Host
    migrate_uri: str = ""
    has_shell: bool = True
    host_uuid: str = ""
    versions: Versions | None = None
    copies: tuple[Copy, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    """Those that no VM of its own names."""
    images: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    """Identity of the images its VMs name, where another host has a volume of that path."""
    papers: tuple[Paper, ...] | None = None
    address: str = ""
    """What its QEMUs are called by others: its own name, but for qemu.conf."""
    clock_offset_s: float | None = None
    """Its clock minus the engine's."""
    clock_error_s: float = 0.0
    names: Mapping[str, frozenset[str]] | None = None
    """The addresses that the names of the fleet's hosts have there."""
    reach: Mapping[str, Reach] = field(default_factory=lambda: MappingProxyType({}))
    """By target."""
    ports: Mapping[tuple[str, int], PortWord] | None = None
    """By target and port."""
    unknown: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name of a fact -> why it is not known."""

    @property
    def name(self) -> str:
        """In the fleet."""
        return self.host.name

    @property
    def up(self) -> bool:
        """It answers."""
        return self.host.state is HostState.UP

    @property
    def migrate_name(self) -> str:
        """What the others call it."""
        return named_in(self.migrate_uri)

    @property
    def by_tls(self) -> bool:
        """The others reach its libvirt by TLS."""
        return urlsplit(self.migrate_uri).scheme.endswith("+tls")

    @property
    def needs_papers(self) -> bool:
        """Something that goes in or out of it is encrypted by TLS."""
        return self.host.tls or self.by_tls


@dataclass(frozen=True, slots=True)
class Doubt:
    """A migration of this engine whose verdict leaves open where the VM is."""

    vm: str
    uuid: str
    source: str
    target: str
    outcome: str


TrustKey = tuple[str, str, str, str]
"""Plane (libvirt, qemu), role that is shown (server, client), who shows it, who is to trust it."""


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """All that an examination knows."""

    hosts: tuple[Checkup, ...]
    now: float
    """Epoch seconds of the engine."""
    moving: frozenset[str] = frozenset()
    """UUIDs of the VMs that this engine moves now."""
    open_moves: frozenset[str] = frozenset()
    """Ids of the migrations whose images may still be needed."""
    suspended: frozenset[str] = frozenset()
    """UUIDs of VMs that this engine suspended and did not wake."""
    doubts: tuple[Doubt, ...] = ()
    trust: Mapping[TrustKey, bool] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def up(self) -> tuple[Checkup, ...]:
        """Those that answer."""
        return tuple(one for one in self.hosts if one.up)

    @property
    def silent(self) -> tuple[str, ...]:
        """Names of the hosts whose VMs are not known now."""
        return tuple(one.name for one in self.hosts if one.copies is None)

    def copies(self) -> Iterator[Copy]:
        """Every VM on every host that told."""
        for one in self.hosts:
            yield from one.copies or ()

    def by_uuid(self) -> dict[str, list[Copy]]:
        """Each VM's copies, in the order of the hosts; those that this engine moves left out."""
        found: dict[str, list[Copy]] = {}
        for copy in self.copies():
            if copy.uuid not in self.moving:
                found.setdefault(copy.uuid, []).append(copy)
        return found


def named_in(uri: str) -> str:
    """The host in a libvirt URI; empty where it names none."""
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""


# -- short makers of findings ----------------------------------------------------------------


def finding(
    code: str, grade: Grade, hosts: tuple[str, ...], sentence: str, remedy: str = "", vm: str = ""
) -> FleetFinding:
    """One; its check is filled in by whoever runs the check."""
    return FleetFinding(code, "", grade, hosts, sentence, remedy, vm)


def listed(names: tuple[str, ...] | list[str], most: int = 6) -> str:
    """`kvm-a, kvm-b and kvm-c`; the rest of a long list is counted."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
