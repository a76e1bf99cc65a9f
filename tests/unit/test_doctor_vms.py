"""What an examination says of where VMs are: from written-down facts, one changed at a time."""

from dataclasses import replace

import pytest

from backend.model import FleetFinding, Grade, Host, HostState, VmState
from backend.plan.doctor import doubtful, examined
from backend.plan.doctor_facts import Checkup, Copy, Doubt, FleetFacts

RUNS = Copy("u-1", "db-1", "kvm-a")
OFF = Copy("u-1", "db-1", "kvm-b", VmState.SHUT_OFF, "shutdown")
WAITS = Copy("u-1", "db-1", "kvm-b", VmState.PAUSED, "migration")
HALF = Copy("u-1", "db-1", "kvm-a", VmState.PAUSED, "post-copy failed", "migration out")


def fleet(*copies: Copy, silent: tuple[str, ...] = ()) -> FleetFacts:
    names = ("kvm-a", "kvm-b", "kvm-c")
    return FleetFacts(
        tuple(
            Checkup(Host(name, HostState.UNREACHABLE))
            if name in silent
            else Checkup(
                Host(name, HostState.UP, hostname=name),
                f"qemu+tls://{name}/system",
                copies=tuple(copy for copy in copies if copy.host == name),
            )
            for name in names
        ),
        now=0.0,
    )


def of(check: str, facts: FleetFacts) -> list[FleetFinding]:
    return [one for one in examined(facts) if one.check == check]


def codes(check: str, *copies: Copy, silent: tuple[str, ...] = ()) -> list[str]:
    return [one.code for one in of(check, fleet(*copies, silent=silent))]


def only(check: str, *copies: Copy, silent: tuple[str, ...] = ()) -> FleetFinding:
    (found,) = of(check, fleet(*copies, silent=silent))
    return found


def test_all_once_is_one_line() -> None:
    found = only("vms", RUNS, replace(RUNS, uuid="u-2", name="web-1", host="kvm-b"))
    assert (found.grade, found.sentence) == (Grade.OK, "every VM is on one host, 2 in all")


def test_running_on_two_hosts_is_an_alarm() -> None:
    found = only("vms", RUNS, replace(RUNS, host="kvm-c"))
    assert (found.code, found.grade) == ("vm-runs-twice", Grade.ALARM)
    assert found.hosts == ("kvm-a", "kvm-c")
    assert "virsh destroy u-1" in found.remedy
    assert "same disks" not in found.sentence


def test_that_they_share_disks_is_said() -> None:
    disk = frozenset({"/srv/shared/db-1.qcow2"})
    found = only("vms", replace(RUNS, images=disk), replace(RUNS, host="kvm-c", images=disk))
    assert "to the same disks" in found.sentence


def test_a_copy_somebody_paused_beside_one_that_runs_is_an_alarm() -> None:
    found = only("vms", RUNS, replace(WAITS, reason="user"))
    assert (found.code, found.grade) == ("vm-active-twice", Grade.ALARM)
    assert "Risked: a resume" in found.sentence


def test_a_copy_that_a_migration_left_paused_is_to_be_ended() -> None:
    found = only("vms", RUNS, WAITS)
    assert (found.code, found.grade) == ("vm-copy-left", Grade.MEND)
    assert found.remedy.startswith("On kvm-b: virsh destroy u-1")


def test_a_paused_copy_alone_is_told_with_what_is_certain() -> None:
    found = only("vms", WAITS)
    assert (found.code, found.grade) == ("vm-paused-alone", Grade.ALARM)
    assert "Certain: no host of the fleet runs it" in found.sentence


def test_a_paused_copy_whose_other_end_is_silent_must_not_be_resumed() -> None:
    found = only("vms", WAITS, silent=("kvm-a",))
    assert (found.code, found.grade) == ("vm-maybe-elsewhere", Grade.ALARM)
    assert "resumed here, it may run twice; destroyed here, it may be lost" in found.sentence
    assert "Find out first whether kvm-a is off" in found.remedy


def test_nothing_is_advised_while_it_is_not_known_whether_a_migration_goes_on() -> None:
    found = only("vms", replace(RUNS, job_known=False), WAITS)
    assert (found.code, found.grade) == ("vm-unclear", Grade.MEND)
    assert "destroy" not in found.remedy
    alone = only("vms", replace(WAITS, job_known=False))
    assert alone.code == "vm-unclear"
    assert codes("vms", replace(WAITS, reason="user", job_known=False)) == ["vms-ok"]
    twice = only("vms", RUNS, replace(RUNS, host="kvm-b", job_known=False))
    assert twice.code == "vm-runs-twice"


def test_paused_on_both_ends() -> None:
    found = only("vms", replace(WAITS, host="kvm-a"), WAITS)
    assert (found.code, found.grade) == ("vm-paused-twice", Grade.ALARM)
    assert "Never resume both" in found.remedy


def test_suspended_by_its_operator_is_where_it_is() -> None:
    assert codes("vms", replace(WAITS, reason="user")) == ["vms-ok"]


@pytest.mark.parametrize("other", [(), (replace(HALF, host="kvm-b", job="migration in"),)])
def test_a_broken_post_copy_is_an_alarm_that_forbids_to_destroy(other: tuple[Copy, ...]) -> None:
    found = only("vms", HALF, *other)
    assert (found.code, found.grade) == ("vm-post-copy-broken", Grade.ALARM)
    assert "virt-ferry recover db-1" in found.remedy
    assert "Destroy neither" in found.remedy
    assert codes("jobs", HALF, *other) == ["jobs-ok"]


def test_a_definition_beside_a_running_vm_is_stale() -> None:
    found = only("vms", RUNS, OFF)
    assert (found.code, found.grade) == ("vm-stale-definition", Grade.MEND)
    assert found.remedy == "On kvm-b: virsh undefine u-1 --keep-nvram"
    saved = only("vms", RUNS, replace(OFF, saved=True))
    assert "managedsave-remove u-1 first" in saved.remedy


def test_of_two_that_are_shut_off_the_one_that_migrated_away_is_stale() -> None:
    here, there = replace(OFF, host="kvm-a", reason="migrated"), OFF
    found = only("vms", here, there)
    assert found.code == "vm-stale-definition"
    assert found.hosts == ("kvm-a", "kvm-b")
    undecided = only("vms", replace(here, reason="shutdown"), there)
    assert (undecided.code, undecided.grade) == ("vm-defined-twice", Grade.MEND)


def test_what_this_engine_moves_is_left_alone() -> None:
    facts = replace(fleet(RUNS, WAITS, OFF), moving=frozenset({"u-1"}))
    assert [one.code for one in (*of("vms", facts), *of("jobs", facts))] == ["vms-ok", "jobs-ok"]


def test_a_migration_of_somebody_else_is_left_alone() -> None:
    going = (replace(RUNS, job="migration out"), replace(WAITS, job="migration in"))
    assert codes("vms", *going) == ["vms-ok"]
    assert codes("jobs", *going) == ["jobs-ok"]


def test_a_job_without_its_other_end() -> None:
    sends = replace(RUNS, job="migration out")
    found = only("jobs", sends)
    assert (found.code, found.grade) == ("job-no-target", Grade.MEND)
    assert "virsh domjobabort u-1" in found.remedy
    assert only("jobs", sends, silent=("kvm-b",)).grade is Grade.REMARK


def test_an_incoming_copy_without_a_source() -> None:
    receives = replace(WAITS, job="migration in")
    runs = only("jobs", RUNS, receives)
    assert (runs.code, runs.grade, runs.hosts) == ("job-no-source", Grade.MEND, ("kvm-b", "kvm-a"))
    assert runs.remedy == "On kvm-b: virsh destroy u-1."
    silent = only("jobs", receives, silent=("kvm-a",))
    assert (silent.code, silent.grade) == ("vm-maybe-elsewhere", Grade.ALARM)
    assert "destroy nothing before" in silent.remedy
    assert only("jobs", receives).code == "job-no-source"


def test_a_vm_whose_move_ended_open_and_that_nobody_has() -> None:
    doubts = (Doubt("db-1", "u-1", "kvm-a", "kvm-b", "unknown"),)
    (found,) = of("vms", replace(fleet(), doubts=doubts))
    assert (found.code, found.grade) == ("vm-nowhere", Grade.ALARM)
    (silent,) = of("vms", replace(fleet(silent=("kvm-b",)), doubts=doubts))
    assert "Bring kvm-b back" in silent.remedy
    assert [one.code for one in of("vms", replace(fleet(RUNS), doubts=doubts))] == ["vms-ok"]


def test_two_vms_of_one_name_are_a_remark() -> None:
    found = only("vms", RUNS, replace(OFF, uuid="u-2"))
    assert (found.code, found.grade) == ("vm-same-name", Grade.REMARK)


def test_what_a_second_look_does_not_find_is_not_said() -> None:
    facts = fleet(RUNS, replace(RUNS, host="kvm-b"), OFF)
    bad = [one.code for one in examined(facts, doubtful(facts)) if one.check == "vms"]
    assert "vm-runs-twice" in bad
    gone = examined(facts, frozenset())
    assert [one.code for one in gone if one.check == "vms"] == ["vms-ok"]


def test_hosts_that_could_not_be_asked_are_named_where_all_is_well() -> None:
    assert only("vms", RUNS, silent=("kvm-c",)).sentence.endswith("(not kvm-c)")
    nobody = only("vms", silent=("kvm-a", "kvm-b", "kvm-c"))
    assert (nobody.code, nobody.grade) == ("vms-unknown", Grade.REMARK)
