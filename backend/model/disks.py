"""What becomes of a VM's disks when it moves: planned, under way, done."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class DiskChoice:
    """Where the operator wants one disk: `--disk vda=POOL[:NAME]`."""

    target: str
    """The disk's name in the guest: vda."""
    pool: str
    volume: str | None = None
    """None: named as the source's file."""


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """What a bridge or network of the source is called at the target: `--network SRC=DST`."""

    source: str
    target: str


class CopyRoute(StrEnum):
    """How the image of a VM that does not run gets from one place to the other."""

    DIRECT = "direct"
    """From host to host."""
    RELAY = "relay"
    """Through the engine, over its connections to both."""
    LOCAL = "local"
    """Within one host."""


class DiskAction(StrEnum):
    """What a plan does about one disk."""

    COPY = "copy"
    SHARED = "shared"
    """Proven to be one and the same on both hosts."""
    SKIP = "skip"
    """Read-only, or an empty drive: the target uses its own file of that name."""
    UNPROVEN = "unproven"
    """Not known to be shared: it is left where it is, and libvirt judges."""
    STAYS = "stays"
    """Not one of those that are to move to another pool."""
    NONE = "none"
    """It cannot be moved; a finding says why."""


@dataclass(frozen=True, slots=True)
class DiskMove:
    """One disk of a plan: from where to where, and how that will be checked."""

    target: str
    """Its name in the guest: vda."""
    action: DiskAction
    source: str = ""
    """Its path at the source; empty for an empty drive."""
    format: str = "raw"
    virtual_bytes: int | None = None
    allocated_bytes: int | None = None
    """What it takes of its storage now."""
    source_pool: str | None = None
    pool: str | None = None
    """At the target, of what is copied."""
    volume: str | None = None
    destination: str | None = None
    """Its path at the target."""
    room_bytes: int | None = None
    """What that pool has left now."""
    verified_by: str = ""
    """How it will be checked after the move, as a sentence's part."""
    length_bytes: int | None = None
    """Of the image file, holes included; known of VMs that are shut off."""
    flattened: bool = False
    """The images below it go into its copy."""

    @property
    def needed_bytes(self) -> int:
        """What copying it takes at the target."""
        if self.action is not DiskAction.COPY:
            return 0
        return needed_bytes(self.virtual_bytes, self.allocated_bytes)


def needed_bytes(virtual_bytes: int | None, allocated_bytes: int | None) -> int:
    """Room that a copy needs at once: what is in use and 1 MiB + 1/256 of tables; all of the
    virtual size where that is not known."""
    used = virtual_bytes or 0 if allocated_bytes is None else allocated_bytes
    return used + 2**20 + used // 256


class VolumeState(StrEnum):
    """How far a volume that we make at the target is."""

    INTENDED = "intended"
    """About to be created; that it exists, or is ours, is not known."""
    CREATED = "created"
    REMOVED = "removed"
    REFUSED = "refused"
    """The target said no before there was anything."""


@dataclass(frozen=True, slots=True)
class NewVolume:
    """A volume made at the target for one disk."""

    disk: str
    host: str
    pool: str
    name: str
    path: str
    state: VolumeState = VolumeState.INTENDED
    inode: int | None = None
    """Of the finished copy that is to get this name: what has it there is ours."""


@dataclass(frozen=True, slots=True)
class DiskProgress:
    """How far the copy of one disk is."""

    target: str
    done_bytes: int = 0
    total_bytes: int = 0
    """Grows while the guest writes."""
    rate_bytes_s: float | None = None
    """None: not known yet."""
    progress: float = 0.0
    """0 to 1, never falling; 1: the target's copy is complete and follows every write."""
