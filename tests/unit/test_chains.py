"""Chains of images: what becomes of each, what the operator is told, which is copied first."""

from dataclasses import replace

import pytest

from backend.hypervisor.domain_xml import parse_xml
from backend.hypervisor.target_xml import Changes, snapshot_at_target
from backend.model import (
    BackingImage,
    Disk,
    DiskChoice,
    DiskMove,
    Finding,
    Mode,
    MoveOptions,
    Severity,
    VmState,
)
from backend.plan.chains import missing_besides
from backend.plan.disks import disk_cases
from backend.plan.facts import DiskProof, PoolFacts, Survey
from backend.plan.preflight import preflight
from backend.remote.chains import parse_chains
from backend.run.chain_images import images_of
from backend.run.ordering import cold_order, copied_bytes, moved_images
from tests.unit.test_cold import idle

GIB, MIB = 2**30, 2**20
MID = BackingImage("/srv/a/mid.qcow2", "qcow2", "mid.qcow2", True, GIB, 30 * MIB, 31 * MIB)
BASE = BackingImage("/gold/base.raw", "raw", "/gold/base.raw", True, GIB, 500 * MIB, GIB)
TOP = Disk(
    "vda",
    source="/srv/a/top.qcow2",
    format="qcow2",
    virtual_bytes=GIB,
    allocated_bytes=10 * MIB,
    length_bytes=11 * MIB,
    backing=MID.path,
    chain=(MID, BASE),
)
FAST = PoolFacts("fast", "dir", True, "/srv/fast", 10 * GIB, frozenset())


def chained(disk: Disk = TOP, **changes: object) -> Survey:
    return replace(idle(disk=disk), **changes)  # type: ignore[no-any-return]


def move_of(survey: Survey) -> DiskMove:
    return disk_cases(survey)[0].move


def found(survey: Survey, code: str) -> Finding:
    return next(one for one in preflight(survey) if one.code == code)


def blocking(survey: Survey) -> list[str]:
    return [one.code for one in preflight(survey) if one.severity is Severity.BLOCK]


def test_each_image_keeps_its_name_and_the_operator_is_told_of_the_other_way() -> None:
    survey = chained()
    move = move_of(survey)
    assert blocking(survey) == []
    assert [one.destination for one in move.layers] == ["/srv/fast/mid.qcow2", "/srv/fast/base.raw"]
    assert not move.flattened
    finding = found(survey, "storage-chain")
    assert "chain of 3 images is copied whole" in finding.sentence
    assert "--flatten" in finding.remedy
    assert copied_bytes((move,)) == 540 * MIB
    assert "each image" in move.verified_by


def test_the_lowest_is_copied_first_and_each_is_told_what_it_lies_on() -> None:
    base, mid, top = images_of(move_of(chained()))
    assert (base.source, base.below) == (BASE.path, None)
    assert (mid.source, mid.below) == (MID.path, ("/srv/fast/base.raw", "raw"))
    assert (top.source, top.below) == (TOP.source, ("/srv/fast/mid.qcow2", "qcow2"))
    assert [one.top for one in (base, mid, top)] == [False, False, True]
    order = cold_order(chained(), (move_of(chained()),), MoveOptions())
    assert order.images == (TOP.source, MID.path, BASE.path)


def test_a_reference_that_is_right_already_is_left_alone() -> None:
    same = replace(FAST, path="/gold")
    lone = replace(TOP, backing=BASE.path, chain=(BASE,))
    _, top = images_of(move_of(chained(lone, target_pools=(same,))))
    assert top.below is None


def test_one_image_is_made_of_them_when_asked_for() -> None:
    move = move_of(chained(flatten=True))
    assert (move.flattened, move.layers) == (True, ())
    assert move.allocated_bytes == 540 * MIB


def test_what_is_there_already_is_used_and_takes_no_room() -> None:
    tight = replace(FAST, available_bytes=60 * MIB)
    assert blocking(chained(target_pools=(tight,))) == ["storage-room"]
    there = chained(
        target_pools=(replace(tight, volumes=frozenset({"base.raw"})),),
        source_pools={"vda": "fast"},
    )
    assert blocking(there) == []
    mid, base = move_of(there).layers
    assert (mid.found, base.found) == (False, True)
    assert [one.found for one in images_of(move_of(there))] == [True, False, False]
    assert "used if a hash" in found(there, "storage-layer-there").sentence
    other = replace(there, occupied_bytes={"/srv/fast/base.raw": 2 * GIB})
    assert blocking(other) == ["storage-size-differs"]


def test_two_disks_on_one_base_bring_it_once() -> None:
    second = replace(TOP, target="vdb", source="/srv/a/second.qcow2", chain=(BASE,))
    survey = chained()
    assert survey.definition is not None
    both = replace(survey, definition=replace(survey.definition, disks=(TOP, second)))
    both = replace(both, disks=dict.fromkeys(("vda", "vdb"), DiskProof(False, at_target=False)))
    first, other = (case.move for case in disk_cases(both))
    assert [one.found for one in first.layers] == [False, False]
    assert [one.found for one in other.layers] == [True]


def test_a_base_that_both_hosts_see_stays_where_it_is() -> None:
    move = move_of(chained(shared_layers=frozenset({BASE.path})))
    assert [one.stays for one in move.layers] == [False, True]
    assert [one.source for one in images_of(move)] == [MID.path, TOP.source]
    assert moved_images(move)[BASE.path] == BASE.path


def test_between_pools_of_a_host_only_the_disk_s_own_image_moves() -> None:
    survey = chained(mode=Mode.STORAGE, choices=(DiskChoice("vda", "fast"),))
    move = move_of(replace(survey, target=survey.source))
    assert all(layer.stays for layer in move.layers)
    (top,) = images_of(move)
    assert top.below == (MID.path, "qcow2")


@pytest.mark.parametrize(
    ("disk", "says"),
    [
        (replace(TOP, chain=()), "could not be looked at"),
        (replace(TOP, chain=(replace(MID, named_format=False), BASE)), "which format"),
        (replace(TOP, chain=(MID, replace(BASE, length_bytes=None))), "no image file"),
        (replace(TOP, chain=(replace(MID, path="/x/top.qcow2"), BASE)), "called top.qcow2"),
    ],
)
def test_what_cannot_be_kept_whole_is_said_with_the_way_out(disk: Disk, says: str) -> None:
    survey = chained(disk)
    assert blocking(survey) == ["storage-not-copied"]
    sentence = found(survey, "storage-not-copied").sentence
    assert says in sentence
    assert "--flatten" in sentence
    assert blocking(replace(survey, flatten=True)) == []


def test_of_a_running_vm_it_is_said_how_it_would_go() -> None:
    survey = chained()
    live = replace(survey, mode=Mode.LIVE, vm=replace(survey.vm, state=VmState.RUNNING))
    assert "--flatten, or move it shut off, whole" in found(live, "storage-not-copied").sentence


def test_files_that_are_brought_do_not_lack() -> None:
    survey = chained(files_missing=(BASE.path, "/boot/kernel"))
    assert missing_besides(survey) == ("/boot/kernel",)
    shared = replace(survey, shared_layers=frozenset({BASE.path}))
    assert missing_besides(shared) == (BASE.path, "/boot/kernel")


def test_a_snapshot_knows_images_that_are_below_now() -> None:
    xml = """<domainsnapshot><disks><disk name='vda' snapshot='external'>
    <source file='/a/top'/></disk></disks><domain><devices>
    <disk type='file'><source file='/a/base'/><target dev='vda'/></disk>
    <disk type='file'><source file='/a/other'/><target dev='vdb'/></disk>
    </devices></domain></domainsnapshot>"""
    changes = Changes({"vda": "/b/top"}, images={"/a/top": "/b/top", "/a/base": "/b/base"})
    moved = parse_xml(snapshot_at_target(xml, changes))
    assert [one.get("file") for one in moved.iter("source")] == ["/b/top", "/b/base", "/a/other"]


def test_chains_of_many_images_are_read_one_after_the_other() -> None:
    said = '[{"filename": "/a"}, {"filename": "/b"}]\nnull\n"gone"\n[{"filename": "/c"}]\n'
    assert parse_chains(said) == [frozenset({"/b"}), None, frozenset(), frozenset()]
    assert parse_chains(said + "[{") == []
