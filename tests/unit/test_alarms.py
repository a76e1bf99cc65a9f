"""A VM that runs twice is told once that is certain, and as long as it is not known to be over."""

from dataclasses import replace

from backend.fleet.alarms import AlarmWatch, Looked
from backend.model import Alarm, Job, Vm, VmState

HERE = Vm("u-1", "db-1", "kvm-a", VmState.RUNNING)
THERE = replace(HERE, host="kvm-b")
TWICE = (HERE, THERE)


def hosts(looks: int, **silent: bool) -> dict[str, Looked]:
    return {
        name: Looked(name.replace("-", "_") not in silent, looks) for name in ("kvm-a", "kvm-b")
    }


def sure(*vms: Vm, moving: frozenset[str] = frozenset()) -> tuple[Alarm, ...]:
    """What is said after three looks at the same."""
    watch = AlarmWatch()
    return [watch.look(vms, hosts(looks), moving) for looks in (5, 6, 7)][-1]


def test_it_is_told_once_both_hosts_said_so_again() -> None:
    watch = AlarmWatch()
    assert watch.look(TWICE, hosts(5), ()) == ()
    assert watch.unsure
    one_only = {"kvm-a": Looked(True, 9), "kvm-b": Looked(True, 6)}
    assert watch.look(TWICE, one_only, ()) == ()
    (alarm,) = watch.look(TWICE, hosts(7), ())
    assert (alarm.vm, alarm.hosts) == ("db-1", ("kvm-a", "kvm-b"))
    assert "db-1 RUNS TWICE: on kvm-a and on kvm-b at once" in alarm.sentence
    assert "virsh destroy u-1" in alarm.remedy
    assert not watch.unsure


def test_a_host_that_lags_behind_a_migration_is_no_alarm() -> None:
    watch = AlarmWatch()
    assert watch.look(TWICE, hosts(5), ()) == ()
    assert watch.look((THERE,), hosts(6), ()) == ()
    assert watch.look((THERE,), hosts(9), ()) == ()
    assert not watch.unsure


def test_a_migration_that_goes_on_is_no_alarm() -> None:
    assert sure(*TWICE)
    assert not sure(replace(HERE, job=Job("migration out")), THERE)
    assert not sure(HERE, replace(THERE, job=Job("migration in")))
    assert not sure(*TWICE, moving=frozenset({"u-1"}))


def test_another_job_does_not_hide_it() -> None:
    assert sure(replace(HERE, job=Job("save")), THERE)


def test_only_what_executes_counts() -> None:
    for state in VmState:
        executes = state in (VmState.RUNNING, VmState.SHUTTING_DOWN)
        assert bool(sure(HERE, replace(THERE, state=state))) is executes


def test_it_is_over_when_both_hosts_answer_and_one_has_it() -> None:
    watch = AlarmWatch()
    for looks in (5, 6, 7):
        watch.look(TWICE, hosts(looks), ())
    assert watch.look((HERE,), hosts(8), ()) == ()


def test_a_host_that_falls_silent_does_not_end_it() -> None:
    watch = AlarmWatch()
    for looks in (5, 6, 7):
        watch.look(TWICE, hosts(looks), ())
    unseen = replace(THERE, state=VmState.UNKNOWN)
    (alarm,) = watch.look((HERE, unseen), hosts(8, kvm_b=True), ())
    assert "kvm-b does not answer now" in alarm.sentence
    assert watch.look((HERE,), hosts(9), ()) == ()


def test_a_third_host_is_named_too() -> None:
    watch = AlarmWatch()
    for looks in (5, 6, 7):
        watch.look(TWICE, hosts(looks), ())
    three = (*TWICE, replace(HERE, host="kvm-c"))
    (alarm,) = watch.look(three, {**hosts(8), "kvm-c": Looked(True, 8)}, ())
    assert alarm.hosts == ("kvm-a", "kvm-b", "kvm-c")
