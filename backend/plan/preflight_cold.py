"""Findings about a VM that is moved while it does not run: shut off, or shut down for it. Pure.

libvirt takes no part in such a move, so it refuses nothing: what it would say of a live one
(snapshots, bound devices) is said here as far as it still matters.
"""

from collections.abc import Iterator
from dataclasses import replace

from backend.model import DiskAction, Finding, Mode, Severity, VmState
from backend.plan.disks import disk_cases
from backend.plan.facts import Survey
from backend.plan.found import block, ok, warn
from backend.plan.preflight_vm import devices, saved_memory


def state(survey: Survey) -> Iterator[Finding]:
    """Shut off for a cold move; running, with a definition to start it from, for a restart."""
    vm = survey.vm
    if survey.mode is Mode.COLD:
        if vm.state is VmState.SHUT_OFF:
            yield ok("state-off", "state", f"{vm.name} is shut off, and stays so")
        else:
            yield block(
                "state-not-off",
                "state",
                f"{vm.name} is {vm.state}: a cold move is for VMs that are shut off",
                "Move it live, or let --mode restart shut it down, move and start it.",
            )
        return
    if vm.state is not VmState.RUNNING:
        yield block(
            "state-not-running",
            "state",
            f"{vm.name} is {vm.state}: only a running VM can be restarted elsewhere",
            "Shut off, it moves with --mode cold.",
        )
    elif not vm.persistent:
        yield block(
            "state-transient",
            "state",
            f"{vm.name} is transient: shut down, nothing would be left of it",
            "Store its definition first (`virsh define`), or move it live.",
        )
    else:
        yield warn(
            "state-restart",
            "state",
            f"{vm.name} will be shut down by its guest, moved, and started on"
            f" {survey.target.name}: it is off meanwhile",
        )


def saved(survey: Survey) -> Iterator[Finding]:
    """Snapshots go along; saved memory would not fit a VM that is started elsewhere."""
    yield from saved_memory(survey)
    if survey.snapshots:
        yield ok("saved-snapshots", "saved", f"its snapshots go along: {survey.snapshots}")
    if survey.checkpoints:
        yield warn(
            "saved-checkpoints",
            "saved",
            f"its {survey.checkpoints} backup checkpoints are not carried over: the next backup"
            " will be a full one",
            "Back it up first if that matters.",
        )


def bound(survey: Survey) -> Iterator[Finding]:
    """Devices: what forbids a live move is only needed when it is started there."""
    for one in devices(survey):
        if one.code in ("devices-nvram", "devices-tpm"):
            what = "UEFI variables" if one.code == "devices-nvram" else "TPM's state"
            yield ok(
                one.code, "devices", f"its {what} are carried over, and stay at the source too"
            )
        elif one.severity is Severity.BLOCK and one.code != "devices-tpm-host":
            yield warn(
                one.code,
                "devices",
                f"{one.sentence}: it starts on {survey.target.name} only with the like there",
            )
        else:
            yield one


def eased(survey: Survey, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Of a VM that stays off, what it needs to run is not needed yet."""
    for one in findings:
        if survey.mode is Mode.COLD and one.severity is Severity.BLOCK:
            yield replace(
                one, severity=Severity.WARN, sentence=f"{one.sentence} (to be started there)"
            )
        else:
            yield one


def undoubted(findings: Iterator[Finding]) -> Iterator[Finding]:
    """No libvirt judges what is left where it is: not proven to be shared means no."""
    for one in findings:
        if one.code == "storage-unproven":
            sentence = one.sentence.partition(";")[0]
            yield replace(one, severity=Severity.BLOCK, sentence=sentence)
        else:
            yield one


def copying(survey: Survey) -> Iterator[Finding]:
    """How images travel, where any has to."""
    if not any(case.move.action is DiskAction.COPY for case in disk_cases(survey)):
        yield ok("copy-none", "copy", "no image has to be copied")
    elif survey.copy_refused:
        yield block("copy-route", "copy", survey.copy_refused, survey.copy_remedy)
    elif survey.copy_why:
        yield ok("copy-route", "copy", survey.copy_why)
    else:
        why = survey.why("copy")
        yield block(
            "copy-unknown",
            "copy",
            f"how the images could be copied is not known{why}",
            "Give the engine SSH to both hosts.",
        )
