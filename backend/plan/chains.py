"""Chains of images that are kept whole: each image below a disk's own is copied as an image of its
own, under its own name, into the pool of its disk. Pure.

The images below are named by those above them, so at the target each is told the path of the one
below it. What is there already (a base that several VMs lie on) is used, once its content was
shown to be the same.
"""

import posixpath
from collections.abc import Iterator, Mapping

from backend.model import BackingImage, Disk, DiskMove, Finding, LayerMove, Mode
from backend.model.disks import needed_bytes
from backend.plan.facts import PoolFacts, Survey
from backend.plan.found import block, ok, warn
from backend.plan.wording import memory


def why_not_whole(survey: Survey, disk: Disk) -> str:
    """Why a chain cannot be kept whole, as a sentence's end; empty when it can, or is none."""
    if disk.backing is None:
        return ""
    if not survey.idle:
        return (
            f"it lies on {disk.backing}, and while the VM runs a chain can be copied as one image"
            " alone: say so with --flatten, or move it shut off, whole"
        )
    one_image = "--flatten makes one image of them"
    guessed = next((one for one in disk.chain if not one.named_format), None)
    if guessed is not None:
        return (
            f"which format {guessed.path} has is not said by the image above it (qemu-img rebase"
            f" -u -F does); {one_image}"
        )
    if not disk.chain:
        return f"it lies on {disk.backing}, which could not be looked at; {one_image}"
    if survey.mode is Mode.STORAGE:
        return ""
    odd = next((one for one in disk.chain if one.length_bytes is None), None)
    if odd is not None:
        return f"it lies on {odd.path}, which is no image file; {one_image}"
    names = [posixpath.basename(path) for path in (disk.source or "", *(_paths(disk)))]
    twice = next((name for name in names if names.count(name) > 1), None)
    return f"two images of its chain are called {twice}; {one_image}" if twice else ""


def _paths(disk: Disk) -> Iterator[str]:
    return (one.path for one in disk.chain)


def layers(
    survey: Survey, disk: Disk, pool: PoolFacts | None, made: Mapping[str, str]
) -> tuple[LayerMove, ...]:
    """What becomes of each image below a disk's own; `made`: paths at the target that disks before
    this one bring there, and of what they are copies."""
    return tuple(_layer(survey, one, pool, made) for one in disk.chain)


def _layer(
    survey: Survey, image: BackingImage, pool: PoolFacts | None, made: Mapping[str, str]
) -> LayerMove:
    name = "" if pool is None or _stays(survey, image) else posixpath.basename(image.path)
    destination = posixpath.join(pool.path, name) if pool and name else image.path
    return LayerMove(
        source=image.path,
        format=image.format,
        reference=image.reference,
        destination=destination,
        volume=name,
        found=bool(name) and (is_there(survey, pool, name) or made.get(destination) == image.path),
        virtual_bytes=image.virtual_bytes,
        allocated_bytes=image.allocated_bytes,
        length_bytes=image.length_bytes,
    )


def _stays(survey: Survey, image: BackingImage) -> bool:
    return survey.mode is Mode.STORAGE or image.path in survey.shared_layers


def room_bytes(survey: Survey, disk: Disk, pool: PoolFacts | None, made: Mapping[str, str]) -> int:
    """What the images below it take at the target, if they go to `pool`; None: to some pool."""
    there = {one.source for one in layers(survey, disk, pool, made) if one.found}
    return sum(
        needed_bytes(one.virtual_bytes, one.allocated_bytes)
        for one in disk.chain
        if not (_stays(survey, one) or one.path in there)
    )


def is_there(survey: Survey, pool: PoolFacts | None, name: str) -> bool:
    """The target has a file of that name in that pool."""
    if pool is None:
        return False
    return name in pool.volumes or posixpath.join(pool.path, name) in survey.occupied


def below_bytes(disk: Disk) -> int:
    """What the images below it take."""
    return sum(one.allocated_bytes or 0 for one in disk.chain)


def missing_besides(survey: Survey) -> tuple[str, ...] | None:
    """Files that lack at the target, without those that are brought there."""
    disks = survey.definition.disks if survey.definition else ()
    brought = {path for disk in disks for path in _paths(disk)} - survey.shared_layers
    missing = survey.files_missing
    return missing if missing is None else tuple(one for one in missing if one not in brought)


def findings(survey: Survey, move: DiskMove) -> Iterator[Finding]:
    """What becomes of the chain; or that the operator may want it as one image."""
    if move.flattened:
        yield warn(
            "storage-flattened",
            "storage",
            f"{move.target} lies on other images: its copy is one image, with all that the guest"
            " sees through them",
        )
    if not move.layers:
        return
    below = ", ".join(layer.source for layer in move.layers)
    if all(layer.stays for layer in move.layers):
        yield ok("storage-chain", "storage", f"{move.target} lies on {below}, which stays there")
        return
    yield warn(
        "storage-chain",
        "storage",
        f"{move.target} lies on {below}: its chain of {len(move.layers) + 1} images is copied"
        " whole, each under its own name",
        "To make one image of them instead: --flatten",
    )
    for layer in move.layers:
        if layer.found:
            yield _found(survey, move, layer)


def _found(survey: Survey, move: DiskMove, layer: LayerMove) -> Finding:
    target = survey.target.name
    size = survey.occupied_bytes.get(layer.destination)
    if size is not None and layer.virtual_bytes is not None and size != layer.virtual_bytes:
        return block(
            "storage-size-differs",
            "storage",
            f"{layer.destination} exists on {target} already, with another size: {memory(size)}"
            f" there, {memory(layer.virtual_bytes)} on {survey.source.name}",
            f"Choose another pool: --disk {move.target}=POOL, or one image: --flatten",
        )
    return ok(
        "storage-layer-there",
        "storage",
        f"{layer.destination} exists on {target} already: it is used if a hash of what it holds is"
        " the same on both hosts, and else nothing is moved",
    )
