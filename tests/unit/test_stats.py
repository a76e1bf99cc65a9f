"""Raw statistics as libvirt 9.0 really sent them, and any others, -> typed figures."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backend.hypervisor.stats import (
    VmStats,
    completed,
    job_progress,
    job_sample,
    state_reason,
    vm_state,
    vm_statistics,
)
from backend.model import VmState

PREPARING = {"operation": 5, "time_elapsed": 201, "memory_total": 0, "memory_iteration": 0}
FIRST_PASS = {
    "operation": 5,
    "time_elapsed": 1_700,
    "setup_time": 5,
    "downtime": 300,
    "memory_total": 537_665_536,
    "memory_processed": 18_874_368,
    "memory_remaining": 515_899_392,
    "memory_bps": 21_000_000,
    "memory_dirty_rate": 0,
    "memory_iteration": 1,
    "memory_page_size": 4096,
    "memory_constant": 700,
    "memory_normal": 4_500,
    "disk_total": 0,
    "disk_remaining": 0,
    "type": 2,
}
LATER_PASS = FIRST_PASS | {"memory_iteration": 4, "memory_dirty_rate": 1_000}
ENDED = {
    "operation": 4,
    "time_elapsed": 2_368,
    "time_elapsed_net": 2_366,
    "downtime": 134,
    "downtime_net": 132,
    "setup_time": 1,
    "memory_processed": 191_997_011,
    "memory_bps": 113_453_987,
    "memory_dirty_rate": 0,
    "memory_iteration": 3,
    "memory_page_size": 4096,
    "disk_processed": 1_000,
    "type": 3,
}
DOMSTATS = {
    "state.state": 1,
    "state.reason": 2,
    "cpu.time": 3_000_000_000,
    "balloon.current": 524_288,
    "balloon.maximum": 524_288,
    "balloon.rss": 172_540,
    "vcpu.current": 2,
    "vcpu.maximum": 4,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.path": "/srv/a.qcow2",
    "block.0.allocation": 100,
    "block.0.capacity": 1_000,
    "block.1.name": "vda",
    "block.1.backingIndex": 2,
    "block.1.capacity": 7,
}

raw_dicts = st.dictionaries(
    st.sampled_from([*FIRST_PASS, *ENDED, *DOMSTATS, "block.1.name", "success", "errmsg"])
    | st.text(max_size=12),
    st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.booleans(),
)


def test_before_the_first_pass_nothing_is_known() -> None:
    reading = job_sample(PREPARING, 0.2)
    assert (reading.pass_number, reading.raw_pass, reading.dirty_bytes_s) == (1, None, None)
    assert (reading.operation, reading.total_bytes, reading.elapsed_ms) == ("migration out", 0, 201)


def test_the_first_pass_has_no_dirty_rate() -> None:
    reading = job_sample(FIRST_PASS, 1.7)
    assert reading.dirty_bytes_s is None
    assert reading.rate_bytes_s == 21_000_000
    assert reading.remaining_bytes == 515_899_392
    assert reading.expected_pause_ms == 300
    assert reading.disk_copied


def test_the_dirty_rate_is_counted_in_pages() -> None:
    assert job_sample(LATER_PASS, 9.0).dirty_bytes_s == 4_096_000
    huge = LATER_PASS | {"memory_page_size": 2 * 1024**2}
    assert job_sample(huge, 9.0).dirty_bytes_s == 1_000 * 2 * 1024**2


def test_a_quiet_vm_in_a_later_pass_writes_zero_which_is_known() -> None:
    assert job_sample(LATER_PASS | {"memory_dirty_rate": 0}, 9.0).dirty_bytes_s == 0


def test_passes_of_cancelled_attempts_do_not_count() -> None:
    assert job_sample(LATER_PASS, 9.0).pass_number == 4
    assert job_sample(LATER_PASS, 9.0, first_pass=3).pass_number == 2
    assert job_sample(LATER_PASS, 9.0, first_pass=9).pass_number == 1


def test_disk_and_memory_add_up() -> None:
    disk = {"disk_total": 1_000, "disk_processed": 400, "disk_remaining": 600, "disk_bps": 50}
    reading = job_sample(disk, 1.0)
    assert (reading.total_bytes, reading.sent_bytes, reading.remaining_bytes) == (1_000, 400, 600)
    assert reading.rate_bytes_s == 50
    assert not reading.disk_copied


def test_what_a_completed_migration_took() -> None:
    job = completed(ENDED)
    assert (job.total_ms, job.pause_ms, job.passes) == (2_368, 134, 3)
    assert job.sent_bytes == 191_998_011
    assert job.success is None
    assert completed({"success": False, "errmsg": "no"}).error == "no"
    assert completed({"success": False}).success is False


def test_progress_of_any_job() -> None:
    assert job_progress({"data_total": 200, "data_remaining": 50}) == (75.0, 50)
    assert job_progress({"data_total": 200, "data_remaining": 0}) == (99.0, 0)
    assert job_progress({"type": 2}) == (None, None)


def test_a_running_vm() -> None:
    first = vm_statistics(DOMSTATS)
    assert (first.state, first.state_reason) == (VmState.RUNNING, "migrated")
    assert first.cpu_percent is None
    assert (first.memory_bytes, first.memory_used_bytes) == (512 * 1024**2, 172_540 * 1024)
    (disk,) = first.blocks
    assert (disk.target, disk.virtual_bytes, disk.allocated_bytes) == ("vda", 1_000, 100)
    later = vm_statistics(DOMSTATS | {"cpu.time": 4_000_000_000}, first, 1.0)
    assert later.cpu_percent == 50.0


def test_a_vm_that_was_started_again_has_no_load_yet() -> None:
    first = vm_statistics(DOMSTATS)
    assert vm_statistics(DOMSTATS | {"cpu.time": 10}, first, 1.0).cpu_percent is None
    assert vm_statistics(DOMSTATS, first, 0.0).cpu_percent is None


def test_states_and_reasons() -> None:
    assert vm_state(5) is VmState.SHUT_OFF
    assert state_reason(VmState.SHUT_OFF, 4) == "migrated"
    assert state_reason(VmState.PAUSED, 13) == "post-copy failed"
    assert state_reason(VmState.RUNNING, 99) == ""
    assert vm_state(99) is VmState.UNKNOWN


@given(raw_dicts)
def test_nothing_libvirt_could_send_breaks_them(raw: dict[str, Any]) -> None:
    reading = job_sample(raw, 1.0)
    assert reading.pass_number >= 1
    assert reading.remaining_bytes >= 0
    completed(raw)
    percent, _left = job_progress(raw)
    assert percent is None or 0 <= percent <= 99
    stats: VmStats = vm_statistics(raw, vm_statistics(raw), 1.0)
    assert stats.cpu_percent is None or 0 <= stats.cpu_percent <= 100
