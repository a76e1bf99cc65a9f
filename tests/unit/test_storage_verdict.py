"""Disks that move between pools: findings, the words given to libvirt, who is on which image."""

import shlex
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from backend.hypervisor.block_copy import DiskSeen, VmSeen, destination_xml, virsh_lines
from backend.model import (
    Disk,
    DiskAction,
    DiskChoice,
    DiskMove,
    Finding,
    Host,
    HostState,
    Mode,
    MoveOptions,
    Outcome,
    Sample,
    Severity,
    Vm,
    VmState,
    Word,
)
from backend.plan.copying import copying_here
from backend.plan.disks import disk_cases
from backend.plan.facts import Definition, PoolFacts, Survey
from backend.plan.policy import BALANCED
from backend.plan.preflight import preflight
from backend.run.planning_disks import disks_planned
from backend.run.storage_verdict import in_use, judge_disks, to_store, unfinished

GIB, MIB, MB = 2**30, 2**20, 1_000_000
OLD, NEW, OTHER = "/images/db.qcow2", "/fast/db.qcow2", "/images/log.img"
VDA = Disk(
    "vda",
    source=OLD,
    format="qcow2",
    virtual_bytes=GIB,
    allocated_bytes=100 * MIB,
    length_bytes=100 * MIB,
)
VDB = Disk("vdb", source=OTHER, format="raw", virtual_bytes=GIB, allocated_bytes=10 * MIB)
HERE = Survey(
    vm=Vm("u-1", "db-1", "kvm-a", VmState.RUNNING),
    source=Host("kvm-a", HostState.UP),
    target=Host("kvm-a", HostState.UP),
    mode=Mode.STORAGE,
    definition=Definition(disks=(VDA, VDB)),
    choices=(DiskChoice("vda", "fast"),),
    snapshots=0,
    checkpoints=0,
    io_error=False,
    source_pools={"vda": "default", "vdb": "default"},
    internal_snapshots={"vda": 0},
    target_pools=(
        PoolFacts("default", path="/images", available_bytes=20 * GIB),
        PoolFacts("fast", path="/fast", available_bytes=20 * GIB),
    ),
)
MOVES = (
    DiskMove("vda", DiskAction.COPY, OLD, "qcow2", destination=NEW),
    DiskMove("vdb", DiskAction.COPY, OTHER, "raw", destination="/fast/log.img"),
)


def blocks(survey: Survey) -> list[Finding]:
    return [one for one in preflight(survey) if one.severity is Severity.BLOCK]


def codes(survey: Survey) -> list[str]:
    return [one.code for one in preflight(survey)]


def defined(disk: Disk, **changes: object) -> Survey:
    return replace(HERE, definition=Definition(disks=(disk, VDB)), **changes)  # type: ignore[arg-type]


# -- findings --------------------------------------------------------------------------------


def test_only_what_was_chosen_moves_and_only_that_is_judged() -> None:
    assert codes(HERE) == ["host-up", "state-running", "saved-none", "storage-copy"]
    assert {one.severity for one in preflight(HERE)} == {Severity.OK}
    vda, vdb = (case.move for case in disk_cases(HERE))
    assert (vda.action, vda.destination) == (DiskAction.COPY, NEW)
    assert (vdb.action, vdb.destination) == (DiskAction.STAYS, None)


@pytest.mark.parametrize(
    ("survey", "code", "says"),
    [
        (replace(HERE, choices=()), "storage-none-chosen", "there is: vda, vdb"),
        (
            replace(HERE, target=Host("kvm-b", HostState.UP)),
            "storage-elsewhere",
            "between the pools of one host",
        ),
        (
            replace(HERE, vm=replace(HERE.vm, state=VmState.CRASHED)),
            "state-not-running",
            "is crashed",
        ),
        (replace(HERE, io_error=True), "state-io-error", "cannot be copied"),
        (replace(HERE, snapshots=2), "saved-snapshots", "would not have"),
        (replace(HERE, internal_snapshots={"vda": 3}), "storage-inside", "3 snapshots lie inside"),
        (defined(replace(VDA, mirrored=True)), "storage-not-copied", "a block job"),
        (defined(replace(VDA, backing="/images/base")), "storage-not-copied", "as one image alone"),
        (defined(replace(VDA, kind="dir")), "storage-not-copied", "of kind dir"),
        (defined(replace(VDA, kind="block")), "storage-not-copied", "inside a block device"),
        (
            replace(HERE, stored_sources={"vda": "/else"}),
            "storage-not-copied",
            "names another image",
        ),
        (replace(HERE, choices=(DiskChoice("vda", "mars"),)), "storage-pool-missing", "no pool"),
        (replace(HERE, choices=(DiskChoice("vdz", "fast"),)), "storage-choice", "no disk vdz"),
        (replace(HERE, occupied=frozenset({NEW})), "storage-exists", "exists on kvm-a already"),
    ],
)
def test_each_refusal_has_its_reason_and_a_remedy(survey: Survey, code: str, says: str) -> None:
    (found,) = blocks(survey)
    assert found.code == code
    assert says in found.sentence
    assert found.remedy


def test_its_own_image_is_never_called_a_leftover_to_delete() -> None:
    same = replace(HERE, choices=(DiskChoice("vda", "default", "db.qcow2"),))
    same = replace(same, occupied=frozenset({OLD}))
    (found,) = blocks(same)
    assert found.code == "storage-same-place"
    assert "vol-delete" not in found.remedy


def test_no_room_is_a_refusal() -> None:
    full = replace(HERE, target_pools=(PoolFacts("fast", path="/fast", available_bytes=MIB),))
    assert [one.code for one in blocks(full)] == ["storage-room"]


def test_what_was_not_seen_inside_an_image_is_a_warning() -> None:
    found = next(
        f for f in preflight(replace(HERE, internal_snapshots={})) if f.code[-7:] == "unknown"
    )
    assert (found.code, found.severity) == ("storage-inside-unknown", Severity.WARN)


OFF = replace(
    HERE,
    vm=replace(HERE.vm, state=VmState.SHUT_OFF),
    internal_snapshots={},
    copy_why="Within the host, by QEMU",
)


def test_of_a_vm_that_is_shut_off_the_image_itself_moves_with_all_that_it_holds() -> None:
    survey = replace(OFF, snapshots=2)
    assert blocks(survey) == []
    assert {"saved-snapshots", "copy-route", "storage-copy"} <= set(codes(survey))
    assert "storage-inside-unknown" not in codes(survey)
    (move,) = [c.move for c in disk_cases(survey) if c.move.action is DiskAction.COPY]
    assert "every byte" in move.verified_by
    assert (move.destination, move.length_bytes) == (NEW, 100 * MIB)


@pytest.mark.parametrize(
    ("survey", "code"),
    [
        (replace(OFF, managed_save=True), "saved-memory"),
        (replace(OFF, copy_why="", unknown={"copy": "no SSH"}), "copy-unknown"),
        (replace(OFF, copy_why="", copy_refused="it has no qemu-img"), "copy-route"),
        (
            replace(OFF, definition=Definition(disks=(replace(VDA, length_bytes=None), VDB))),
            "storage-not-copied",
        ),
    ],
)
def test_what_forbids_moving_the_disks_of_a_vm_that_is_shut_off(survey: Survey, code: str) -> None:
    found = next(one for one in blocks(survey) if one.code == code)
    assert found.remedy or found.code == "copy-route"


def test_the_plan_of_a_vm_that_is_shut_off_promises_no_command_and_no_running_vm() -> None:
    for survey, word in ((OFF, "cannot be started meanwhile"), (HERE, "runs on meanwhile")):
        plan = disks_planned(survey, "qemu:///system", BALANCED, MoveOptions(), ()).plan
        assert word in plan.remarks[0]
        assert plan.idle is (survey is OFF)
        assert bool(plan.virsh) is (survey is HERE)


# -- what libvirt is given -------------------------------------------------------------------


def test_a_path_cannot_break_out_of_the_document() -> None:
    path = "/fast/it's \"<&>.qcow2"
    disk = ElementTree.fromstring(destination_xml(path, "qcow2"))
    assert [child.tag for child in disk] == ["source", "driver"]
    assert disk.find("source").get("file") == path  # type: ignore[union-attr]


def test_the_virsh_line_can_be_pasted_whatever_the_names() -> None:
    copies = {"vda": ("/fast/a; rm -rf b", "qcow2"), "vdb": ("/fast/c", "raw")}
    first, second = virsh_lines("qemu:///system", "db 1", copies, 5 * MB).split(" && ")
    words = shlex.split(first)
    assert words[3:7] == ["blockcopy", "db 1", "vda", "/fast/a; rm -rf b"]
    assert words[-3:] == ["--bandwidth", "5000000", "--bytes"]
    assert "vdb" in shlex.split(second)


# -- the judgement ---------------------------------------------------------------------------


def vm(*disks: DiskSeen, active: bool = True, persistent: bool = True) -> VmSeen:
    named = dict(zip(("vda", "vdb"), disks, strict=False))
    return VmSeen(True, active, persistent, named)


def at(live: str, stored: str | None = None, mirror: str = "") -> DiskSeen:
    return DiskSeen(live, live if stored is None else stored, mirror)


NEW_B = "/fast/log.img"


def test_on_all_new_images_now_and_at_its_next_start_it_has_moved() -> None:
    judged = judge_disks("db-1", "kvm-a", MOVES, vm(at(NEW), at(NEW_B)))
    assert (judged.outcome, judged.owner, judged.leftovers) == (Outcome.MOVED, "kvm-a", ())
    assert f"vda is {NEW} now" in judged.reason
    off = vm(at("", NEW), at("", NEW_B), active=False)
    assert judge_disks("db-1", "kvm-a", MOVES, off).outcome is Outcome.MOVED
    transient = vm(at(NEW, ""), at(NEW_B, ""), persistent=False)
    assert judge_disks("db-1", "kvm-a", MOVES, transient).outcome is Outcome.MOVED


def test_on_none_of_them_it_stayed() -> None:
    judged = judge_disks("db-1", "kvm-a", MOVES, vm(at(OLD, mirror=NEW), at(OTHER)))
    assert (judged.outcome, judged.owner, judged.leftovers) == (Outcome.STAYED, "kvm-a", ())


def test_half_a_move_is_told_disk_by_disk_and_its_new_images_are_kept() -> None:
    seen = vm(at(NEW), at(OTHER))
    judged = judge_disks("db-1", "kvm-a", MOVES, seen)
    assert judged.outcome is Outcome.STAYED
    assert [NEW in line for line in judged.leftovers] == [True]
    assert in_use(MOVES, seen) == {NEW}


def test_a_stored_definition_that_names_the_old_image_is_no_move() -> None:
    seen = vm(at(NEW, OLD), at(NEW_B))
    assert to_store(MOVES, seen) == {"vda": NEW}
    judged = judge_disks("db-1", "kvm-a", MOVES, seen)
    assert judged.outcome is Outcome.STAYED
    assert any("virsh edit db-1" in line for line in judged.leftovers)
    assert in_use(MOVES, seen) == {NEW, NEW_B}


def test_a_transient_vm_or_one_that_is_off_has_nothing_to_store() -> None:
    assert to_store(MOVES, vm(at(NEW, ""), at(NEW_B, ""), persistent=False)) == {}
    assert to_store(MOVES, vm(at("", OLD), at("", OTHER), active=False)) == {}


def test_silence_is_never_guessed_and_a_vm_that_is_gone_is_lost() -> None:
    silent = judge_disks("db-1", "kvm-a", MOVES, None)
    assert (silent.outcome, silent.settled) == (Outcome.UNKNOWN, False)
    assert "Remove neither" in silent.reason
    assert judge_disks("db-1", "kvm-a", MOVES, VmSeen()).outcome is Outcome.LOST


def test_only_our_own_copies_are_ended() -> None:
    seen = vm(at(OLD, mirror="/somebody/else"), at(OTHER, mirror=NEW_B))
    assert unfinished(MOVES, seen) == ("vdb",)


# -- words while it copies -------------------------------------------------------------------


def sample(t_s: float, done: int, rate_bytes_s: float) -> Sample:
    return Sample(
        t_s,
        0,
        0,
        0,
        done,
        rate_bytes_s,
        None,
        disk_total_bytes=GIB,
        disk_remaining_bytes=GIB - done,
    )


def test_the_outlook_of_a_copy_promises_no_memory() -> None:
    first = copying_here([sample(0, 0, 0.0)])
    assert first.word is Word.COPYING_DISK
    assert "measuring" in first.reason
    now = copying_here([sample(0, 0, 0.0), sample(1, 100 * MB, 100e6)])
    assert "about 10 s" in now.reason
    assert "memory" not in now.reason
    assert now.left_s is not None
    assert now.left_s.low < now.left_s.mid < now.left_s.high
    stuck = copying_here([sample(1, 100 * MB, 50e6), sample(5, 100 * MB, 5e6)])
    assert "look at the pool" in stuck.reason
