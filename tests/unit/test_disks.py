"""What becomes of each disk: the pool and name chosen, and every finding about a copy."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.model import (
    BackingImage,
    Disk,
    DiskAction,
    DiskChoice,
    Finding,
    Host,
    HostState,
    Mode,
    Severity,
    Vm,
    VmState,
)
from backend.model.disks import needed_bytes
from backend.plan.disks import Trouble, choose_pool, disk_cases
from backend.plan.facts import Definition, DiskProof, Mirrored, PoolFacts, Survey
from backend.plan.preflight import needs_unsafe, preflight
from backend.run.ordering import changes

GIB, MIB = 2**30, 2**20
VDA = Disk(
    "vda",
    source="/var/lib/libvirt/images/files-1.qcow2",
    format="qcow2",
    virtual_bytes=GIB,
    allocated_bytes=100 * MIB,
)
DEFAULT = PoolFacts("default", path="/var/lib/libvirt/images", available_bytes=20 * GIB)
FAST = PoolFacts("fast", path="/srv/fast", available_bytes=40 * GIB)
BELOW = BackingImage("/gold/base.raw", "raw", "base.raw", True, GIB, 500 * MIB)
LVM = PoolFacts("lvm", kind="logical", path="/dev/vg", available_bytes=80 * GIB)
OFF = PoolFacts("off", active=False, path="/srv/off")


def survey(*disks: Disk, **changes: object) -> Survey:
    disks = disks or (VDA,)
    base = Survey(
        vm=Vm("u-1", "files-1", "kvm-b", VmState.RUNNING),
        source=Host("kvm-b", HostState.UP),
        target=Host("kvm-c", HostState.UP),
        definition=Definition(disks=disks),
        disks={disk.target: DiskProof(False, at_target=False) for disk in disks},
        source_pools={disk.target: "default" for disk in disks},
        target_pools=(DEFAULT, FAST, LVM, OFF),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def storage(of: Survey, severity: Severity) -> list[Finding]:
    return [f for f in preflight(of) if f.check == "storage" and f.severity is severity]


def blocked(of: Survey) -> list[str]:
    return [finding.code for finding in storage(of, Severity.BLOCK)]


def only(of: Survey, code: str) -> Finding:
    (found,) = (finding for finding in preflight(of) if finding.code == code)
    return found


def test_it_goes_to_the_pool_of_the_same_name_though_another_has_more_room() -> None:
    (case,) = disk_cases(survey())
    move = case.move
    assert (move.action, move.pool, move.volume) == (DiskAction.COPY, "default", "files-1.qcow2")
    assert move.destination == "/var/lib/libvirt/images/files-1.qcow2"
    assert move.room_bytes == 20 * GIB
    assert "qemu-img check" in move.verified_by
    assert blocked(survey()) == []


def test_else_to_the_one_with_the_most_room_that_holds_files() -> None:
    (case,) = disk_cases(survey(source_pools={}))
    assert case.move.pool == "fast"
    assert not storage(survey(source_pools={}), Severity.BLOCK)


def test_passing_over_the_pool_of_the_same_name_is_told() -> None:
    full = survey(target_pools=(replace(DEFAULT, available_bytes=MIB), FAST))
    (case,) = disk_cases(full)
    assert case.move.pool == "fast"
    assert "cannot take vda: it goes to pool fast" in only(full, "storage-pool-other").sentence
    off = survey(target_pools=(replace(DEFAULT, active=False), FAST))
    assert only(off, "storage-pool-other")


def test_the_operators_choice_stands() -> None:
    chosen = survey(choices=(DiskChoice("vda", "fast", "other.qcow2"),))
    (case,) = disk_cases(chosen)
    assert (case.move.pool, case.move.destination) == ("fast", "/srv/fast/other.qcow2")


@pytest.mark.parametrize(
    ("pool", "code"),
    [
        ("mars", "storage-pool-missing"),
        ("off", "storage-pool-inactive"),
        ("lvm", "storage-pool-kind"),
        ("tiny", "storage-room"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_and_not_replaced(pool: str, code: str) -> None:
    tiny = PoolFacts("tiny", path="/srv/tiny", available_bytes=64 * MIB)
    chosen = survey(choices=(DiskChoice("vda", pool),), target_pools=(DEFAULT, LVM, OFF, tiny))
    assert blocked(chosen) == [code]
    found = only(chosen, code)
    assert pool in found.sentence
    assert found.remedy


def test_room_that_no_pool_has_is_named_with_both_figures() -> None:
    small = survey(target_pools=(replace(DEFAULT, available_bytes=64 * MIB),))
    assert blocked(small) == ["storage-room"]
    assert (
        "vda needs 101 M, the largest pool of kvm-c has 64 M free"
        in only(small, "storage-room").sentence
    )


def test_no_pool_at_all() -> None:
    assert blocked(survey(target_pools=(LVM, OFF))) == ["storage-no-pool"]
    unknown = survey(target_pools=None, unknown={"pools": "no answer within 5 s"})
    assert blocked(unknown) == ["storage-pools-unknown"]
    assert "(no answer within 5 s)" in only(unknown, "storage-pools-unknown").sentence


def test_thin_overcommit_is_a_warning() -> None:
    thin = survey(target_pools=(replace(DEFAULT, available_bytes=512 * MIB),))
    assert blocked(thin) == []
    assert "full, vda would take 1.0 G" in only(thin, "storage-overcommit").sentence


def test_disks_share_the_room_of_a_pool() -> None:
    both = survey(
        VDA,
        replace(VDA, target="vdb", source="/var/lib/libvirt/images/b.qcow2"),
        target_pools=(replace(DEFAULT, available_bytes=150 * MIB),),
    )
    assert blocked(both) == ["storage-room"]
    assert only(both, "storage-room").sentence.startswith("vdb needs")


@pytest.mark.parametrize(
    "there",
    [
        {"target_pools": (replace(DEFAULT, volumes=frozenset({"files-1.qcow2"})),)},
        {"occupied": frozenset({"/var/lib/libvirt/images/files-1.qcow2"})},
    ],
)
def test_a_file_that_is_there_is_never_written_over(there: dict[str, object]) -> None:
    taken = survey(**there)
    assert blocked(taken) == ["storage-exists"]
    found = only(taken, "storage-exists")
    assert "exists on kvm-c already" in found.sentence
    assert "--disk vda=default:NAME" in found.remedy


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "vmdk"}, "format vmdk"),
        ({"kind": "dir"}, "kind dir"),
        ({"kind": "block"}, "inside a block device"),
        ({"backing": "/base.qcow2"}, "it lies on /base.qcow2"),
        ({"encrypted": True}, "only shut off it can be copied"),
        ({"mirrored": True}, "a block job"),
        ({"shareable": True}, "shareable"),
        ({"device": "lun"}, "a lun"),
        ({"virtual_bytes": None}, "virtual size is not known"),
    ],
)
def test_images_that_are_not_copied_yet_say_why(change: dict[str, object], says: str) -> None:
    odd = survey(replace(VDA, **change))  # type: ignore[arg-type]
    (case,) = disk_cases(odd)
    assert case.move.action is DiskAction.NONE
    assert case.move.needed_bytes == 0
    assert blocked(odd) == ["storage-not-copied"]
    assert says in only(odd, "storage-not-copied").sentence


def test_while_the_vm_runs_a_chain_becomes_one_image_if_that_is_said() -> None:
    disk = replace(VDA, backing="/gold/base.raw")
    refusal = only(survey(disk), "storage-not-copied").sentence
    assert "--flatten" in refusal
    assert blocked(survey(disk)) == ["storage-not-copied"]
    asked = survey(replace(disk, chain=(BELOW,)), flatten=True)
    move = disk_cases(asked)[0].move
    assert (move.flattened, move.layers, move.allocated_bytes) == (True, (), 600 * MIB)
    assert blocked(asked) == []
    assert "one image" in only(asked, "storage-flattened").sentence
    known = replace(asked, mirrored={"vda": Mirrored(321 * MIB)})
    assert disk_cases(known)[0].move.allocated_bytes == 321 * MIB
    unknown = survey(disk, flatten=True)
    assert disk_cases(unknown)[0].move.allocated_bytes == VDA.virtual_bytes


def test_what_a_mirror_writes_out_needs_its_room() -> None:
    compressed = survey(VDA, mirrored={"vda": Mirrored(900 * MIB)})
    assert disk_cases(compressed)[0].move.needed_bytes > 900 * MIB
    reserved = survey(VDA, mirrored={"vda": Mirrored(10 * MIB)})
    assert disk_cases(reserved)[0].move.allocated_bytes == VDA.allocated_bytes


def test_what_is_laid_out_is_sent_and_not_written_out_at_the_target() -> None:
    laid_out = survey(VDA, mirrored={"vda": Mirrored(100 * MIB, 900 * MIB)})
    move = disk_cases(laid_out)[0].move
    assert move.finds_zeroes
    assert move.allocated_bytes == 100 * MIB
    assert move.copied_bytes == 1000 * MIB
    assert "900 M laid out" in only(laid_out, "storage-laid-out").sentence
    assert changes(laid_out, (move,)).detecting == {"vda"}
    here = replace(laid_out, mode=Mode.STORAGE, choices=(DiskChoice("vda", "fast"),))
    assert disk_cases(here)[0].move.allocated_bytes == 1000 * MIB
    assert not disk_cases(here)[0].move.finds_zeroes
    assert not disk_cases(survey())[0].move.finds_zeroes


def test_a_stored_definition_with_another_image_would_be_wrong_at_the_target() -> None:
    odd = survey(stored_sources={"vda": "/images/before-the-snapshot.qcow2"})
    assert "names another image (/images/before" in only(odd, "storage-not-copied").sentence
    same = survey(stored_sources={"vda": VDA.source or "", "vdb": "/x"})
    assert blocked(same) == []


def test_a_transient_disk_is_refused_once() -> None:
    assert blocked(survey(replace(VDA, transient=True))) == ["storage-transient"]


def test_shared_skipped_and_unproven_disks_are_left() -> None:
    shared, cd, unproven = (
        replace(VDA, target="vdb", source="/srv/shared/x.qcow2"),
        Disk("sda", device="cdrom", source="/iso/x.iso", read_only=True),
        replace(VDA, target="vdc", source="/srv/other/x.qcow2"),
    )
    mixed = survey(
        VDA,
        shared,
        cd,
        unproven,
        disks={"vda": DiskProof(False), "vdb": DiskProof(True), "sda": DiskProof(True)},
    )
    actions = [case.move.action for case in disk_cases(mixed)]
    assert actions == [
        DiskAction.COPY,
        DiskAction.SHARED,
        DiskAction.SKIP,
        DiskAction.UNPROVEN,
    ]
    assert not needs_unsafe(mixed)
    proven = survey(VDA, shared, disks={"vda": DiskProof(False), "vdb": DiskProof(True)})
    assert needs_unsafe(proven)
    assert not needs_unsafe(survey())


def test_a_shared_disk_is_copied_only_where_it_was_asked_for() -> None:
    asked = survey(disks={"vda": DiskProof(True)}, choices=(DiskChoice("vda", "fast"),))
    (case,) = disk_cases(asked)
    assert case.move.action is DiskAction.COPY
    assert "is taken from kvm-b" in only(asked, "storage-copy").sentence


DEVICE = replace(VDA, kind="block", source="/dev/sdx", format="raw", allocated_bytes=GIB)


def test_a_block_device_becomes_a_raw_file_named_after_the_vm() -> None:
    asked = survey(DEVICE, disks={}, choices=(DiskChoice("vda", "fast"),))
    (case,) = disk_cases(asked)
    assert (case.move.action, case.move.device) == (DiskAction.COPY, True)
    assert case.move.destination == "/srv/fast/files-1-vda.img"
    found = only(asked, "storage-device")
    assert found.severity is Severity.WARN
    assert "of its full 1.0 G" in found.sentence
    assert blocked(asked) == []
    assert blocked(replace(asked, choices=(DiskChoice("vda", "lvm"),))) == ["storage-pool-kind"]


def test_a_device_that_may_be_the_same_one_is_left_until_it_is_said() -> None:
    (found,) = storage(survey(DEVICE, disks={}), Severity.BLOCK)
    assert found.code == "storage-device-unproven"
    assert "--disk vda=POOL" in found.remedy


def test_a_choice_for_a_disk_that_there_is_not() -> None:
    assert blocked(survey(choices=(DiskChoice("vdz", "fast"),))) == ["storage-choice"]
    cd = Disk("sda", device="cdrom", source="/iso/x.iso", read_only=True)
    asked = survey(cd, disks={"sda": DiskProof(True)}, choices=(DiskChoice("sda", "fast"),))
    assert blocked(asked) == ["storage-choice"]


pools = st.lists(
    st.builds(
        PoolFacts,
        name=st.sampled_from("abcdef"),
        kind=st.sampled_from(["dir", "fs", "netfs", "logical", "rbd"]),
        active=st.booleans(),
        path=st.just("/p"),
        available_bytes=st.integers(0, 10 * GIB),
    ),
    unique_by=lambda pool: pool.name,
    max_size=5,
).map(tuple)


@given(
    pools,
    st.integers(0, 10 * GIB),
    st.none() | st.builds(DiskChoice, st.just("vda"), st.sampled_from("abcdef")),
    st.none() | st.sampled_from("abcdef"),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10 * GIB)),
)
def test_a_pool_that_is_chosen_is_active_takes_files_and_has_the_room(
    pools: tuple[PoolFacts, ...],
    wanted: int,
    choice: DiskChoice | None,
    own: str | None,
    taken: dict[str, int],
) -> None:
    place = choose_pool(pools, wanted, choice, own, taken)
    assert (place.pool is None) == (place.trouble is not Trouble.NONE)
    if place.pool is None:
        return
    assert place.pool in pools
    assert place.pool.active
    assert place.pool.takes_files
    assert place.room_bytes == place.pool.available_bytes - taken.get(place.pool.name, 0) >= wanted
    assert choice is None or place.pool.name == choice.pool
    assert place.instead_of != place.pool.name


def test_what_a_copy_needs() -> None:
    assert needed_bytes(GIB, 100 * MIB) == 100 * MIB + MIB + 100 * MIB // 256
    assert needed_bytes(GIB, None) > GIB
    assert needed_bytes(None, None) == MIB
