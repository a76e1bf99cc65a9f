"""Reading VMs and hosts from libvirt's test driver, one VM and two thousand."""

import time
import uuid as uuids
from pathlib import Path

import pytest

from backend.errors import HypervisorError
from backend.hypervisor import cpu, domains, host, tuning, volumes
from backend.hypervisor.connection import Lane
from backend.hypervisor.domain_xml import parse_domain
from backend.hypervisor.stats import vm_statistics
from backend.model import VmState

TEST_UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
NOWHERE = "00000000-0000-4000-8000-000000000000"


def many_vms(path: Path, count: int) -> str:
    vm = (
        "<domain type='test'><name>vm-{n}</name><uuid>{uuid}</uuid><memory>8192</memory>"
        "<vcpu>2</vcpu><os><type arch='i686'>hvm</type></os></domain>"
    )
    body = "".join(vm.format(n=n, uuid=uuids.UUID(int=n + 1)) for n in range(count))
    path.write_text(f"<node>{body}</node>")
    return f"test://{path}"


async def test_statistics_and_definition_of_one_vm(lane: Lane) -> None:
    (record,) = await lane.call(domains.read_statistics)
    assert (record.uuid, record.name) == (TEST_UUID, "test")
    assert vm_statistics(record.raw).state is VmState.RUNNING
    (raw,) = await lane.call(domains.read_configs)
    assert (raw.active, raw.persistent, raw.autostart, raw.snapshots) == (True, True, False, 0)
    assert raw.inactive_xml is not None
    config = parse_domain(raw.xml)
    assert (config.name, config.uuid, config.virt_type) == ("test", TEST_UUID, "test")
    assert config.memory_bytes == 8 * 1024**3
    assert await lane.call(lambda conn: domains.read_config(conn, TEST_UUID)) == raw


async def test_presence_through_a_vms_life(lane: Lane) -> None:
    def look(conn: object) -> domains.Presence:
        return domains.presence(conn, TEST_UUID)

    here = await lane.call(look)
    assert (here.defined, here.active, here.state) == (True, True, VmState.RUNNING)
    with pytest.raises(HypervisorError, match="runs on that host"):
        await lane.call(lambda conn: domains.undefine(conn, TEST_UUID))
    await lane.call(lambda conn: domains.set_autostart(conn, TEST_UUID, True))
    assert (await lane.call(look)).autostart
    await lane.call(lambda conn: bool(conn.lookupByUUIDString(TEST_UUID).destroy()))
    off = await lane.call(look)
    assert (off.active, off.state, off.state_reason) == (False, VmState.SHUT_OFF, "destroyed")
    assert await lane.call(lambda conn: domains.find_named(conn, "test")) == TEST_UUID
    await lane.call(lambda conn: domains.undefine(conn, TEST_UUID))
    assert await lane.call(look) is domains.ABSENT
    assert await lane.call(lambda conn: domains.find_named(conn, "test")) is None


async def test_only_half_of_a_vm_is_ended(lane: Lane) -> None:
    for is_paused in (False, True):
        if is_paused:
            await lane.call(lambda conn: bool(conn.lookupByUUIDString(TEST_UUID).suspend()))
        with pytest.raises(HypervisorError, match="not half of a VM"):
            await lane.call(lambda conn: domains.end_half(conn, TEST_UUID))
        here = await lane.call(lambda conn: domains.presence(conn, TEST_UUID))
        assert (here.defined, here.active) == (True, True)


async def test_what_is_not_there_is_none_not_an_error(lane: Lane) -> None:
    for function in (
        domains.read_job,
        domains.read_completed,
        domains.read_active_job,
        tuning.read_pause_limit,
        tuning.read_bandwidth,
    ):
        assert await lane.call(lambda conn, f=function: f(conn, NOWHERE)) is None  # type: ignore[misc]


async def test_the_host(lane: Lane) -> None:
    identity = await lane.call(host.read_identity)
    assert identity.cpus == 16
    assert identity.memory_bytes == 3 * 1024**3
    assert identity.hostname
    (network,) = await lane.call(host.read_networks)
    assert (network.name, network.active, network.bridge) == ("default", True, "virbr0")
    (pool,) = await lane.call(volumes.read_pools)
    assert (pool.name, pool.kind, pool.active, pool.path) == (
        "default-pool",
        "dir",
        True,
        "/default-pool",
    )
    machines = await lane.call(lambda conn: cpu.supported_machines(conn, "i686", "test"))
    assert machines == frozenset()


async def test_two_thousand_vms(tmp_path: Path) -> None:
    lane = Lane("kvm-a", "control", many_vms(tmp_path / "node.xml", 2000))
    await lane.open()
    begun = time.monotonic()
    records = await lane.call(domains.read_statistics)
    assert len(records) == 2000
    assert time.monotonic() - begun < 2.0
    wanted = {record.uuid for record in records[:50]}
    raw = await lane.call(lambda conn: domains.read_configs(conn, wanted))
    assert {one.uuid for one in raw} == wanted
    await lane.close()
