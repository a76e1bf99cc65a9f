"""What becomes of each disk: copied, and then to which pool and under which name; or left. Pure.

A disk goes to the pool of the same name as the one it lies in, else to the one with the most
room; the operator's choice stands above both, and is never silently replaced.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from backend.model import Disk, DiskAction, DiskChoice, DiskMove, Mode
from backend.model.disks import needed_bytes
from backend.plan import chains
from backend.plan.facts import DiskProof, PoolFacts, Survey

FORMATS = ("raw", "qcow2")
BY_CONTENT = "a hash of what the guest sees in both images, qemu-img check of the copy"
BY_EACH_HASH = "a hash of every byte of each image, and of what the guest sees; qemu-img check"
BY_HASH = "a hash of every byte of both images, qemu-img check of the copy"
VERIFIED_HERE = "format and size of both images, qemu-img check of both, and what the VM is on"
VERIFIED_BY = "format and size at both ends, qemu-img check of the image at the source"


class Trouble(StrEnum):
    """Why there is no place for a copy."""

    NONE = "none"
    UNKNOWN = "unknown"
    """The target's pools are not known."""
    MISSING = "missing"
    INACTIVE = "inactive"
    KIND = "kind"
    """Its volumes are no files."""
    ROOM = "room"
    NOWHERE = "nowhere"
    """No pool at all is active and takes files."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy goes, or why nowhere."""

    pool: PoolFacts | None = None
    trouble: Trouble = Trouble.NONE
    instead_of: str = ""
    """The pool of the same name, where another had to be taken; empty: it was taken, or wanted."""
    room_bytes: int = 0
    """Left in the pool, or in the largest one, after the disks before this one."""


@dataclass(frozen=True, slots=True)
class DiskCase:
    """One disk with all that was decided about it."""

    disk: Disk
    move: DiskMove
    place: Place = Place()


def disk_cases(survey: Survey) -> tuple[DiskCase, ...]:
    """Every disk, in the definition's order; each takes its room before the next is looked at."""
    return tuple(_cases(survey, disks_of(survey), {}))


def disks_of(survey: Survey) -> tuple[Disk, ...]:
    """As its definition has them; as the tables know them where that could not be read."""
    return survey.definition.disks if survey.definition else survey.vm.disks


def _cases(survey: Survey, disks: tuple[Disk, ...], taken: dict[str, int]) -> Iterator[DiskCase]:
    made: dict[str, str] = {}
    for disk in disks:
        action = action_of(survey, disk)
        if action is not DiskAction.COPY:
            yield DiskCase(disk, _left(disk, action, survey))
            continue
        case = _copied(survey, disk, taken, made)
        made |= {one.destination: one.source for one in case.move.layers}
        if case.move.pool is not None:
            taken[case.move.pool] = taken.get(case.move.pool, 0) + case.move.needed_bytes
        yield case


def action_of(survey: Survey, disk: Disk) -> DiskAction:
    """What is to be done about a disk; NONE where it would have to be copied and cannot be."""
    if not disk.source or disk.device in ("cdrom", "floppy") or disk.read_only:
        return DiskAction.SKIP
    if survey.mode is Mode.STORAGE and choice_for(survey, disk.target) is None:
        return DiskAction.STAYS
    proof = survey.disks.get(disk.target, DiskProof())
    chosen = choice_for(survey, disk.target) is not None
    if chosen or (proof.shared is False and disk.kind != "network"):
        return DiskAction.NONE if why_not_copied(survey, disk) else DiskAction.COPY
    if proof.shared or disk.kind == "network":
        return DiskAction.SHARED
    return DiskAction.UNPROVEN


def why_not_copied(survey: Survey, disk: Disk) -> str:
    """Why an image cannot be copied yet, as a sentence's end; empty when it can."""
    if disk.kind not in ("file", "volume", "block"):
        return f"disks of kind {disk.kind} are not copied yet, only image files and block devices"
    if disk.is_device and disk.format != "raw":
        return f"it is {disk.format} inside a block device, and only raw ones are copied"
    idle = survey.idle
    if disk.format not in FORMATS and not idle:
        return f"images of format {disk.format} are not copied yet, only raw and qcow2"
    if disk.device not in ("disk", ""):
        return f"a {disk.device} is not copied yet"
    flat = flattened(survey, disk)
    chain = chains.why_not_whole(survey, disk)
    stored = survey.stored_sources.get(disk.target, disk.source)
    reasons = (
        ("\ufffd" in (disk.source or ""), "its path has characters that cannot be shown"),
        (not _copy_name(survey, disk), "its file's name cannot be a volume's: choose one"),
        (stored != disk.source, f"its stored definition names another image ({stored})"),
        (not flat and chain, chain),
        (flat and disk.snapshots, f"flattened it would lose its {disk.snapshots} own snapshots"),
        (disk.encrypted, _why_sealed(disk, idle)),
        (disk.mirrored, "a block job copies it already"),
        (disk.shareable, "it is shareable: other VMs would go on writing to the old image"),
        (disk.transient, "it is a transient disk"),
        # Of a VM that is shut off sizes are read only now and then; live it is refused anyway.
        (disk.virtual_bytes is None and survey.vm.state.active, "its virtual size is not known"),
        (
            disk.length_bytes is None and idle,
            f"the size of its file is not known{survey.why('images')}",
        ),
    )
    return next((why for is_so, why in reasons if is_so and why), "")


def _why_sealed(disk: Disk, idle: bool) -> str:
    """Why an encrypted image cannot be copied: byte by byte it can, and without its key."""
    if not idle:
        return "it is encrypted: only shut off it can be copied, as it is"
    return "it is encrypted and lies on other images" if disk.backing else ""


def _copy_name(survey: Survey, disk: Disk) -> str:
    """What the copy is called: as the operator said, or as the source's file; empty where that
    would be no file's name."""
    choice = choice_for(survey, disk.target)
    name = (choice.volume if choice else None) or _own_name(survey, disk)
    return "" if name in (".", "..") else name


def flattened(survey: Survey, disk: Disk) -> bool:
    """The copy of a chain is to be one image."""
    return survey.flatten and disk.backing is not None


def choice_for(survey: Survey, target: str) -> DiskChoice | None:
    """What the operator asked for a disk."""
    return next((one for one in survey.choices if one.target == target), None)


def _left(disk: Disk, action: DiskAction, survey: Survey) -> DiskMove:
    return DiskMove(
        target=disk.target,
        action=action,
        source=disk.source or "",
        format=disk.format,
        virtual_bytes=disk.virtual_bytes,
        allocated_bytes=disk.allocated_bytes,
        source_pool=survey.source_pools.get(disk.target),
    )


def _copied(
    survey: Survey, disk: Disk, taken: Mapping[str, int], made: Mapping[str, str]
) -> DiskCase:
    choice = choice_for(survey, disk.target)
    flat = flattened(survey, disk)
    allocated, carried = _in_use(survey, disk, flat), survey.mirrored.get(disk.target)
    own = survey.source_pools.get(disk.target)
    likely = _named(survey, choice.pool if choice else own)
    wanted = needed_bytes(disk.virtual_bytes, allocated)
    wanted += 0 if flat else chains.room_bytes(survey, disk, likely, made)
    place = choose_pool(survey.target_pools, wanted, choice, own, taken)
    name = _copy_name(survey, disk)
    pool = place.pool
    move = DiskMove(
        target=disk.target,
        action=DiskAction.COPY,
        source=disk.source or "",
        format=disk.format,
        virtual_bytes=disk.virtual_bytes,
        allocated_bytes=allocated,
        source_pool=own,
        pool=pool.name if pool else None,
        volume=name,
        destination=posixpath.join(pool.path, name) if pool else None,
        length_bytes=disk.length_bytes,
        flattened=flat,
        sent_bytes=carried.data_bytes + carried.laid_out_bytes if carried else None,
        finds_zeroes=finds_zeroes(survey, disk),
        cluster_bytes=None if survey.idle else disk.cluster_bytes,
        device=disk.is_device,
        layers=() if flat else chains.layers(survey, disk, pool, made),
        room_bytes=place.room_bytes if pool else None,
        verified_by=_verified_by(survey, flat, bool(disk.chain)),
    )
    return DiskCase(disk, move, place)


def _in_use(survey: Survey, disk: Disk, flat: bool) -> int | None:
    """What its copy will hold; None: not known."""
    mirrored, own = survey.mirrored.get(disk.target), disk.allocated_bytes
    if mirrored is not None:
        written = mirrored.data_bytes
        written += 0 if finds_zeroes(survey, disk) else mirrored.laid_out_bytes
        return written if flat else max(written, own or 0)
    if not flat or own is None:
        return own
    if not disk.chain:
        return disk.virtual_bytes
    return min(own + chains.below_bytes(disk), disk.virtual_bytes or own)


def finds_zeroes(survey: Survey, disk: Disk) -> bool:
    """The target's QEMU has to look for zeroes in what comes: else all that is laid out in the
    source's image would be written out."""
    mirrored = survey.mirrored.get(disk.target)
    if mirrored is None or survey.mode is not Mode.LIVE or disk.format != "qcow2":
        return False
    return mirrored.laid_out_bytes > 2**20 + mirrored.data_bytes // 20


def _own_name(survey: Survey, disk: Disk) -> str:
    """A device's name (sdb, loop0) says nothing at another host."""
    if disk.is_device:
        return f"{survey.vm.name}-{disk.target}.img"
    return posixpath.basename(disk.source or "")


def _named(survey: Survey, pool: str | None) -> PoolFacts | None:
    return next((one for one in survey.target_pools or () if one.name == pool), None)


def _verified_by(survey: Survey, flat: bool, chain: bool) -> str:
    if survey.idle:
        return BY_CONTENT if flat else BY_EACH_HASH if chain else BY_HASH
    return VERIFIED_HERE if survey.mode is Mode.STORAGE else VERIFIED_BY


def pools_for_images(survey: Survey) -> tuple[str, ...]:
    """Names of the target's pools that could take a copy."""
    pools = survey.target_pools or ()
    return tuple(one.name for one in pools if one.active and one.takes_files)


def choose_pool(
    pools: tuple[PoolFacts, ...] | None,
    wanted_bytes: int,
    choice: DiskChoice | None = None,
    own: str | None = None,
    taken: Mapping[str, int] | None = None,
) -> Place:
    """The pool for a copy of `wanted_bytes`; `own` is the one it lies in at the source."""
    if pools is None:
        return Place(trouble=Trouble.UNKNOWN)
    room = {pool.name: pool.available_bytes - (taken or {}).get(pool.name, 0) for pool in pools}
    if choice is not None:
        return _chosen(pools, choice.pool, wanted_bytes, room)
    usable = [pool for pool in pools if pool.active and pool.takes_files]
    if not usable:
        return Place(trouble=Trouble.NOWHERE)
    fitting = [pool for pool in usable if room[pool.name] >= wanted_bytes]
    if not fitting:
        return Place(trouble=Trouble.ROOM, room_bytes=max(room[pool.name] for pool in usable))
    same = next((pool for pool in fitting if pool.name == own), None)
    if same is not None:
        return Place(same, room_bytes=room[same.name])
    most = max(fitting, key=lambda pool: (room[pool.name], pool.name))
    passed_over = own if own in room else ""
    return Place(most, instead_of=passed_over or "", room_bytes=room[most.name])


def _chosen(
    pools: tuple[PoolFacts, ...], name: str, wanted_bytes: int, room: Mapping[str, int]
) -> Place:
    pool = next((pool for pool in pools if pool.name == name), None)
    if pool is None:
        return Place(trouble=Trouble.MISSING)
    if not pool.active:
        return Place(trouble=Trouble.INACTIVE)
    if not pool.takes_files:
        return Place(trouble=Trouble.KIND)
    if room[name] < wanted_bytes:
        return Place(trouble=Trouble.ROOM, room_bytes=room[name])
    return Place(pool, room_bytes=room[name])
