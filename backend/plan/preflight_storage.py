"""Findings about the VM's disks, one each: where they are, and whether the target has them. Pure.

libvirt looks only at the kind of file system: a directory that both hosts mount in a way it
does not know is "unsafe" to it, and a local block device is not. So sharing is proven by a
probe (what the source writes, the target reads), and only a proven disk may override libvirt.
"""

from collections.abc import Iterator

from backend.errors import word
from backend.model import Disk, DiskAction, Finding, Severity
from backend.plan.disks import DiskCase, disk_cases
from backend.plan.facts import DiskProof, Survey
from backend.plan.found import block, ok, warn
from backend.plan.preflight_copy import copied, not_copied, overcommitted, unused_choices
from backend.plan.preparing import offered, unseen

SAFE_CACHES = ("none", "directsync")
QEMU_DROPS_CACHE = 4_000_000
"""From this QEMU on the target drops what it had cached of an image when it takes over."""


def storage(survey: Survey) -> Iterator[Finding]:
    """Every disk of the VM."""
    cases = disk_cases(survey)
    if survey.definition is None and not cases:
        why = survey.why("definition")
        yield warn("storage-unknown", "storage", f"its disks are not known{why}")
        return
    if not cases:
        yield ok("storage-none", "storage", "it has no disks")
    for case in cases:
        yield from _disk(survey, case)
    yield from overcommitted(survey, cases)
    yield from unused_choices(survey)


def needs_unsafe(survey: Survey) -> bool:
    """libvirt must be told not to judge the storage by itself.

    True only when the probe has proven every disk that libvirt might doubt, and that is not
    copied, to be shared, and the plan refuses none for its cache mode (libvirt then no longer
    looks at that either).
    """
    if survey.definition is None:
        return False
    left = [case.disk for case in disk_cases(survey) if case.move.action is not DiskAction.COPY]
    doubted = [disk for disk in left if disk.source and not disk.read_only and _is_file(disk)]
    return bool(doubted) and all(
        _proof(survey, disk).shared is True and not _refused_for_cache(survey, disk)
        for disk in doubted
    )


def _refused_for_cache(survey: Survey, disk: Disk) -> bool:
    problem = _cache_problem(survey, disk)
    return problem is not None and problem.severity is Severity.BLOCK


def _disk(survey: Survey, case: DiskCase) -> Iterator[Finding]:
    disk = case.disk
    if disk.transient:
        yield block(
            "storage-transient",
            "storage",
            f"{disk.target} is a transient disk: libvirt would refuse to move it",
            "Shut the VM off and remove <transient/>.",
        )
    elif not disk.source:
        what = "is an empty drive" if disk.device in ("cdrom", "floppy") else "has no source"
        yield ok("storage-empty", "storage", f"{disk.target} {what}")
    elif disk.device in ("cdrom", "floppy") or disk.read_only:
        yield _read_only(survey, disk)
    else:
        yield from _writable(survey, case)


def _read_only(survey: Survey, disk: Disk) -> Finding:
    proof, target = _proof(survey, disk), survey.target.name
    what = f"{disk.target} ({disk.source})"
    if proof.shared or disk.kind == "network":
        return ok("storage-shared", "storage", f"{what} is the same file on both hosts")
    if proof.at_target is False:
        removable = disk.device in ("cdrom", "floppy")
        remedy = (
            f"Eject it (`virsh change-media {survey.shell_name} {word(disk.target)} --eject`), or"
            f" copy the file to {target}."
            if removable
            else f"Copy it to {target}, at the same path."
        )
        return block("storage-media-missing", "storage", f"{what} is missing on {target}", remedy)
    if proof.at_target is None:
        why = _because(proof, survey)
        return warn("storage-media-unknown", "storage", f"{what}: not checked on {target}{why}")
    if _sizes_differ(disk, proof):
        return block(
            "storage-media-differs",
            "storage",
            f"{what} has another size on {target}: it is another file",
            f"Copy the source's file to {target}, or eject it.",
        )
    return warn(
        "storage-media-copy",
        "storage",
        f"{what} exists on {target}; that its content is the same is not proven",
    )


def _writable(survey: Survey, case: DiskCase) -> Iterator[Finding]:
    disk = case.disk
    proof, target = _proof(survey, disk), survey.target.name
    what = f"{disk.target} ({disk.source})"
    if case.move.action is DiskAction.COPY:
        yield from copied(survey, case)
    elif case.move.action is DiskAction.NONE:
        yield not_copied(survey, case)
    elif disk.kind == "network":
        yield ok("storage-network", "storage", f"{what} is network storage")
    elif proof.shared:
        yield ok("storage-shared", "storage", f"{what} is shared: {target} sees what is written")
        yield from _named_by_pool(survey, disk)
        cache = _cache_problem(survey, disk)
        if cache is not None:
            yield cache
    elif _is_file(disk):
        yield warn(
            "storage-unproven",
            "storage",
            f"{what}: whether {target} shares it could not be proven{_because(proof, survey)};"
            " libvirt refuses unless it is a network file system",
            "Give the engine SSH to both hosts, so that it can prove it.",
        )
    else:
        yield block(
            "storage-device-unproven",
            "storage",
            f"{what}: that it is the same device on {target} could not be proven"
            f"{_because(proof, survey)}, and libvirt would not look",
            f"To copy it into a file there: --disk {disk.target}=POOL. If it is the same: compare"
            " `lsblk -o NAME,WWN,SERIAL` on both hosts; use a path that names the device"
            " (/dev/disk/by-id).",
        )


def _named_by_pool(survey: Survey, disk: Disk) -> Iterator[Finding]:
    """libvirt there must know the pool and the volume that the definition names."""
    if disk.kind != "volume" or not disk.pool or survey.target_pools is None:
        return
    name, target = disk.pool, survey.target.name
    pool = next((one for one in survey.target_pools if one.name == name), None)
    if pool is None:
        code, what = (
            "storage-pool-missing",
            f"{disk.target} names the pool {name}: {target} has none",
        )
        remedy = f"Make it on {target}: virsh pool-define-as"
    elif not pool.active:
        code, what = "storage-pool-inactive", f"pool {name} of {target} is not active"
        remedy = f"Start it there: virsh pool-start {word(name)}"
    elif unseen(disk, pool):
        code = "storage-volume-unseen"
        what = f"libvirt on {target} has not seen {disk.source} of {disk.target} in pool {name} yet"
        remedy = f"On {target}: virsh pool-refresh {word(name)}"
    else:
        return
    yield block(code, "storage", what, f"{offered(survey, name, pool=True)}{remedy}")


def _cache_problem(survey: Survey, disk: Disk) -> Finding | None:
    """What a host caches of a shared disk, the other host does not see."""
    if disk.cache in SAFE_CACHES or disk.shareable:
        return None
    remedy = "Use cache='none' for shared disks."
    if disk.cache == "unsafe":
        return block(
            "storage-cache-unsafe",
            "storage",
            f"{disk.target} has cache=unsafe: what {survey.source.name} has not written yet"
            " would be lost",
            remedy,
        )
    versions = survey.target_versions
    if versions is not None and versions.qemu < QEMU_DROPS_CACHE:
        return block(
            "storage-cache",
            "storage",
            f"{disk.target} has cache={disk.cache}, and the QEMU on {survey.target.name} is too"
            " old to drop its cache: it might read stale data",
            remedy,
        )
    if disk.cache == "default":
        return None
    return warn(
        "storage-cache-mode",
        "storage",
        f"{disk.target} has cache={disk.cache}: QEMU flushes it and drops it at the switchover",
        remedy,
    )


def _proof(survey: Survey, disk: Disk) -> DiskProof:
    return survey.disks.get(disk.target, DiskProof())


def _because(proof: DiskProof, survey: Survey) -> str:
    return f" ({proof.detail.rstrip('.')})" if proof.detail else survey.why("storage")


def _is_file(disk: Disk) -> bool:
    return disk.kind in ("file", "dir", "volume")


def _sizes_differ(disk: Disk, proof: DiskProof) -> bool:
    known = disk.virtual_bytes if disk.format == "raw" else None
    return known is not None and proof.target_bytes is not None and known != proof.target_bytes
