"""Moves of VMs that do not run: the guard, the findings, who owns it, what outlives the engine."""

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.hypervisor.domain_xml import parse_xml
from backend.hypervisor.target_xml import (
    Changes,
    guarded,
    is_guarded,
    snapshot_at_target,
    unguarded,
)
from backend.model import (
    Disk,
    DiskAction,
    Finding,
    Migration,
    Mode,
    MoveOptions,
    NewVolume,
    Outcome,
    Severity,
    Vm,
    VmState,
    VolumeState,
)
from backend.plan.disks import disk_cases
from backend.plan.facts import DiskProof, PoolFacts
from backend.plan.modes import mode_of
from backend.plan.policy import BALANCED
from backend.plan.preflight import preflight
from backend.run.cold_disks import copying_words
from backend.run.cold_end import judge_cold
from backend.run.open_moves import OpenMoves
from backend.run.verdict import End
from tests.unit.test_preflight import GOOD
from tests.unit.test_target_xml import LIVE

GIB = 2**30
WITH_KERNEL = LIVE.replace("<os>", "<os><kernel>/boot/vmlinuz</kernel>")
IMAGE = Disk(
    "vda",
    source="/srv/a/db-1.qcow2",
    format="qcow2",
    virtual_bytes=4 * GIB,
    allocated_bytes=GIB,
    length_bytes=2 * GIB,
)
POOL = PoolFacts("fast", "dir", True, "/srv/fast", 10 * GIB, frozenset())


@pytest.mark.parametrize("xml", [LIVE, WITH_KERNEL])
def test_a_guarded_definition_says_why_it_does_not_start_and_comes_back_whole(xml: str) -> None:
    held = guarded(xml, "kvm-a")
    assert is_guarded(held)
    assert not is_guarded(xml)
    kernel = parse_xml(held).findtext("os/kernel", "")
    assert "still-being-moved-here-from-kvm-a" in kernel
    back = parse_xml(unguarded(held))
    assert back.findtext("os/kernel") == parse_xml(xml).findtext("os/kernel")
    assert back.findtext("os/type") == "hvm"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=60))
def test_no_host_name_breaks_out_of_the_guard(name: str) -> None:
    held = guarded(WITH_KERNEL, name)
    assert len(parse_xml(held).findall("os/kernel")) == 1
    assert is_guarded(held)


def test_a_snapshot_knows_its_vm_by_the_new_paths() -> None:
    inner = LIVE[LIVE.index("<domain") :]
    xml = f"<domainsnapshot><name>s &amp; t</name>{inner}</domainsnapshot>"
    moved = parse_xml(snapshot_at_target(xml, Changes({"vda": "/new/x.qcow2"}, {})))
    assert moved.findtext("name") == "s & t"
    sources = [one.get("file") for one in moved.findall("domain/devices/disk/source")]
    assert sources == ["/new/x.qcow2", "/srv/shared/x.raw"]


def idle(state: VmState = VmState.SHUT_OFF, mode: Mode = Mode.COLD, disk: Disk = IMAGE):  # type: ignore[no-untyped-def]  # noqa: ANN201
    assert GOOD.definition is not None
    return replace(
        GOOD,
        vm=replace(GOOD.vm, state=state),
        mode=mode,
        definition=replace(GOOD.definition, disks=(disk,)),
        disks={"vda": DiskProof(False, at_target=False)},
        target_pools=(POOL,),
        copy_why="from kvm-a to kvm-b, by NBD over TLS",
    )


def blocking(findings: tuple[Finding, ...]) -> list[str]:
    return [one.code for one in findings if one.severity is Severity.BLOCK]


def test_a_shut_off_vm_moves_cold_unless_told_otherwise() -> None:
    off = Vm("u", "v", "kvm-a", VmState.SHUT_OFF)
    assert mode_of(off, MoveOptions()) is Mode.COLD
    assert mode_of(replace(off, state=VmState.RUNNING), MoveOptions()) is Mode.LIVE
    assert mode_of(off, MoveOptions(mode=Mode.LIVE)) is Mode.LIVE


def test_what_a_cold_move_needs_is_there() -> None:
    survey = idle()
    assert blocking(preflight(survey)) == []
    (case,) = disk_cases(survey)
    assert (case.move.action, case.move.destination) == (DiskAction.COPY, "/srv/fast/db-1.qcow2")
    assert case.move.length_bytes == 2 * GIB
    assert "hash" in case.move.verified_by


@pytest.mark.parametrize(
    ("survey", "code"),
    [
        (idle(VmState.RUNNING), "state-not-off"),
        (idle(VmState.SHUT_OFF, Mode.RESTART), "state-not-running"),
        (idle(disk=replace(IMAGE, backing="/srv/base.qcow2")), "storage-not-copied"),
        (idle(disk=replace(IMAGE, length_bytes=None)), "storage-not-copied"),
        (replace(idle(), managed_save=True), "saved-memory"),
        (replace(idle(), copy_why=""), "copy-unknown"),
        (replace(idle(), copy_why="", copy_refused="no way"), "copy-route"),
        (replace(idle(), disks={"vda": DiskProof(None)}), "storage-unproven"),
        (replace(idle(), target_pools=()), "storage-no-pool"),
    ],
)
def test_what_forbids_a_move_of_a_vm_that_does_not_run(survey: object, code: str) -> None:
    assert code in blocking(preflight(survey))  # type: ignore[arg-type]


def test_an_encrypted_image_is_copied_as_it_is_and_its_key_is_asked_for() -> None:
    sealed = replace(IMAGE, encrypted=True)
    survey = idle(disk=sealed)
    assert blocking(preflight(survey)) == []
    (found,) = [one for one in preflight(survey) if one.code == "storage-encrypted"]
    assert "kvm-b needs libvirt's secret" in found.sentence
    on_others = idle(disk=replace(sealed, backing="/srv/base.qcow2"))
    assert blocking(preflight(on_others)) == ["storage-not-copied"]


def test_what_it_needs_to_run_only_warns_while_it_stays_off() -> None:
    short = replace(GOOD.target, memory_used_bytes=GOOD.target.memory_bytes)
    off, restart = idle(), idle(VmState.RUNNING, Mode.RESTART)
    assert blocking(preflight(replace(off, target=short))) == []
    assert any("memory" in code for code in blocking(preflight(replace(restart, target=short))))


def test_its_snapshots_go_along() -> None:
    findings = preflight(replace(idle(), snapshots=2))
    assert any(one.code == "saved-snapshots" and one.severity is Severity.OK for one in findings)


HERE, THERE = ("kvm-a", "kvm-b")


def end(host: str, defined: bool, state: VmState = VmState.SHUT_OFF) -> End:
    return End(host, defined, state is VmState.RUNNING, state)


@pytest.mark.parametrize(
    ("source", "target", "outcome", "owner"),
    [
        (end(HERE, True), end(THERE, False), Outcome.STAYED, HERE),
        (end(HERE, True), end(THERE, True), Outcome.STAYED, HERE),
        (end(HERE, True), None, Outcome.STAYED, HERE),
        (end(HERE, True, VmState.RUNNING), None, Outcome.STAYED, HERE),
        (end(HERE, False), end(THERE, True), Outcome.MOVED, THERE),
        (end(HERE, False), end(THERE, True, VmState.RUNNING), Outcome.MOVED, THERE),
        (None, end(THERE, True), Outcome.UNKNOWN, None),
        (end(HERE, False), None, Outcome.UNKNOWN, None),
        (end(HERE, False), end(THERE, False), Outcome.LOST, None),
    ],
)
def test_who_owns_it(
    source: End | None, target: End | None, outcome: Outcome, owner: str | None
) -> None:
    judged = judge_cold("db-1", source, target, (HERE, THERE))
    assert (judged.outcome, judged.owner) == (outcome, owner)
    assert judged.reason


def open_state() -> Migration:
    volume = NewVolume("vda", THERE, "default", "x.part", "/p/x.part", VolumeState.CREATED)
    return Migration(
        id="ab12cd",
        vm="db-1",
        uuid="u-1",
        source=HERE,
        target=THERE,
        started=5.0,
        policy=BALANCED,
        mode=Mode.COLD,
        volumes=(volume,),
        carried=("var/lib/x",),
    )


def test_what_an_engine_must_not_forget_is_read_by_the_next(tmp_path: Path) -> None:
    kept, state = OpenMoves(tmp_path / "open"), open_state()
    assert kept.keep(state)
    (path,) = (tmp_path / "open").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert OpenMoves(tmp_path / "open").found() == (state,)
    kept.forget(state.id)
    assert kept.found() == ()


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b'{"id": 5}'),
        lambda path: path.write_bytes(b"\xff\xfe"),
    ],
)
def test_a_damaged_file_is_left_alone(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    kept = OpenMoves(tmp_path)
    assert kept.keep(open_state())
    harm(tmp_path / "ab12cd.json")
    assert kept.found() == ()


def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("a file")
    assert OpenMoves(tmp_path / "open").keep(open_state()) is False


def test_how_far_a_copy_is() -> None:
    assert copying_words("vda", 0, 10**9, None).endswith("measuring")
    said = copying_words("vda", 5 * 10**8, 10**9, 10**8)
    assert "of 1" in said or "of 954" in said
    assert "about 5 s" in said
