"""What a placement depends on, and what is said of it. Pure. Bytes, CPUs; costs in points."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.model.tags import UNTAGGED, Tags

MEMORY_RESERVE_PART = 0.05
"""Of a host's memory, kept free of VMs."""


@dataclass(frozen=True, slots=True)
class PoolNeed:
    """What one VM's copied disks take of one pool of one target."""

    pool: str
    bytes: int
    path: str = ""
    """The file that would be made: no two VMs may make the same; empty: not known."""


@dataclass(frozen=True, slots=True)
class VmNeed:
    """One VM that wants a host."""

    id: str
    """Its UUID."""
    name: str
    host: str
    """Where it is; never a target of it."""
    memory_bytes: int
    """What it takes at a target; 0 for one that is shut off and stays so."""
    cpus_used: float = 0.0
    """Of its vCPUs' time, in CPUs: 4 vCPUs half busy use 2.0."""
    sent_bytes: int = 0
    """What its move would send, to spread the sending over the targets' links."""
    tags: Tags = UNTAGGED


@dataclass(frozen=True, slots=True)
class HostRoom:
    """One possible target with what it has left now."""

    name: str
    memory_bytes: int
    memory_free_bytes: int
    cpus: int = 0
    """0: not known."""
    cpus_used: float = 0.0
    pools: Mapping[str, int] = field(default_factory=dict)
    """Free bytes by pool; one that is not in it is not limited."""
    link_bytes_s: float | None = None
    """What it can receive."""
    closed: str = ""
    """Why it takes no VM now (down, in maintenance), as a sentence; empty: it does."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A VM that is not to be placed, and where it is: the others' groups ask for it."""

    name: str
    host: str
    tags: Tags


@dataclass(frozen=True, slots=True)
class Question:
    """All that a placement depends on."""

    vms: tuple[VmNeed, ...]
    hosts: tuple[HostRoom, ...]
    residents: tuple[Resident, ...] = ()
    """VMs with tags that stay where they are, on whichever host."""
    blocked: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(VM's id, host) that cannot be, with the reason: preflight's first blocking sentence."""
    pool_needs: Mapping[tuple[str, str], tuple[PoolNeed, ...]] = field(default_factory=dict)
    """(VM's id, host): what would be copied there."""
    reserve_part: float = MEMORY_RESERVE_PART


@dataclass(frozen=True, slots=True)
class Part:
    """One part of what a VM costs at a host, told."""

    name: str
    """memory, cpu, link, prefer, together, apart."""
    cost: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One host for one VM, all others being where the placement has them."""

    host: str
    cost: float | None
    """None: it cannot be there."""
    parts: tuple[Part, ...] = ()
    reason: str = ""
    """Why it cannot."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one VM goes, or why nowhere."""

    vm: str
    """Its id."""
    name: str
    host: str | None
    reason: str
    """Why this host, or why none: a sentence without its full stop."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The answer; one `Placed` for each VM, in the question's order."""

    placed: tuple[Placed, ...]
    cost: float
    """Of all VMs placed, in points; the less the better."""
    proven: bool
    """No placement of more VMs, nor of as many at a lower cost, exists."""

    def host_of(self, vm: str) -> str | None:
        """The host of the VM with that id."""
        return next((one.host for one in self.placed if one.vm == vm), None)
