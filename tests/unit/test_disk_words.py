"""Disks in words: what was typed, what is refused, what a plan, a lane and a report show."""

import json
from dataclasses import replace

import pytest

from backend.errors import BadInput
from backend.hypervisor.migrate import MigrationOrder, virsh_line
from backend.model import (
    Control,
    DiskAction,
    DiskChoice,
    DiskMove,
    DiskProgress,
    Migration,
    MoveOptions,
    NetworkChoice,
    Nic,
    Outcome,
    Phase,
    Plan,
    Sample,
    Tuning,
    Verdict,
    Vm,
    VmState,
)
from backend.plan.facts import Definition, Survey
from backend.plan.policy import BALANCED
from backend.run.asked import checked, is_name
from backend.run.ordering import order_for
from backend.run.together import Planned, fit_together
from backend.service.client import BadInput as ClientBadInput
from backend.service.protocol import MigrationChanged, SampleArrived
from tests.unit.test_disks import VDA as DISK
from tests.unit.test_disks import survey
from tests.unit.test_wanted import wanted
from tui.commands.follow import Follower
from tui.render.controls import why_not
from tui.render.disks import disk_lanes, disk_words
from tui.render.migration_lines import MigrationView, deadline_left, figures
from tui.render.plan_rows import finding_lines
from tui.render.report import report_lines

GIB, MIB, MB = 2**30, 2**20, 1_000_000
MOVE = DiskMove(
    "vda",
    DiskAction.COPY,
    "/images/files-1.qcow2",
    "qcow2",
    GIB,
    100 * MIB,
    "default",
    "fast",
    "files-1.qcow2",
    "/srv/fast/files-1.qcow2",
    20 * GIB,
    "size and format",
)
PLAN = Plan("files-1", "u-1", "kvm-b", "kvm-c", (), BALANCED, disks=(MOVE,))
RUNNING = Migration(
    "m-1",
    "files-1",
    "u-1",
    "kvm-b",
    "kvm-c",
    1000.0,
    BALANCED,
    phase=Phase.DISK,
    called_at=1001.0,
    deadline_s=90.0,
    moves=(MOVE,),
    disks=(DiskProgress("vda", 61 * MIB, 100 * MIB, 20e6, 0.61),),
    sample=Sample(5.0, 0, 0, 0, 61 * MIB, 20e6, None, None, None, None, 100 * MIB, 39 * MIB),
    controls=(Control.ABORT,),
)


# -- what was typed --------------------------------------------------------------------------


def test_disks_and_networks_from_the_command_line() -> None:
    asked = wanted(
        *("--disk", "vda=fast", "--disk", "vdb=fast:b.qcow2"),
        *("--network", "br0=br1", "--remove-source"),
    )
    assert asked.disks == (DiskChoice("vda", "fast"), DiskChoice("vdb", "fast", "b.qcow2"))
    assert asked.networks == (NetworkChoice("br0", "br1"),)
    assert asked.remove_source


@pytest.mark.parametrize(
    "words",
    [
        ("--disk", "vda"),
        ("--disk", "vda="),
        ("--disk", "=fast"),
        ("--disk", "vda=fast:"),
        ("--disk", "vda=:name"),
        ("--network", "br0"),
        ("--network", "br0="),
        ("--network", "=br0"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_options_name(words: tuple[str, ...]) -> None:
    with pytest.raises(ClientBadInput, match=words[0]):
        wanted(*words)


@pytest.mark.parametrize(
    "options",
    [
        MoveOptions(disks=(DiskChoice("vda", "../etc"),)),
        MoveOptions(disks=(DiskChoice("vda", "fast", "../../etc/passwd"),)),
        MoveOptions(disks=(DiskChoice("vda", "fast", "a\nb"),)),
        MoveOptions(disks=(DiskChoice("vda", "fast", ".hidden"),)),
        MoveOptions(disks=(DiskChoice("vda", "fast", "x" * 256),)),
        MoveOptions(disks=(DiskChoice("vda", "fast"), DiskChoice("vda", "slow"))),
        MoveOptions(disks=(DiskChoice("vda", "fast", "x"), DiskChoice("vdb", "fast", "x"))),
        MoveOptions(networks=(NetworkChoice("br0", "a/b"),)),
        MoveOptions(networks=(NetworkChoice("br0", "a"), NetworkChoice("br0", "b"))),
    ],
)
def test_what_no_vm_can_be_moved_with_is_refused(options: MoveOptions) -> None:
    with pytest.raises(BadInput):
        checked(options, 0.0)


def test_a_named_volume_is_one_vms_alone() -> None:
    options = MoveOptions(disks=(DiskChoice("vda", "fast", "x"),))
    checked(options, 0.0)
    with pytest.raises(BadInput, match="the disks of 2 VMs"):
        checked(options, 0.0, 2)
    checked(MoveOptions(disks=(DiskChoice("vda", "fast"),)), 0.0, 2)
    assert is_name("db 1.qcow2")
    assert not is_name(" x")


# -- the order -------------------------------------------------------------------------------


def order(facts: Survey, *moves: DiskMove) -> MigrationOrder:
    return order_for(facts, "qemu+tls://kvm-c/system", True, moves, Tuning(300), MoveOptions())


def test_the_order_copies_what_the_plan_copies_and_changes_what_is_different() -> None:
    left = DiskMove("vdb", DiskAction.SHARED, "/srv/shared/x")
    made = order(survey(), MOVE, left)
    assert made.copy_disks == ("vda",)
    assert dict(made.changes.disks) == {"vda": "/srv/fast/files-1.qcow2"}
    assert "--migrate-disks vda --xml target.xml --persistent-xml target-stored.xml" in virsh_line(
        made, "qemu:///system"
    )


def test_nothing_is_changed_where_all_is_called_the_same() -> None:
    same = replace(MOVE, destination=MOVE.source)
    made = order(survey(), same)
    assert made.copy_disks == ("vda",)
    assert not made.changes
    assert "--xml" not in virsh_line(made, "qemu:///system")
    by_volume = order(survey(replace(DISK, kind="volume")), same)
    assert dict(by_volume.changes.disks) == {"vda": MOVE.source}


def test_only_networks_that_the_vm_is_on_are_renamed() -> None:
    nics = (Nic("52:54:00:00:00:01", "bridge", "br0"), Nic("52:54:00:00:00:02", "direct", "eth0"))
    facts = survey(
        definition=Definition(nics=nics),
        networks={"br0": "br1", "eth0": "eth1", "br9": "br1"},
    )
    assert dict(order(facts).changes.networks) == {"br0": "br1"}


def planned(name: str, **move: object) -> Planned:
    plan = replace(PLAN, vm=name, uuid=name, disks=(replace(MOVE, **move),))  # type: ignore[arg-type]
    vm = Vm(name, name, "kvm-b", VmState.RUNNING)
    return Planned(plan, vm, MigrationOrder(name, name, "qemu+tls://kvm-c/system"))


def test_two_vms_do_not_get_the_same_volume_nor_the_same_room() -> None:
    one, two = fit_together((planned("a"), planned("b")))
    assert not one.plan.blocked
    assert [finding.code for finding in two.plan.findings] == ["storage-same-name"]
    room = {"room_bytes": 150 * MIB}
    one, two = fit_together((planned("a", **room), planned("b", destination="/srv/fast/b", **room)))
    assert [finding.code for finding in two.plan.findings] == ["storage-together"]
    assert "203 M needed, 150 M free" in two.plan.findings[0].sentence


# -- what is shown ---------------------------------------------------------------------------


def test_a_plan_shows_from_to_sizes_room_and_how_it_is_verified() -> None:
    first, second = disk_words(MOVE, "kvm-c")
    assert first == (
        "copy 100 M of 1 G (qcow2) from /images/files-1.qcow2 to /srv/fast/files-1.qcow2 on kvm-c;"
        " 20 G free in pool fast"
    )
    assert second == "verified by size and format"
    assert "no place yet" in disk_words(replace(MOVE, destination=None), "kvm-c")[0]
    shared = replace(MOVE, action=DiskAction.SHARED)
    assert disk_words(shared, "kvm-c") == [
        "shared: the same storage on both hosts, nothing is copied  /images/files-1.qcow2"
    ]
    text = "\n".join(line.text for line in finding_lines(PLAN, 100))
    assert "vda" in text
    assert "/srv/fast/files-1.qcow2 on kvm-c" in " ".join(text.split())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_lane_has_progress_rate_and_the_time_left(width: int) -> None:
    (lane,) = disk_lanes(RUNNING, width, 36)
    assert len(lane.text) <= width
    assert lane.text.startswith(" vda  ███████░░░░░  61%")
    if width >= 80:
        assert "61 M of 100 M  39 M left  20 MB/s  2 s" in lane.text
    if width >= 120:
        assert "→ fast: files-1.qcow2" in lane.text


def test_lanes_before_the_first_figure_and_after_the_last() -> None:
    (waiting,) = disk_lanes(replace(RUNNING, disks=()), 100, 36)
    assert "not begun yet" in waiting.text
    done = DiskProgress("vda", 100 * MIB, 100 * MIB, None, 1.0)
    (ended,) = disk_lanes(replace(RUNNING, disks=(done,)), 100, 36)
    assert "100%  ✓ 100 M copied, every write follows" in ended.text


def test_of_many_disks_the_slowest_have_lanes() -> None:
    moves = tuple(replace(MOVE, target=f"vd{c}") for c in "abcde")
    disks = tuple(DiskProgress(m.target, 1, 100, 1.0, n / 10) for n, m in enumerate(moves, 1))
    many = replace(RUNNING, moves=moves, disks=disks)
    assert len(disk_lanes(many, 100, 36)) == 5
    lane, more = disk_lanes(many, 100, 24)
    assert lane.text.startswith(" vda")
    assert more.text == " and 4 more"


def view(migration: Migration, now: float = 1041.0) -> MigrationView:
    return MigrationView(migration, now, (migration.sample,) if migration.sample else ())


def test_the_deadline_is_the_memorys() -> None:
    assert deadline_left(view(RUNNING))[0] == "deadline 1 m 30 s, from the memory on"
    memory = replace(RUNNING, phase=Phase.MEMORY, memory_at=1031.0)
    assert deadline_left(view(memory))[0] == "deadline 1 m 20 s"


def test_the_figures_name_no_pass_yet() -> None:
    text = figures(view(RUNNING), 120)[0].text
    assert "disks first" in text
    assert "pass 0" not in text


def test_the_bandwidth_key_says_why_it_is_locked() -> None:
    assert "sets a mirror's rate only at its start" in why_not(RUNNING, Control.BANDWIDTH)
    assert "memory has not begun" in why_not(RUNNING, Control.SUSPEND)
    assert why_not(RUNNING, Control.ABORT) == ""


def test_the_report_says_what_was_proven_and_kept() -> None:
    verdict = Verdict(
        *("m-1", "files-1", "kvm-b", "kvm-c", Outcome.MOVED, "kvm-c", "It runs.", 27.4, 28.1),
        disks=("vda: qcow2, 1.0 G virtual on both kvm-b and kvm-c",),
        kept=("kept: /images/files-1.qcow2 on kvm-b",),
    )
    text = "\n".join(
        line.text.rstrip() for line in report_lines(view(replace(RUNNING, verdict=verdict)), 120)
    )
    assert " disks     vda: qcow2, 1.0 G virtual on both" in text
    assert "kept: /images/files-1.qcow2 on kvm-b" in text


def test_a_program_gets_an_event_for_every_step_of_a_disk(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follower = Follower([RUNNING], as_json=True)
    follower.take(MigrationChanged(RUNNING))
    follower.take(MigrationChanged(RUNNING))
    further = replace(RUNNING.disks[0], done_bytes=70 * MIB, progress=0.7)
    follower.take(MigrationChanged(replace(RUNNING, disks=(further,))))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line["event"] == "disk"] == [
        {
            "event": "disk",
            "id": "m-1",
            "vm": "files-1",
            "disk": "vda",
            "done_bytes": done * MIB,
            "total_bytes": 100 * MIB,
            "rate_bytes_s": 20e6,
            "progress": done / 100,
        }
        for done in (61, 70)
    ]


def test_people_read_it_in_the_samples(capsys: pytest.CaptureFixture[str]) -> None:
    follower = Follower([RUNNING], as_json=False)
    follower.take(MigrationChanged(RUNNING))
    assert RUNNING.sample is not None
    follower.take(SampleArrived("m-1", RUNNING.sample))
    assert "files-1  disks  vda 61%  39 M left  copies 20 MB/s" in capsys.readouterr().out
