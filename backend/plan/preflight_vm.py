"""Findings about the VM itself, on its source: state, job, saved states, devices. Pure."""

from collections.abc import Iterator

from backend.model import Finding, VmState
from backend.plan.facts import Definition, Survey
from backend.plan.found import block, ok, warn

MOVED_BY_OTHERS = "{vm} is moved by somebody else"
MOVED_BY_OTHERS_REMEDY = (
    "Wait until that has ended; `virt-ferry jobs` shows it, `virt-ferry abort` ends it."
)
REMEDY_STATE = {
    VmState.SHUT_OFF: "Move it with --mode cold, or start it first.",
    VmState.CRASHED: "Look at its log, then start it anew.",
    VmState.SHUTTING_DOWN: "Wait until it is shut off or running again.",
    VmState.SUSPENDED: "Wake it with `virsh dompmwakeup`, then move it.",
    VmState.UNKNOWN: "Wait until its host answers.",
}

REMEDY_SILENT = (
    "Look at its process there: it is stopped, or waits for its storage; what does not come to"
    " life is ended with `virsh destroy`."
)


def answers(survey: Survey) -> Iterator[Finding]:
    """All that is done to a VM that runs goes through its QEMU."""
    vm = survey.vm
    if vm.trouble:
        sentence = f"the QEMU of {vm.name} does not answer libvirt on {vm.host}"
        yield block("qemu-silent", "state", sentence, REMEDY_SILENT)


def state(survey: Survey) -> Iterator[Finding]:
    """Only VMs with a live QEMU can be moved live."""
    vm = survey.vm
    if vm.state is VmState.RUNNING:
        yield ok("state-running", "state", f"{vm.name} is running")
    elif vm.state is VmState.PAUSED:
        yield _paused(survey)
    else:
        what = "is in an unknown state" if vm.state is VmState.UNKNOWN else f"is {vm.state}"
        sentence = f"{vm.name} {what}; only running VMs can be moved live"
        yield block("state-not-running", "state", sentence, REMEDY_STATE[vm.state])
    if survey.io_error and vm.state is not VmState.PAUSED:
        yield block(
            "state-io-error",
            "state",
            f"{vm.name} has a disk with an I/O error: libvirt would refuse to move it",
            f"Mend the storage; see `virsh domblkerror {survey.shell_name}`.",
        )


def _paused(survey: Survey) -> Finding:
    name, reason = survey.vm.name, survey.paused_reason
    if survey.io_error or reason.lower() in ("io error", "i/o error"):
        return block(
            "state-io-error",
            "state",
            f"{name} is paused by an I/O error: libvirt would refuse to move it",
            f"Mend the storage and resume it; see `virsh domblkerror {survey.shell_name}`.",
        )
    if "post-copy" in reason:
        return block(
            "state-postcopy-failed",
            "state",
            f"{name} is paused by a broken post-copy migration: its memory is on two hosts",
            "Recover that migration (`virsh migrate --postcopy-resume`); start no other.",
        )
    because = f" ({reason})" if reason and reason != "unknown" else ""
    return warn("state-paused", "state", f"{name} is paused{because} and will be paused there too")


def job(survey: Survey) -> Iterator[Finding]:
    """libvirt does one job at a time on a VM."""
    active = survey.vm.job
    if active is None:
        return
    name = survey.vm.name
    if survey.moved_by_others:
        yield block("job-active", "job", MOVED_BY_OTHERS.format(vm=name), MOVED_BY_OTHERS_REMEDY)
        return
    yield block(
        "job-active",
        "job",
        f"a job already runs on {name}: {active.kind}",
        f"Wait for it (`virsh domjobinfo {survey.shell_name}`), or end it with"
        f" `virsh domjobabort {survey.shell_name}`.",
    )


def saved(survey: Survey) -> Iterator[Finding]:
    """Snapshots and saved memory cannot travel; checkpoints get lost."""
    name = survey.vm.name
    if survey.snapshots:
        yield block(
            "saved-snapshots",
            "saved",
            f"{name} has {_count(survey.snapshots, 'snapshot')}: libvirt would refuse to move it",
            f"Delete them (`virsh snapshot-delete {survey.shell_name} NAME`, with --metadata to"
            " keep the data).",
        )
    if survey.checkpoints:
        # libvirt 9.0 moves such a VM without a word; the target has none of them (tried).
        yield warn(
            "saved-checkpoints",
            "saved",
            f"{name} has {_count(survey.checkpoints, 'backup checkpoint')}, which libvirt drops"
            " on the way: the next backup will be a full one",
            "Back it up first if that matters.",
        )
    yield from saved_memory(survey)
    found = survey.snapshots or survey.checkpoints or survey.managed_save
    if survey.snapshots is not None and not found:
        yield ok("saved-none", "saved", "no snapshots, checkpoints or saved memory")


def saved_memory(survey: Survey) -> Iterator[Finding]:
    """Memory in a file of the source; and whether anything saved was looked for at all."""
    name = survey.vm.name
    if survey.managed_save:
        yield block(
            "saved-memory",
            "saved",
            f"{name} has memory saved on {survey.source.name}, which would stay behind",
            "Start it there, or drop the saved memory with"
            f" `virsh managedsave-remove {survey.shell_name}`.",
        )
    if survey.snapshots is None:
        yield warn(
            "saved-unknown", "saved", f"snapshots and saved memory not checked{survey.why('saved')}"
        )


def devices(survey: Survey) -> Iterator[Finding]:
    """Devices that bind a VM to its host, and state that may stay behind."""
    definition = survey.definition
    if definition is None:
        yield warn(
            "devices-unknown", "devices", f"its devices are not known{survey.why('definition')}"
        )
        return
    found = [*_bound(definition), *_noted(definition, survey)]
    yield from found or [ok("devices-none", "devices", "no device is bound to its host")]


def _bound(definition: Definition) -> Iterator[Finding]:
    for device in definition.hostdevs:
        yield _detach("devices-host", f"host device {device} is bound to its host")
    for filesystem in definition.filesystems:
        if filesystem.startswith("virtiofs"):
            yield _detach("devices-virtiofs", f"{filesystem}: virtiofs cannot be moved live")
        else:
            yield _detach("devices-9p", f"{filesystem}: a 9p directory cannot be moved live")
    for name in definition.shmems:
        yield _detach("devices-shmem", f"shared memory {name!r} is bound to its host")
    if definition.redirected_usb:
        yield warn(
            "devices-usb",
            "devices",
            f"{_count(definition.redirected_usb, 'USB redirection')}: a connected device is lost",
            "Disconnect it in the viewer first.",
        )
    if definition.launch_security:
        yield block(
            "devices-encrypted-memory",
            "devices",
            f"its memory is encrypted by {definition.launch_security}: it cannot be moved live",
            "Shut it off and start it there.",
        )


def _noted(definition: Definition, survey: Survey) -> Iterator[Finding]:
    source = survey.source.name
    if definition.tpm and not definition.tpm.startswith("emulator"):
        yield _detach("devices-tpm-host", f"TPM {definition.tpm} is bound to its host")
    elif definition.tpm:
        yield warn(
            "devices-tpm",
            "devices",
            f"its TPM's state is sent along; a copy stays on {source}",
            "swtpm must be installed at the target; delete the copy after the move.",
        )
    if definition.nvram:
        yield warn(
            "devices-nvram",
            "devices",
            f"UEFI variables are sent along; the old file stays on {source}: {definition.nvram}",
        )
    if definition.vsock and definition.vsock != "auto":
        yield warn(
            "devices-vsock",
            "devices",
            f"vsock id {definition.vsock} is fixed: the move fails if it is taken at the target",
            "Use <cid auto='yes'/>.",
        )
    if definition.pinned:
        yield warn(
            "devices-pinned",
            "devices",
            "it is bound to host CPUs or NUMA nodes, which must exist and be free at the target",
        )
    if definition.leases:
        yield warn(
            "devices-leases",
            "devices",
            f"it holds {_count(len(definition.leases), 'lease')}: both hosts need the lock manager",
        )
    for secret in definition.secrets:
        yield warn(
            "devices-secret",
            "devices",
            f"a disk needs libvirt's secret {secret}, which must be defined at the target too",
        )


def _detach(code: str, sentence: str) -> Finding:
    return block(code, "devices", sentence, "Detach it before the move.")


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
