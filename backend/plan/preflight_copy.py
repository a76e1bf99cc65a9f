"""Findings about disks that have to be copied: whether they can be, and the room there. Pure."""

from collections.abc import Iterator

from backend.errors import word
from backend.model import DiskMove, Finding, Mode
from backend.plan import chains
from backend.plan.disks import DiskCase, Place, Trouble, choice_for, disks_of, why_not_copied
from backend.plan.facts import Survey
from backend.plan.found import block, ok, warn
from backend.plan.preparing import offered
from backend.plan.wording import memory as sized


def not_copied(survey: Survey, case: DiskCase) -> Finding:
    """A disk that would have to be copied and cannot be yet."""
    disk = case.disk
    return block(
        "storage-not-copied",
        "storage",
        f"{disk.target} ({disk.source}) would have to be copied to {survey.target.name}, but"
        f" {why_not_copied(survey, disk)}",
        "Put it on storage that both hosts mount.",
    )


def copied(survey: Survey, case: DiskCase) -> Iterator[Finding]:
    """A disk that is copied: where to, or why it has no place there."""
    move, place = case.move, case.place
    if place.pool is None:
        yield _no_place(survey, move, place)
        return
    if move.volume in place.pool.volumes or move.destination in survey.occupied:
        yield _occupied(survey, move)
        return
    yield _will_be_copied(survey, move)
    if move.device:
        yield _of_a_device(survey, move)
    if move.finds_zeroes:
        yield warn(
            "storage-laid-out",
            "storage",
            f"{move.target} has {sized((move.sent_bytes or 0) - (move.allocated_bytes or 0))} laid"
            f" out and never written (preallocation): that is sent as zeroes, and"
            f" {survey.target.name} does not write it out (detect_zeroes, until its next start)",
        )
    if case.disk.encrypted:
        yield warn(
            "storage-encrypted",
            "storage",
            f"{move.target} is encrypted: it is copied as it is, its key is not;"
            f" {survey.target.name} needs libvirt's secret of it",
            "On the source: virsh secret-list; define the same one there, with its value.",
        )
    yield from _snapshots(survey, move)
    yield from chains.findings(survey, move)
    if place.instead_of:
        ready = offered(survey, place.instead_of, pool=True)
        yield warn(
            "storage-pool-other",
            "storage",
            f"pool {place.instead_of} of {survey.target.name} cannot take {move.target}: it goes"
            f" to pool {move.pool} there",
            f"{ready}Choose another: --disk {move.target}=POOL",
        )


def _of_a_device(survey: Survey, move: DiskMove) -> Finding:
    return warn(
        "storage-device",
        "storage",
        f"{move.target} is the block device {move.source}: on {survey.target.name} it becomes the"
        f" raw file {move.destination}, of its full {sized(move.virtual_bytes or 0)}; devices are"
        " not made there",
    )


def _snapshots(survey: Survey, move: DiskMove) -> Iterator[Finding]:
    """libvirt knows nothing of those that it did not make: a mirror copies what the guest sees."""
    count = survey.internal_snapshots.get(move.target, 0)
    if count and survey.mode is Mode.LIVE:
        which = "a snapshot" if count == 1 else f"{count} snapshots"
        yield block(
            "storage-internal-snapshots",
            "storage",
            f"{move.target} ({move.source}) has {which} inside its image: copied while the VM"
            " runs, it would lose them",
            f"Shut {survey.vm.name} off and move it so: --mode cold, which keeps them.",
        )


def overcommitted(survey: Survey, cases: tuple[DiskCase, ...]) -> Iterator[Finding]:
    """Thin copies that fit now, and would not if the guest filled them."""
    pools = {case.place.pool.name: case.place.pool for case in cases if case.place.pool}
    for pool in pools.values():
        moves = [case.move for case in cases if case.move.pool == pool.name]
        most = sum(move.virtual_bytes or 0 for move in moves)
        if most > pool.available_bytes:
            yield warn(
                "storage-overcommit",
                "storage",
                f"full, {', '.join(move.target for move in moves)} would take {sized(most)}, and"
                f" pool {pool.name} of {survey.target.name} has {sized(pool.available_bytes)}: the"
                " VM stops when that runs out",
            )


def unused_choices(survey: Survey) -> Iterator[Finding]:
    """Disks the operator named that there are not, or that nothing is copied of."""
    disks = {disk.target: disk for disk in disks_of(survey)}
    for choice in survey.choices:
        disk = disks.get(choice.target)
        if disk is None:
            known = ", ".join(disks) or "none"
            sentence = f"it has no disk {choice.target} (there is: {known})"
        elif not disk.source or disk.read_only or disk.device in ("cdrom", "floppy"):
            sentence = f"{choice.target} is read-only or an empty drive: it is not copied"
        else:
            continue
        yield block("storage-choice", "storage", sentence, f"Leave out --disk {choice.target}.")


def _will_be_copied(survey: Survey, move: DiskMove) -> Finding:
    size = sized(move.allocated_bytes if move.allocated_bytes is not None else move.needed_bytes)
    where = f"{move.destination} (pool {move.pool} of {survey.target.name},"
    where += f" {sized(move.room_bytes or 0)} free)"
    if survey.mode is Mode.STORAGE:
        sentence = f"{move.target} ({move.source}): {size} will be copied to {where}"
        return ok("storage-copy", "storage", sentence)
    moved = "is local to" if choice_for(survey, move.target) is None else "is taken from"
    return warn(
        "storage-copy",
        "storage",
        f"{move.target} ({move.source}) {moved} {survey.source.name}: {size} will be copied to"
        f" {where}",
    )


def _occupied(survey: Survey, move: DiskMove) -> Finding:
    if survey.same_host and move.destination == move.source:
        return block(
            "storage-same-place",
            "storage",
            f"{move.target} is {move.source} already",
            f"Choose another pool, or another name: --disk {move.target}={move.pool}:NAME.",
        )
    code, sentence = "storage-exists", f"{move.destination} exists on {survey.target.name} already"
    found = survey.occupied_bytes.get(move.destination or "")
    if found is not None and move.virtual_bytes is not None and found != move.virtual_bytes:
        code = "storage-size-differs"
        sentence += (
            f", with another size: {sized(found)} there, {sized(move.virtual_bytes)} on"
            f" {survey.source.name}"
        )
    return block(
        code,
        "storage",
        f"{sentence}: {move.target} is not copied over it",
        f"Choose another name: --disk {word(f'{move.target}={move.pool}')}:NAME. If it is left"
        " from an earlier move and nothing needs it:"
        f" virsh vol-delete --pool {word(move.pool or '')} {word(move.volume or '')}",
    )


def _no_place(survey: Survey, move: DiskMove, place: Place) -> Finding:
    target, choice = survey.target.name, choice_for(survey, move.target)
    pool = choice.pool if choice else "there"
    names = [one.name for one in survey.target_pools or () if one.active and one.takes_files]
    have = f"It has {', '.join(names)}." if names else f"Make one on {target}: virsh pool-define-as"
    ready = offered(survey, choice.pool if choice else move.source_pool or "", pool=True)
    needed, room = sized(move.needed_bytes), sized(max(0, place.room_bytes))
    where = f"pool {pool} of {target}" if choice else f"the largest pool of {target}"
    code, sentence, remedy = {
        Trouble.UNKNOWN: (
            "storage-pools-unknown",
            f"where {move.target} could be copied to is not known{survey.why('pools')}",
            "Plan again once the target answers.",
        ),
        Trouble.MISSING: (
            "storage-pool-missing",
            f"{target} has no pool {pool}",
            f"{ready}{have}",
        ),
        Trouble.INACTIVE: (
            "storage-pool-inactive",
            f"pool {pool} of {target} is not active",
            f"{ready}Start it there: virsh pool-start {word(pool)}",
        ),
        Trouble.KIND: (
            "storage-pool-kind",
            f"pool {pool} of {target} does not hold image files: copies go to pools of files alone",
            have,
        ),
        Trouble.ROOM: (
            "storage-room",
            f"{move.target} needs {needed}, {where} has {room} free",
            f"Make room there, or choose another pool: --disk {move.target}=POOL",
        ),
        Trouble.NOWHERE: (
            "storage-no-pool",
            f"{move.target} is local, and {target} has no active pool of image files",
            f"{ready}{have}",
        ),
    }[place.trouble]
    return block(code, "storage", sentence, remedy)
