"""Pools and volumes of libvirt's test driver: made, found, described, deleted."""

import pytest

from backend.errors import HypervisorError
from backend.hypervisor import volumes
from backend.hypervisor.connection import Lane
from backend.hypervisor.domain_xml import parse_xml

POOL = "default-pool"
GIB = 2**30


async def test_pools_with_what_is_in_them(lane: Lane) -> None:
    path = await lane.call(lambda conn: volumes.create(conn, POOL, "a.qcow2", "qcow2", GIB))
    assert path == "/default-pool/a.qcow2"
    (pool,) = await lane.call(lambda conn: volumes.read_pools(conn, True))
    assert pool.volumes == {"a.qcow2"}
    assert pool.available_bytes > 0
    assert await lane.call(lambda conn: volumes.pool_of(conn, path)) == POOL
    assert await lane.call(lambda conn: volumes.pool_of(conn, "/default-pool/unseen")) == POOL
    assert await lane.call(lambda conn: volumes.pool_of(conn, "/nowhere/x")) is None
    assert await lane.call(lambda conn: volumes.volume_path(conn, POOL, "a.qcow2")) == path


async def test_what_is_there_is_not_created_again(lane: Lane) -> None:
    await lane.call(lambda conn: volumes.create(conn, POOL, "a", "raw", GIB))
    with pytest.raises(HypervisorError):
        await lane.call(lambda conn: volumes.create(conn, POOL, "a", "raw", GIB))


async def test_a_volume_is_deleted_only_by_name_and_path(lane: Lane) -> None:
    path = await lane.call(lambda conn: volumes.create(conn, POOL, "a", "raw", GIB))
    with pytest.raises(HypervisorError, match="lies at"):
        await lane.call(lambda conn: volumes.delete(conn, POOL, "a", "/elsewhere/a"))
    assert await lane.call(lambda conn: volumes.delete(conn, POOL, "a", path))
    assert not await lane.call(lambda conn: volumes.delete(conn, POOL, "a", path))


@pytest.mark.parametrize(
    "source", ["type='file' {}='/default-pool/a'", "type='volume' pool='default-pool' volume='a'"]
)
async def test_a_volume_that_a_vm_names_is_not_deleted(lane: Lane, source: str) -> None:
    path = await lane.call(lambda conn: volumes.create(conn, POOL, "a", "raw", GIB))
    kind, _, rest = source.replace("{}", "file").partition(" ")
    xml = (
        "<domain type='test'><name>user-1</name><memory>8192</memory><os><type>hvm</type></os>"
        f"<devices><disk {kind} device='disk'><source {rest}/><target dev='vda'/></disk>"
        "</devices></domain>"
    )
    await lane.call(lambda conn: bool(conn.defineXML(xml)))
    with pytest.raises(HypervisorError, match="user-1 uses"):
        await lane.call(lambda conn: volumes.delete(conn, POOL, "a", path))


async def test_an_image_outside_every_pool_is_not_deleted(lane: Lane) -> None:
    with pytest.raises(HypervisorError, match="no storage pool"):
        await lane.call(lambda conn: volumes.delete_image(conn, "/data/a"))


@pytest.mark.parametrize("name", ["a", "<x/>&'\"", "a b", "ä"])
def test_a_volumes_name_is_only_a_name(name: str) -> None:
    root = parse_xml(volumes.volume_xml(name, "qcow2", GIB, 2**21))
    assert root.findtext("target/clusterSize") == "2097152"
    assert root.findtext("name") == name
    assert [element.tag for element in root] == ["name", "capacity", "allocation", "target"]
    assert root.findtext("capacity") == str(GIB)
    assert root.findtext("target/compat") == "1.1"
