"""Pools and networks of libvirt's test driver: made ready, and put back only if they are ours."""

import pytest

from backend.errors import HypervisorError
from backend.hypervisor import networks, pools, volumes
from backend.hypervisor.connection import Connection, Lane
from backend.hypervisor.host import read_networks

XML = "<network><name>lan</name><bridge name='br-lan'/></network>"


def pool_names(conn: Connection) -> dict[str, bool]:
    return {pool.name: pool.active for pool in volumes.read_pools(conn)}


async def test_a_pool_is_made_and_removed_again(lane: Lane) -> None:
    mark = await lane.call(lambda conn: pools.create(conn, "fast", "/srv/fast", True))
    (fast,) = (p for p in await lane.call(volumes.read_pools) if p.name == "fast")
    assert (fast.active, fast.path, fast.autostart) == (True, "/srv/fast", True)
    with pytest.raises(HypervisorError, match="already"):
        await lane.call(lambda conn: pools.create(conn, "fast", "/elsewhere", False))
    await lane.call(lambda conn: pools.remove(conn, "fast", mark))
    assert "fast" not in await lane.call(pool_names)
    await lane.call(lambda conn: pools.remove(conn, "fast", mark))


async def test_a_pool_with_something_in_it_stays(lane: Lane) -> None:
    mark = await lane.call(lambda conn: pools.create(conn, "fast", "/srv/fast", False))
    await lane.call(lambda conn: volumes.create(conn, "fast", "a", "raw", 2**20))
    with pytest.raises(HypervisorError, match="holds 1 volume"):
        await lane.call(lambda conn: pools.remove(conn, "fast", mark))
    assert (await lane.call(pool_names))["fast"]


async def test_another_pool_of_that_name_is_not_touched(lane: Lane) -> None:
    mark = await lane.call(lambda conn: pools.create(conn, "fast", "/srv/fast", False))
    await lane.call(lambda conn: pools.remove(conn, "fast", mark))
    await lane.call(lambda conn: pools.create(conn, "fast", "/srv/fast", False))
    await lane.call(lambda conn: pools.remove(conn, "fast", mark))
    await lane.call(lambda conn: pools.stop(conn, "fast", mark))
    assert (await lane.call(pool_names))["fast"]


def stop_default(conn: Connection) -> None:
    conn.storagePoolLookupByName("default-pool").destroy()


async def test_a_pool_is_started_and_stopped_again(lane: Lane) -> None:
    assert await lane.call(lambda conn: pools.start(conn, "default-pool")) == ""
    await lane.call(stop_default)
    mark = await lane.call(lambda conn: pools.start(conn, "default-pool"))
    assert mark
    assert (await lane.call(pool_names))["default-pool"]
    await lane.call(lambda conn: pools.refresh(conn, "default-pool"))
    await lane.call(lambda conn: pools.stop(conn, "default-pool", mark))
    assert not (await lane.call(pool_names))["default-pool"]


def network_names(conn: Connection) -> dict[str, bool]:
    return {network.name: network.active for network in read_networks(conn)}


async def test_a_network_is_defined_and_removed_again(lane: Lane) -> None:
    mark = await lane.call(lambda conn: networks.define(conn, "lan", XML, True))
    assert (await lane.call(network_names))["lan"]
    with pytest.raises(HypervisorError, match="already"):
        await lane.call(lambda conn: networks.define(conn, "lan", XML, True))
    await lane.call(lambda conn: networks.remove(conn, "lan", "another"))
    assert "lan" in await lane.call(network_names)
    await lane.call(lambda conn: networks.remove(conn, "lan", mark))
    assert "lan" not in await lane.call(network_names)


def stop_network(conn: Connection) -> None:
    conn.networkLookupByName("default").destroy()


async def test_a_network_in_use_is_not_stopped(lane: Lane) -> None:
    """The driver's own VM is on it."""
    await lane.call(stop_network)
    mark = await lane.call(lambda conn: networks.start(conn, "default"))
    assert await lane.call(lambda conn: networks.start(conn, "default")) == ""
    with pytest.raises(HypervisorError, match="test is on the network default"):
        await lane.call(lambda conn: networks.stop(conn, "default", mark))
    with pytest.raises(HypervisorError, match="test is on the network default"):
        await lane.call(lambda conn: networks.remove(conn, "default", mark))
