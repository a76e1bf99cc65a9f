"""All findings about moving disks of a VM to other pools of its own host. Pure.

The VM stays where it is, so only its disks, their new places, and what a block copy cannot carry
matter.
"""

from collections.abc import Iterator

from backend.errors import word
from backend.model import DiskAction, Finding, VmState
from backend.plan import preflight_cold, preflight_host, preflight_vm
from backend.plan.disks import DiskCase, disk_cases, why_not_copied
from backend.plan.facts import Survey
from backend.plan.found import block, ok, warn
from backend.plan.preflight_copy import copied, overcommitted, unused_choices


def between_pools(survey: Survey) -> Iterator[Finding]:
    """Every finding, in a fixed order."""
    yield from _here(survey)
    if not survey.same_host or not survey.target_up:
        return
    yield from preflight_host.exposed(survey)
    yield from _state(survey)
    yield from preflight_vm.job(survey)
    yield from _saved(survey)
    yield from _disks(survey)


def _here(survey: Survey) -> Iterator[Finding]:
    name, source = survey.vm.name, survey.source.name
    if not survey.same_host:
        yield block(
            "storage-elsewhere",
            "host",
            f"{name} is on {source}, and --mode storage moves disks between the pools of one host",
            f"Leave out --to {survey.target.name}, or move it there with another --mode.",
        )
        return
    yield from preflight_host.target_up(survey)


def _state(survey: Survey) -> Iterator[Finding]:
    vm = survey.vm
    if survey.io_error:
        yield block(
            "state-io-error",
            "state",
            f"{vm.name} has a disk with an I/O error: what it lost cannot be copied",
            f"Mend the storage; see `virsh domblkerror {survey.shell_name}`.",
        )
    elif vm.state in (VmState.RUNNING, VmState.PAUSED, VmState.SHUT_OFF):
        yield ok("state-running", "state", f"{vm.name} is {vm.state}, and stays so")
    else:
        yield block(
            "state-not-running",
            "state",
            f"{vm.name} is {vm.state}: disks move between pools while it runs, or is shut off",
            preflight_vm.REMEDY_STATE.get(vm.state, "Start it first."),
        )


def _saved(survey: Survey) -> Iterator[Finding]:
    name = survey.vm.name
    if survey.managed_save:
        yield block(
            "saved-memory",
            "saved",
            f"{name} has memory saved on {survey.source.name}: it would go on with the old image",
            f"Start it first, or drop that memory with `virsh managedsave-remove {name}`.",
        )
    if survey.snapshots and survey.idle:
        yield ok("saved-snapshots", "saved", f"its snapshots go along: {survey.snapshots}")
    elif survey.snapshots:
        yield block(
            "saved-snapshots",
            "saved",
            f"{name} has {survey.snapshots} snapshots, which a copy of its disk would not have",
            f"Delete them (`virsh snapshot-delete {survey.shell_name} NAME`).",
        )
    if survey.checkpoints:
        yield warn(
            "saved-checkpoints",
            "saved",
            f"{name} has {survey.checkpoints} backup checkpoints: the next backup of a disk that"
            " moved may have to be a full one",
            "Back it up first if that matters.",
        )
    if survey.snapshots is None:
        yield warn("saved-unknown", "saved", f"snapshots not checked{survey.why('saved')}")
    elif not (survey.snapshots or survey.checkpoints or survey.managed_save):
        yield ok("saved-none", "saved", "no snapshots or checkpoints")


def _disks(survey: Survey) -> Iterator[Finding]:
    cases = disk_cases(survey)
    if not survey.choices:
        known = ", ".join(case.disk.target for case in cases if case.disk.source) or "none"
        yield block(
            "storage-none-chosen",
            "storage",
            f"it is not said which disk of {survey.vm.name} goes where (there is: {known})",
            "Name the pool for each: --disk vda=POOL[:NAME].",
        )
    for case in cases:
        if case.move.action is DiskAction.NONE:
            yield _cannot(survey, case)
        elif case.move.action is DiskAction.COPY:
            yield from copied(survey, case)
            yield from _inside(survey, case)
    yield from overcommitted(survey, tuple(c for c in cases if c.move.action is DiskAction.COPY))
    yield from unused_choices(survey)
    if survey.idle:
        yield from preflight_cold.copying(survey)


def _cannot(survey: Survey, case: DiskCase) -> Finding:
    disk = case.disk
    remedy = (
        f"If nothing else wants that copy: virsh blockjob {survey.shell_name}"
        f" {word(disk.target)} --abort"
        if disk.mirrored
        else f"Leave out --disk {disk.target}."
    )
    return block(
        "storage-not-copied",
        "storage",
        f"{disk.target} ({disk.source}) cannot move: {why_not_copied(survey, disk)}",
        remedy,
    )


def _inside(survey: Survey, case: DiskCase) -> Iterator[Finding]:
    """Snapshots that only the image knows of."""
    disk, count = case.disk, survey.internal_snapshots.get(case.disk.target)
    if disk.format != "qcow2" or survey.idle:
        return
    if count is None:
        why = survey.why("snapshots")
        yield warn(
            "storage-inside-unknown",
            "storage",
            f"whether snapshots lie inside {disk.source} was not seen{why}: a copy has none",
        )
    elif count:
        yield block(
            "storage-inside",
            "storage",
            f"{count} snapshots lie inside {disk.source}: a copy would have none of them",
            f"Delete them with the VM shut off: qemu-img snapshot -d NAME {disk.source}",
        )
