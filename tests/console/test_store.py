"""What the console knows, and that nothing in it runs backwards."""

from dataclasses import replace

import pytest

from backend.model import (
    Host,
    HostState,
    Job,
    Migration,
    Outcome,
    Outlook,
    Policy,
    Sample,
    Verdict,
    Vm,
    VmState,
    Word,
)
from backend.service.protocol import Change, FleetChanged, MigrationChanged, SampleArrived
from tests.console.recorded import load
from tui import store as module
from tui.store import Store

VM = Vm("u-1", "db-1", "kvm-a", VmState.RUNNING, cpu_percent=3.0)
MOVE = Migration("m-1", "db-1", "u-1", "kvm-a", "kvm-b", 100.0, Policy("balanced", 300))
FLEET = FleetChanged("lab", True, (Host("kvm-a", HostState.UP), Host("kvm-b", HostState.UP)), (VM,))
MOVED = Verdict("m-1", "db-1", "kvm-a", "kvm-b", Outcome.MOVED, "kvm-b", "", 9.0, 10.0)


def sample(t: float, sent: int, left: int, number: int = 1) -> Sample:
    return Sample(t, number, left, 1000, sent, 10.0, None)


def holding(*changes: Change) -> Store:
    store = Store()
    for change in (FLEET, *changes):
        store.take(change)
    return store


def test_a_clock_that_jumps_back_reorders_nothing() -> None:
    later = replace(MOVE, id="m-2", started=40.0)
    store = holding(*(MigrationChanged(one) for one in (MOVE, later, MOVE)))
    assert [one.id for one in store.migrations] == ["m-1", "m-2"]
    assert store.newest_of(VM) == later
    ended = MigrationChanged(replace(later, verdict=MOVED))
    store.take(ended)
    assert store.newest_of(VM) == MOVE, "the one that still runs"


def test_a_progress_never_falls_whatever_is_forecast() -> None:
    store = holding(MigrationChanged(MOVE))
    shown = []
    for sent, left, expected in (
        (100, 900, None),
        (600, 400, 1000),
        (700, 300, 3000),
        (800, 9, 900),
    ):
        outlook = Outlook(Word.CONVERGING, "", expected_sent_bytes=expected)
        store.take(MigrationChanged(replace(MOVE, outlook=outlook)))
        store.take(SampleArrived("m-1", sample(float(sent), sent, left)))
        shown.append(store.tracks["m-1"].progress)
    assert shown == sorted(shown)
    assert shown[-1] < 1


def test_only_a_verdict_is_a_hundred_percent() -> None:
    store = holding(MigrationChanged(MOVE), SampleArrived("m-1", sample(1, 1000, 0)))
    assert store.tracks["m-1"].progress <= module.UNFORESEEN
    store.take(MigrationChanged(replace(MOVE, verdict=MOVED)))
    assert store.tracks["m-1"].progress == 1.0
    assert not store.running


def test_disks_before_the_first_pass_have_no_pass_to_be_part_of() -> None:
    store = holding(MigrationChanged(MOVE))
    disks = replace(sample(1, 100, 0, 0), disk_total_bytes=1000, disk_remaining_bytes=900)
    store.take(SampleArrived("m-1", disks))
    assert store.tracks["m-1"].progress == pytest.approx(0.1)
    store.take(SampleArrived("m-1", sample(2, 1000, 1000, 1)))
    assert store.tracks["m-1"].pass_progress == 0.0


def test_a_new_pass_begins_at_nothing() -> None:
    store = holding(MigrationChanged(MOVE))
    for one in (sample(1, 0, 1000), sample(2, 900, 100), sample(3, 900, 500, 2)):
        store.take(SampleArrived("m-1", one))
    assert store.tracks["m-1"].pass_progress == 0.0
    store.take(SampleArrived("m-1", sample(4, 1000, 400, 2)))
    assert store.tracks["m-1"].pass_progress == pytest.approx(0.2)
    store.take(SampleArrived("m-1", sample(5, 1000, 450, 2)))
    assert store.tracks["m-1"].pass_progress == pytest.approx(0.2)


def test_a_job_of_someone_else_never_falls() -> None:
    store = holding()
    for percent in (10.0, 40.0, 30.0):
        job = Job("migration out", percent)
        store.take(FleetChanged("lab", vms=(replace(VM, job=job),)))
    assert store.vm_rows(0.0)[0].job_progress == 0.4
    store.take(FleetChanged("lab", vms=(VM,)))
    assert store.vm_rows(0.0)[0].job_progress is None


def test_history_and_live_samples_become_one_chart() -> None:
    store = holding(MigrationChanged(MOVE), SampleArrived("m-1", sample(3, 30, 70)))
    store.history("m-1", (sample(1, 10, 90), sample(2, 20, 80)))
    assert [s.t_s for s in store.tracks["m-1"].samples] == [1, 2, 3]


def test_hours_of_samples_are_thinned_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SAMPLES", 100)
    store = holding(MigrationChanged(MOVE))
    for t in range(1000):
        store.take(SampleArrived("m-1", sample(float(t), t, 1000 - t)))
    samples = store.tracks["m-1"].samples
    assert len(samples) <= 100
    assert (samples[0].t_s, samples[-1].t_s) == (0, 999)


def test_a_vm_row_has_its_newest_migration() -> None:
    older = replace(MOVE, id="m-0", started=50.0, verdict=replace(MOVED, outcome=Outcome.STAYED))
    store = holding(MigrationChanged(MOVE), MigrationChanged(older))
    (row,) = store.vm_rows(0.0)
    assert row.migration is not None
    assert row.migration.id == "m-1"
    assert row.moving


@pytest.mark.parametrize("name", ["web", "db", "cache-abort", "two-at-once", "idle", "host-cut"])
def test_every_recording_is_told_to_its_end(name: str) -> None:
    store = Store()
    for entry in load(name):
        if entry.change is not None:
            store.take(entry.change)
    assert store.filled
    assert len(store.fleet.hosts) == 3
    assert not store.running
