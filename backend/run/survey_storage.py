"""What the target has of the VM's files, whether its disks are shared, its room for copies."""

import asyncio
import posixpath
from dataclasses import replace

from backend.hypervisor.domain_xml import DomainConfig
from backend.hypervisor.volumes import read_pools
from backend.model import BackingImage, Disk
from backend.plan.facts import DiskProof, PoolFacts, Survey
from backend.remote import probes
from backend.remote.images import FACTS_LIMIT_S, ImageFacts, file_stamp, image_facts
from backend.remote.probes import FileFacts, SharedProof
from backend.remote.shell import Shell, run_script
from backend.run.survey_asking import PROBE_LIMIT_S, Asking
from backend.run.survey_preparing import pool_facts
from backend.run.survey_source import AtSource, needed_paths
from backend.run.survey_target import device_path

IMAGE_LIMIT_S = FACTS_LIMIT_S + 2

# What names a device across hosts: the device mapper's uuid (LVM, multipath), or WWN and serial.
_DEVICE_SCRIPT = r"""
export LC_ALL=C
d=$(readlink -f "$1") && [ -b "$d" ] || exit 3
cat "/sys/class/block/${d##*/}/dm/uuid" 2>/dev/null || lsblk -dnro WWN,SERIAL "$d" 2>/dev/null
"""


async def ask_files(
    asking: Asking, config: DomainConfig, at_source: AtSource
) -> dict[str, FileFacts]:
    """What the VM needs that is a path, as it is at the target; empty where nobody can look.

    All in one command: over a loaded host's SSH each costs a fifth of a second.
    """
    shell = asking.shell("storage", asking.target)
    if shell is None:
        return {}
    images = (_image(disk, at_source) for disk in config.disks)
    devices = (device_path(nic) for nic in config.nics)
    wanted = (config.emulator, *needed_paths(config), *images, *devices)
    paths = tuple(dict.fromkeys(path for path in wanted if path))
    found = await asking.ask("storage", probes.probe_files(shell, paths), PROBE_LIMIT_S)
    return dict(zip(paths, found, strict=True)) if found else {}


async def ask_pools(asking: Asking) -> tuple[PoolFacts, ...] | None:
    """Every pool of the target, with the names in it."""
    found = await asking.call(
        "pools", asking.target, lambda conn: read_pools(conn, True), "list its storage pools"
    )
    if found is None:
        return None
    return tuple(map(pool_facts, found))


async def with_images(asking: Asking, facts: Survey) -> Survey:
    """The disks of a VM that is to be copied while it does not run, as qemu-img reads them."""
    shell = asking.shell("images", asking.source)
    if shell is None or facts.definition is None:
        return facts
    disks = await asyncio.gather(
        *(_read_image(asking, shell, disk) for disk in facts.definition.disks)
    )
    return replace(facts, definition=replace(facts.definition, disks=tuple(disks)))


async def _read_image(asking: Asking, shell: Shell, disk: Disk) -> Disk:
    path = disk.source or ""
    if disk.device not in ("disk", "") or disk.kind == "network" or not path.startswith("/"):
        return disk
    found = await asking.ask("images", image_facts(shell, path, disk.format), IMAGE_LIMIT_S)
    if found is None:
        return disk
    chain = await asyncio.gather(*(_below(asking, shell, *pair) for pair in _pairs(found)))
    return replace(
        disk,
        virtual_bytes=found.virtual_bytes,
        # A device has no holes that could be seen.
        allocated_bytes=found.virtual_bytes if disk.is_device else found.allocated_bytes,
        length_bytes=found.length_bytes,
        snapshots=len(found.snapshots),
        backing=found.backing[0].path if found.backing else None,
        chain=tuple(chain),
        encrypted=disk.encrypted or any(one.encrypted for one in (found, *found.backing)),
    )


def _pairs(top: ImageFacts) -> list[tuple[ImageFacts, ImageFacts]]:
    """Each image of a chain with the one below it."""
    return list(zip((top, *top.backing), top.backing, strict=False))


async def _below(
    asking: Asking, shell: Shell, above: ImageFacts, image: ImageFacts
) -> BackingImage:
    stamp = None
    if image.path.startswith("/"):
        stamp = await asking.ask("images", file_stamp(shell, image.path), IMAGE_LIMIT_S)
    is_file = stamp is not None and not stamp.is_block_device
    return BackingImage(
        path=image.path,
        format=image.format,
        reference=above.below or "",
        named_format=above.below_format is not None,
        virtual_bytes=image.virtual_bytes,
        allocated_bytes=image.allocated_bytes,
        length_bytes=stamp.length_bytes if stamp and is_file else None,
    )


async def with_layers(asking: Asking, facts: Survey) -> Survey:
    """Whether the target sees the images below those that are to be copied, by their directory."""
    disks = facts.definition.disks if facts.definition else ()
    paths = {_share(image.path): image.path for disk in disks for image in disk.chain}
    if not paths or facts.same_host:
        return facts
    proofs = await asyncio.gather(*(_prove(asking, path) for path in paths.values()))
    shared = frozenset(
        share for share, proof in zip(paths, proofs, strict=True) if proof and proof.shared
    )
    seen = {i.path for disk in disks for i in disk.chain if _share(i.path) in shared}
    return replace(facts, shared_layers=frozenset(seen))


def _image(disk: Disk, at_source: AtSource) -> str | None:
    """The disk's path, if it is one."""
    path = at_source.volumes.get(disk.source or "", disk.source)
    return path if path and path.startswith("/") else None


async def ask_disks(
    asking: Asking, config: DomainConfig, at_source: AtSource, files: dict[str, FileFacts]
) -> dict[str, DiskProof]:
    images = {disk.target: _image(disk, at_source) for disk in config.disks}
    writable = {disk.target for disk in config.disks if not disk.read_only}
    by_directory: dict[str, str] = {}
    for target, path in images.items():
        if path and target in writable and (path not in files or files[path].exists):
            by_directory.setdefault(_share(path), path)
    proofs = await asyncio.gather(*(_prove(asking, path) for path in by_directory.values()))
    proven = dict(zip(by_directory, proofs, strict=True))
    return {
        target: _disk_proof(path, files.get(path), proven.get(_share(path)), asking)
        for target, path in images.items()
        if path
    }


def _share(path: str) -> str:
    """What is proven together: a directory; a device by itself."""
    return path if path.startswith("/dev/") else posixpath.dirname(path)


async def _prove(asking: Asking, path: str) -> SharedProof | None:
    source = asking.shell("storage", asking.source)
    target = asking.shell("storage", asking.target)
    if source is None or target is None:
        return None
    if path.startswith("/dev/"):
        return await asking.ask("storage", _same_device(source, target, path), PROBE_LIMIT_S)
    return await asking.ask(
        "storage", probes.probe_shared(source, target, path, PROBE_LIMIT_S), PROBE_LIMIT_S + 2
    )


async def _same_device(source: Shell, target: Shell, path: str) -> SharedProof:
    """Only a name that is the same everywhere proves a device; none, or another, proves nothing."""
    here, there = await asyncio.gather(
        run_script(source, _DEVICE_SCRIPT, path), run_script(target, _DEVICE_SCRIPT, path)
    )
    if here.exit_status == 0 and there.exit_status == 3:
        return SharedProof(False, "there is no such device")
    names = [" ".join(one.stdout.split()) for one in (here, there)]
    if all(names):
        return SharedProof(names[0] == names[1], f"{names[0]} here, {names[1]} there")
    return SharedProof(None, "it has no name of its own (WWN, LVM or multipath)")


def _disk_proof(
    path: str, found: FileFacts | None, proof: SharedProof | None, asking: Asking
) -> DiskProof:
    if found is not None and not found.exists:
        return DiskProof(False, at_target=False, detail=f"{path} does not exist there")
    return DiskProof(
        shared=proof.shared if proof else None,
        target_bytes=found.size_bytes if found else None,
        at_target=found.exists if found else None,
        detail=proof.how if proof else asking.unknown.get("storage", ""),
    )
