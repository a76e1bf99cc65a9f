"""Plans, VMs and hosts as placement and order take them."""

from backend.model import (
    DiskAction,
    DiskMove,
    Finding,
    Host,
    HostState,
    Mode,
    Plan,
    Severity,
    Tags,
    Tuning,
    Vm,
    VmState,
)
from backend.plan.move_course import is_heavy
from backend.plan.policy import BALANCED
from backend.plan.queue_made import (
    blocked_by,
    move_of,
    need_of,
    pool_needs_by,
    pools_by,
    residents_of,
    room_of,
)
from backend.plan.queue_types import LinkMap
from backend.plan.running import Prior
from backend.plan.shares import alone_bytes_s, completed
from backend.plan.writes import Count

GIB = 2**30
VM = Vm("u1", "db", "a", VmState.RUNNING, vcpus=4, cpu_usual_percent=50.0, memory_bytes=GIB)
DISK = DiskMove(
    "vda", DiskAction.COPY, virtual_bytes=GIB, pool="default", destination="/i/x", room_bytes=9
)
FINDINGS = (
    Finding("a", "cpu", Severity.OK, "fine"),
    Finding("b", "memory", Severity.BLOCK, "no room"),
    Finding("c", "cpu", Severity.BLOCK, "no CPU"),
)
PLAN = Plan("db", "u1", "a", "b", (), BALANCED, tuning=Tuning(50), disks=(DISK,), deadline_s=60.0)


def test_a_running_vm_needs_its_memory_and_cpus_and_one_shut_off_none() -> None:
    need = need_of(VM)
    assert (need.memory_bytes, need.cpus_used, need.host) == (GIB, 2.0, "a")
    assert need_of(VM, 5).memory_bytes == 5
    off = need_of(Vm("u2", "off", "a", VmState.SHUT_OFF, vcpus=4, memory_bytes=GIB))
    assert (off.memory_bytes, off.cpus_used) == (0, 0.0)


def test_a_host_that_is_not_up_is_closed() -> None:
    host = Host("b", HostState.UP, cpus=8, cpu_percent=25, memory_bytes=10, memory_used_bytes=4)
    assert (room_of(host).memory_free_bytes, room_of(host).cpus_used) == (6, 2.0)
    assert room_of(host, free_bytes=3).memory_free_bytes == 3
    assert room_of(Host("b", HostState.UNREACHABLE)).closed == "b is unreachable"
    assert room_of(host, closed="b is in maintenance").closed == "b is in maintenance"


def test_only_vms_with_groups_that_stay_are_residents() -> None:
    grouped = Vm("u3", "x", "b", VmState.RUNNING, tags=Tags(apart=("g",)))
    assert [one.name for one in residents_of((VM, grouped), (need_of(VM),))] == ["x"]
    assert residents_of((grouped,), (need_of(grouped),)) == ()


def test_a_plan_tells_what_blocks_it_and_what_its_disks_take() -> None:
    blocked = Plan("db", "u1", "a", "b", FINDINGS, BALANCED)
    assert blocked_by((blocked, PLAN)) == {("u1", "b"): "no room"}
    [need] = pool_needs_by((PLAN,))["u1", "b"]
    assert (need.pool, need.path, need.bytes) == ("default", "/i/x", DISK.needed_bytes)
    assert pools_by((PLAN,)) == {"b": {"default": 9}}


def test_a_plan_becomes_a_move_as_far_as_its_vm_is_known() -> None:
    counts = (Count(4.0, 40e6, 1e5), Count(8.0, 80e6, 1e5))
    move = move_of(PLAN, Prior(counts, 2e8, 5e8, 0.5, link_bytes_s=25e6), copied_bytes=7)
    assert move.memory is not None
    assert move.memory.first_pass_bytes == 2e8
    assert 5e6 < move.memory.writing.rate_bytes_s < 20e6
    assert (move.disk_bytes, move.policy, move.deadline_s) == (7, BALANCED, 60.0)
    unknown = move_of(PLAN, Prior())
    assert (unknown.memory, unknown.policy) == (None, None)
    off = Plan("db", "u1", "a", "b", (), BALANCED, mode=Mode.COLD)
    assert move_of(off, Prior(counts, 2e8, 5e8, 0.5, link_bytes_s=25e6)).memory is None


def test_a_vm_that_writes_much_is_heavy_also_where_its_link_could_not_be_measured() -> None:
    counts = (Count(4.0, 200e6, 1e5), Count(8.0, 400e6, 1e5))
    hot = move_of(PLAN, Prior(counts, 4e8, 5e8, 0.5))
    assert is_heavy(hot, alone_bytes_s(hot, completed(LinkMap(), (hot,))))
    quiet = move_of(PLAN, Prior((Count(4.0, 2e5, 1e5),), 1e8, 5e8, 0.5))
    assert not is_heavy(quiet, alone_bytes_s(quiet, completed(LinkMap(), (quiet,))))
