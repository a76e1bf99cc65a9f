"""What QEMU would carry of images that it copies while the VM runs: libvirt does not tell.

A mirror copies what the guest sees: nothing of the snapshots inside of an image, all of the images
below it, and what is compressed in it written out.
"""

import asyncio
from dataclasses import replace
from types import MappingProxyType

from backend.model import BackingImage, Disk, DiskAction
from backend.plan.disks import disk_cases
from backend.plan.facts import Mirrored, Survey
from backend.remote.images import FACTS_LIMIT_S, ImageFacts, data_map, image_facts
from backend.remote.shell import Shell
from backend.run.survey_asking import PROBE_LIMIT_S, Asking


async def with_mirrored(asking: Asking, facts: Survey) -> Survey:
    """Of the qcow2 images that a mirror would copy: snapshots, what they lie on, how much it is."""
    looked_at = (DiskAction.COPY, DiskAction.NONE)  # a chain is why some cannot be copied yet
    copied = {
        case.disk.target: case.disk
        for case in disk_cases(facts)
        if case.move.action in looked_at and case.disk.format == "qcow2" and case.disk.source
    }
    shell = asking.shell("snapshots", asking.source) if copied and not facts.idle else None
    if shell is None or facts.definition is None:
        return facts
    found, carried = await asyncio.gather(
        asyncio.gather(*(_facts(asking, shell, disk) for disk in copied.values())),
        asyncio.gather(*(_carried(asking, shell, disk) for disk in copied.values())),
    )
    read = {name: one for name, one in zip(copied, found, strict=True) if one is not None}
    known = {name: one for name, one in zip(copied, carried, strict=True) if one is not None}
    disks = tuple(
        _as_read(disk, read[disk.target]) if disk.target in read else disk
        for disk in facts.definition.disks
    )
    return replace(
        facts,
        definition=replace(facts.definition, disks=disks),
        internal_snapshots=MappingProxyType({n: len(one.snapshots) for n, one in read.items()}),
        mirrored=MappingProxyType(known),
    )


async def _facts(asking: Asking, shell: Shell, disk: Disk) -> ImageFacts | None:
    path = disk.source or ""
    return await asking.ask("snapshots", image_facts(shell, path, disk.format), FACTS_LIMIT_S)


async def _carried(asking: Asking, shell: Shell, disk: Disk) -> Mirrored | None:
    """Read while the VM writes: not exact, and asked for no longer than a plan may take."""
    if not disk.virtual_bytes:
        return None
    reading = data_map(shell, disk.source or "", disk.format, disk.virtual_bytes)
    data = await asking.ask("mirrored", reading, PROBE_LIMIT_S)
    return None if data is None else Mirrored(data.data_bytes, data.laid_out_bytes)


def _as_read(disk: Disk, image: ImageFacts) -> Disk:
    disk = replace(disk, cluster_bytes=image.cluster_bytes)
    if not image.backing:
        return disk
    chain = tuple(
        BackingImage(
            below.path,
            below.format,
            above.below or "",
            above.below_format is not None,
            below.virtual_bytes,
            below.allocated_bytes,
        )
        for above, below in zip((image, *image.backing), image.backing, strict=False)
    )
    return replace(disk, backing=chain[0].path, chain=chain)
