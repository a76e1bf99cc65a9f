"""What becomes of a VM's disks when it moves: planned, under way, done."""

from dataclasses import dataclass
from enum import StrEnum

from backend.model.band import Band


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
class BackingImage:
    """An image that another one lies on."""

    path: str
    format: str
    reference: str
    """What the image above calls it: a path, perhaps a relative one."""
    named_format: bool = True
    """The image above says which format it has; else QEMU would guess it from its content."""
    virtual_bytes: int | None = None
    allocated_bytes: int | None = None
    length_bytes: int | None = None
    """Of the file, holes included; None: it is no file."""


@dataclass(frozen=True, slots=True)
class LayerMove:
    """What becomes of one image below a disk's own when the chain is kept whole."""

    source: str
    format: str
    reference: str
    """What the image above calls it at the source."""
    destination: str
    """Its path from then on; the source's where it stays."""
    volume: str = ""
    """Its name in the pool of its disk's copy; empty where it stays."""
    found: bool = False
    """A file has that name there already: it is used if its content is the same."""
    virtual_bytes: int | None = None
    allocated_bytes: int | None = None
    length_bytes: int | None = None

    @property
    def stays(self) -> bool:
        """The target has the very same file."""
        return not self.volume

    @property
    def copied(self) -> bool:
        """It is made there."""
        return bool(self.volume) and not self.found

    @property
    def needed_bytes(self) -> int:
        """What it takes at the target."""
        return needed_bytes(self.virtual_bytes, self.allocated_bytes) if self.copied else 0


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
    device: bool = False
    """It is a block device at the source, and becomes a raw file."""
    layers: tuple[LayerMove, ...] = ()
    """The images below it, which stay images of their own; the nearest first."""
    sent_bytes: int | None = None
    """What a mirror sends of it: more than it holds where room is laid out and never written."""
    cluster_bytes: int | None = None
    """Of a qcow2 that a mirror is made of; None: as QEMU likes."""
    finds_zeroes: bool = False
    """The target's QEMU looks for zeroes in what comes, until the VM's next start."""
    takes_s: Band | None = None
    """How long its copy takes by forecast; of several that are copied at once, each the whole."""

    @property
    def needed_bytes(self) -> int:
        """What copying it takes at the target."""
        if self.action is not DiskAction.COPY:
            return 0
        below = sum(layer.needed_bytes for layer in self.layers)
        return needed_bytes(self.virtual_bytes, self.allocated_bytes) + below

    @property
    def copied_bytes(self) -> int:
        """What is in use of it and of what is copied below it; where that is not known, all."""
        own = self.allocated_bytes or self.virtual_bytes or 0
        own = max(own, self.sent_bytes or 0)
        below = (one.allocated_bytes or one.length_bytes or 0 for one in self.layers if one.copied)
        return own + sum(below)


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
