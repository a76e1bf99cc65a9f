"""Findings from written-down facts: one fact changed at a time."""

from dataclasses import replace

import pytest

from backend.model import Disk, Finding, Host, HostState, Job, Mode, Nic, Severity, Vm, VmState
from backend.plan.facts import (
    CpuAnswer,
    Definition,
    DiskProof,
    Held,
    PoolFacts,
    Reach,
    ReachProblem,
    Survey,
    Versions,
)
from backend.plan.preflight import fit_score, needs_unsafe, preflight

GIB = 2**30
MIB = 2**20
VDA = Disk("vda", source="/srv/shared/db-1.qcow2", format="qcow2", virtual_bytes=4 * GIB)
CD = Disk("sda", device="cdrom", source="/iso/tools.iso", read_only=True)

GOOD = Survey(
    vm=Vm("u-1", "db-1", "kvm-a", VmState.RUNNING, memory_bytes=512 * MIB),
    source=Host("kvm-a", HostState.UP, memory_bytes=16 * GIB, memory_used_bytes=4 * GIB),
    target=Host(
        "kvm-b", HostState.UP, memory_bytes=16 * GIB, memory_used_bytes=2 * GIB, cpu_percent=10
    ),
    migrate_uri="qemu+tls://kvm-b/system",
    definition=Definition(
        virt_type="qemu",
        machine="pc-q35-7.2",
        emulator="/usr/bin/qemu-system-x86_64",
        memory_bytes=512 * MIB,
        disks=(VDA,),
        nics=(Nic("52:54:00:00:00:01", "bridge", "br0"),),
    ),
    snapshots=0,
    checkpoints=0,
    managed_save=False,
    io_error=False,
    held=Held.NOTHING,
    reach=Reach(ReachProblem.NONE),
    cpu=CpuAnswer(True),
    machines=frozenset({"q35", "pc-q35-7.2"}),
    emulator_there=True,
    disks={"vda": DiskProof(True, at_target=True)},
    attachments={"bridge br0": True},
    files_missing=(),
    source_versions=Versions(9_000_000, 7_002_000),
    target_versions=Versions(9_000_000, 7_002_000),
)


def defined(**changes: object) -> Survey:
    """GOOD with another definition."""
    assert GOOD.definition is not None
    return replace(GOOD, definition=replace(GOOD.definition, **changes))  # type: ignore[arg-type]


def only(survey: Survey, severity: Severity) -> list[Finding]:
    return [finding for finding in preflight(survey) if finding.severity is severity]


def blocks(survey: Survey) -> list[str]:
    return [finding.code for finding in only(survey, Severity.BLOCK)]


def warns(survey: Survey) -> list[str]:
    return [finding.code for finding in only(survey, Severity.WARN)]


def sentence(survey: Survey, code: str) -> str:
    return next(finding.sentence for finding in preflight(survey) if finding.code == code)


def test_a_qemu_that_does_not_answer_blocks_every_way() -> None:
    survey = replace(GOOD, vm=replace(GOOD.vm, trouble="Its QEMU does not answer."))
    for mode in (Mode.LIVE, Mode.RESTART, Mode.STORAGE):
        blocks = {one.code for one in preflight(replace(survey, mode=mode))}
        assert "qemu-silent" in blocks, mode
    assert "qemu-silent" not in {one.code for one in preflight(GOOD)}


def test_all_is_well_and_every_check_says_so_in_a_fixed_order() -> None:
    findings = preflight(GOOD)
    assert {finding.severity for finding in findings} == {Severity.OK}
    assert [finding.check for finding in findings] == [
        "host",
        "state",
        "saved",
        "devices",
        "name",
        "reach",
        "encryption",
        "cpu",
        "memory",
        "machine",
        "storage",
        "network",
        "version",
    ]
    assert sentence(GOOD, "cpu-ok") == "the running CPU model exists there"
    assert sentence(GOOD, "memory-ok") == "584 M needed, 14.0 G free"


def test_the_same_host() -> None:
    same = replace(GOOD, target=GOOD.source)
    assert blocks(same) == ["host-same"]
    assert "state" in [finding.check for finding in preflight(same)]


def test_a_target_that_is_down_is_all_that_is_said_of_it() -> None:
    down = replace(
        GOOD,
        target=Host("kvm-c", HostState.UNREACHABLE, reason="no route to host."),
        cpu=None,
        reach=None,
    )
    assert blocks(down) == ["host-unreachable"]
    assert sentence(down, "host-unreachable") == "kvm-c is unreachable: no route to host"
    assert warns(down) == []


@pytest.mark.parametrize("state", [s for s in VmState if s is not VmState.RUNNING])
def test_only_running_vms_move(state: VmState) -> None:
    survey = replace(GOOD, vm=replace(GOOD.vm, state=state))
    expected = [] if state is VmState.PAUSED else ["state-not-running"]
    assert blocks(survey) == expected
    assert "cpu-ok" in [finding.code for finding in preflight(survey)]


def test_a_shut_off_vm_is_told_with_what_else_would_forbid_it() -> None:
    survey = replace(
        GOOD,
        vm=replace(GOOD.vm, state=VmState.SHUT_OFF),
        cpu=CpuAnswer(False, ("avx512f", "rtm"), running=False),
    )
    assert blocks(survey) == ["state-not-running", "cpu-missing-features"]
    assert "is shut off; only running VMs can be moved live" in sentence(
        survey, "state-not-running"
    )
    assert "avx512f, rtm" in sentence(survey, "cpu-missing-features")


def test_paused() -> None:
    paused = replace(GOOD, vm=replace(GOOD.vm, state=VmState.PAUSED), paused_reason="user")
    assert warns(paused) == ["state-paused"]
    assert blocks(replace(paused, paused_reason="io error")) == ["state-io-error"]
    assert blocks(replace(paused, io_error=True)) == ["state-io-error"]
    assert blocks(replace(paused, paused_reason="post-copy failed")) == ["state-postcopy-failed"]


def test_an_io_error_while_running() -> None:
    assert blocks(replace(GOOD, io_error=True)) == ["state-io-error"]


def test_a_job_names_its_kind() -> None:
    busy = replace(GOOD, vm=replace(GOOD.vm, job=Job("backup")))
    assert blocks(busy) == ["job-active"]
    assert sentence(busy, "job-active").endswith(": backup")


def test_names_at_the_target() -> None:
    assert blocks(replace(GOOD, held=Held.RUNNING)) == ["name-running-there"]
    assert blocks(replace(GOOD, held=Held.OTHER_NAMED_SO)) == ["name-taken"]
    stale = replace(GOOD, held=Held.STALE)
    assert blocks(stale) == ["name-stale-definition"]
    (finding,) = only(stale, Severity.BLOCK)
    assert "virsh undefine u-1" in finding.remedy
    assert warns(replace(GOOD, held=None)) == ["name-unknown"]


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (ReachProblem.NAME, "reach-name"),
        (ReachProblem.PORT, "reach-port"),
        (ReachProblem.TRUST, "reach-certificate"),
        (ReachProblem.NAME_MISMATCH, "reach-certificate-name"),
        (ReachProblem.OTHER, "reach-failed"),
    ],
)
def test_the_way_from_the_source(problem: ReachProblem, code: str) -> None:
    survey = replace(GOOD, reach=Reach(problem, "what it said."))
    assert blocks(survey) == [code]
    assert "what it said" in sentence(survey, code)


def test_without_ssh_much_is_not_known_and_nothing_of_that_is_forbidden() -> None:
    survey = replace(
        GOOD,
        reach=None,
        emulator_there=None,
        disks={},
        attachments={"bridge br0": None},
        files_missing=None,
        unknown={"reach": "there is no SSH to kvm-a"},
    )
    assert blocks(survey) == []
    assert warns(survey) == ["reach-unknown", "storage-unproven", "network-bridge-unknown"]
    assert "(there is no SSH to kvm-a)" in sentence(survey, "reach-unknown")
    assert not needs_unsafe(survey)


def test_knowing_nothing_at_all_forbids_nothing() -> None:
    nothing = Survey(vm=GOOD.vm, source=GOOD.source, target=Host("kvm-b", HostState.UP))
    assert blocks(nothing) == []
    assert fit_score(nothing, preflight(nothing)) is None


def test_plaintext_is_told_loudly() -> None:
    plain = replace(GOOD, encrypted=False, source=replace(GOOD.source, tls=False))
    assert warns(plain) == ["tls-off"]
    assert sentence(plain, "tls-off").startswith("NOT ENCRYPTED")
    assert "off for kvm-a" in sentence(plain, "tls-off")


def test_cpu_without_names() -> None:
    assert blocks(replace(GOOD, cpu=CpuAnswer(False, detail="no."))) == ["cpu-incompatible"]
    assert warns(replace(GOOD, cpu=None)) == ["cpu-unknown"]


def test_memory() -> None:
    def target(used: int) -> Survey:
        return replace(GOOD, target=replace(GOOD.target, memory_used_bytes=used))

    assert blocks(target(16 * GIB - 500 * MIB)) == ["memory-short"]
    assert warns(target(15 * GIB)) == ["memory-tight"]
    assert warns(replace(GOOD, target=replace(GOOD.target, memory_used_bytes=None))) == [
        "memory-unknown"
    ]


def test_hugepages() -> None:
    huge = defined(hugepage_bytes=2 * MIB)
    assert warns(huge) == ["memory-hugepages-unknown"]
    assert blocks(replace(huge, free_hugepage_bytes=2 * MIB)) == ["memory-hugepages-short"]
    assert only(replace(huge, free_hugepage_bytes=GIB), Severity.BLOCK) == []


def test_machine_and_emulator() -> None:
    assert blocks(replace(GOOD, machines=frozenset({"pc"}))) == ["machine-missing"]
    assert blocks(replace(GOOD, emulator_there=False)) == ["machine-emulator-missing"]
    assert blocks(replace(GOOD, files_missing=("/boot/k",))) == ["machine-file-missing"]
    assert warns(replace(GOOD, machines=None)) == ["machine-unknown"]


def test_a_local_disk_is_copied_and_that_is_told_with_its_paths() -> None:
    pool = PoolFacts("images", path="/srv/images", available_bytes=8 * GIB)
    survey = replace(GOOD, disks={"vda": DiskProof(False)}, target_pools=(pool,))
    assert blocks(survey) == []
    text = sentence(survey, "storage-copy")
    assert "vda (/srv/shared/db-1.qcow2) is local to kvm-a" in text
    assert "to /srv/images/db-1.qcow2 (pool images of kvm-b, 8.0 G free)" in text
    assert not needs_unsafe(survey)


def test_unsafe_is_asked_for_only_when_every_doubted_disk_is_proven() -> None:
    assert needs_unsafe(GOOD)
    two = replace(
        defined(disks=(VDA, replace(VDA, target="vdb"))),
        disks={"vda": DiskProof(True), "vdb": DiskProof(None)},
    )
    assert not needs_unsafe(two)
    assert needs_unsafe(replace(two, disks={"vda": DiskProof(True), "vdb": DiskProof(True)}))
    assert not needs_unsafe(defined(disks=()))
    rbd = Disk("vda", kind="network", source="rbd:pool/image")
    assert not needs_unsafe(defined(disks=(rbd,)))
    assert needs_unsafe(defined(disks=(VDA, replace(rbd, target="vdb"), Disk("sda", "cdrom"))))


@pytest.mark.parametrize(
    ("cache", "old_qemu", "expected"),
    [
        ("none", False, []),
        ("directsync", True, []),
        ("default", False, []),
        ("default", True, ["storage-cache"]),
        ("writeback", False, ["storage-cache-mode"]),
        ("unsafe", False, ["storage-cache-unsafe"]),
    ],
)
def test_cache_modes_on_shared_storage(cache: str, old_qemu: bool, expected: list[str]) -> None:
    survey = defined(disks=(replace(VDA, cache=cache),))
    if old_qemu:
        survey = replace(
            survey, source_versions=Versions(1, 1), target_versions=Versions(5_000_000, 3_001_000)
        )
    found = [f.code for f in preflight(survey) if f.severity is not Severity.OK]
    assert found == expected
    assert needs_unsafe(survey) == (not blocks(survey))


def test_transient_and_block_devices() -> None:
    assert blocks(defined(disks=(replace(VDA, transient=True),))) == ["storage-transient"]
    device = Disk("vda", kind="block", source="/dev/vg/db")
    unproven = replace(defined(disks=(device,)), disks={"vda": DiskProof(None)})
    assert blocks(unproven) == ["storage-device-unproven"]
    assert blocks(replace(unproven, disks={"vda": DiskProof(True)})) == []


def test_drives() -> None:
    empty = defined(disks=(VDA, Disk("sda", device="cdrom", read_only=True)))
    assert blocks(empty) == warns(empty) == []
    assert sentence(empty, "storage-empty") == "sda is an empty drive"
    full = defined(disks=(VDA, CD))

    def there(proof: DiskProof) -> Survey:
        return replace(full, disks={**GOOD.disks, "sda": proof})

    missing = there(DiskProof(None, at_target=False))
    assert blocks(missing) == ["storage-media-missing"]
    (finding,) = only(missing, Severity.BLOCK)
    assert "virsh change-media db-1 sda --eject" in finding.remedy
    assert warns(there(DiskProof())) == ["storage-media-unknown"]
    assert warns(there(DiskProof(at_target=True))) == ["storage-media-copy"]
    assert warns(there(DiskProof(True, at_target=True))) == []


def test_networks() -> None:
    assert blocks(replace(GOOD, attachments={"bridge br0": False})) == ["network-bridge-missing"]
    nets = defined(
        nics=(
            Nic("m1", "network", "default"),
            Nic("m2", "direct", "eth1"),
            Nic("m3", "user", ""),
            Nic("m4", "hostdev", "0000:01:00.0"),
            Nic("m5", "vhostuser", "/run/x"),
        )
    )
    nets = replace(nets, attachments={"network default": False, "direct eth1": True})
    assert blocks(nets) == ["network-network-missing", "network-host-device"]
    assert warns(nets) == ["network-user", "network-unchecked"]


def test_a_renamed_network_is_judged_by_its_new_name() -> None:
    there = {"bridge br-lan": True}
    mapped = replace(GOOD, networks={"br0": "br-lan"}, attachments=there)
    assert blocks(mapped) == warns(mapped) == []
    assert sentence(mapped, "network-bridge-ok") == (
        "bridge br-lan exists on kvm-b, instead of br0"
    )
    missing = replace(mapped, attachments={"bridge br-lan": False})
    assert blocks(missing) == ["network-bridge-missing"]
    assert "bridge br-lan is missing" in sentence(missing, "network-bridge-missing")
    nets = defined(nics=(Nic("m1", "network", "default"),))
    nets = replace(nets, networks={"default": "lan"}, attachments={"network lan": True})
    assert "network lan is active" in sentence(nets, "network-network-ok")


def test_a_name_that_no_interface_has_is_told() -> None:
    unused = replace(GOOD, networks={"br9": "br-lan"})
    assert warns(unused) == ["network-map-unused"]
    assert blocks(unused) == []
    direct = defined(nics=(Nic("m2", "direct", "eth1"),))
    direct = replace(direct, networks={"eth1": "eth2"}, attachments={"direct eth1": True})
    assert warns(direct) == ["network-map-unused"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hostdevs": ("pci 0000:01:00.0",)}, "devices-host"),
        ({"filesystems": ("virtiofs /srv as data",)}, "devices-virtiofs"),
        ({"filesystems": ("9p /srv as data",)}, "devices-9p"),
        ({"shmems": ("ring",)}, "devices-shmem"),
        ({"launch_security": "sev"}, "devices-encrypted-memory"),
        ({"tpm": "passthrough /dev/tpm0"}, "devices-tpm-host"),
    ],
)
def test_devices_bound_to_the_host(changes: dict[str, object], code: str) -> None:
    assert blocks(defined(**changes)) == [code]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tpm": "emulator 2.0"}, "devices-tpm"),
        ({"nvram": "/var/lib/x_VARS.fd"}, "devices-nvram"),
        ({"vsock": "3"}, "devices-vsock"),
        ({"pinned": True}, "devices-pinned"),
        ({"redirected_usb": 2}, "devices-usb"),
        ({"leases": ("a",)}, "devices-leases"),
        ({"secrets": ("b",)}, "devices-secret"),
    ],
)
def test_devices_to_know_about(changes: dict[str, object], code: str) -> None:
    assert warns(defined(**changes)) == [code]
    assert blocks(defined(**changes)) == []


def test_saved_states() -> None:
    assert blocks(replace(GOOD, snapshots=2)) == ["saved-snapshots"]
    assert sentence(replace(GOOD, snapshots=2), "saved-snapshots").startswith("db-1 has 2 snap")
    assert warns(replace(GOOD, checkpoints=1)) == ["saved-checkpoints"]
    assert blocks(replace(GOOD, managed_save=True)) == ["saved-memory"]
    assert warns(replace(GOOD, snapshots=None)) == ["saved-unknown"]


def test_versions() -> None:
    older = replace(GOOD, target_versions=Versions(8_000_000, 7_002_000))
    assert warns(older) == ["version-older"]
    assert "libvirt 8.0.0 is older than 9.0.0" in sentence(older, "version-older")
    assert warns(replace(GOOD, target_versions=Versions(9_001_000, 8_000_000))) == []
    assert warns(replace(GOOD, target_versions=None)) == ["version-unknown"]


def test_every_refusal_has_a_remedy() -> None:
    surveys = [
        replace(GOOD, target=GOOD.source),
        replace(GOOD, held=Held.STALE, snapshots=1, checkpoints=1, managed_save=True),
        replace(GOOD, cpu=CpuAnswer(False), machines=frozenset(), reach=Reach(ReachProblem.NAME)),
    ]
    assert all(f.remedy for one in surveys for f in only(one, Severity.BLOCK))


def test_the_score() -> None:
    good = fit_score(GOOD, preflight(GOOD))
    assert good is not None
    assert 90 <= good <= 100
    busy = replace(GOOD, target=replace(GOOD.target, cpu_percent=90, migrations_in=2))
    assert (fit_score(busy, preflight(busy)) or 0) == good - 32 - 20
    blocked = replace(GOOD, held=Held.STALE)
    assert fit_score(blocked, preflight(blocked)) is None
