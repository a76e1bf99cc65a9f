"""Storage pools and volumes: listed, looked up, created, described, deleted. Blocking, for
`Lane.call`.

A volume is only ever deleted by pool, name and path together, and libvirt refuses to create one
over a file that is there.
"""

import contextlib
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import libvirt

from backend.errors import BadDocument, HypervisorError, word
from backend.hypervisor.connection import Connection
from backend.hypervisor.devices_xml import attribute, exact_text, text
from backend.hypervisor.domain_xml import parse_domain, parse_xml

_POOL_RUNNING = 2
FILE_POOLS = ("dir", "fs", "netfs")
"""Kinds of pool whose volumes are files of any format."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A storage pool; sizes are 0 while it is inactive."""

    name: str
    kind: str
    """dir, fs, netfs, logical, rbd, ..."""
    active: bool
    path: str
    source: str
    """What a network pool mounts: `host:/export`; empty for local ones."""
    capacity_bytes: int
    available_bytes: int
    volumes: frozenset[str] = frozenset()
    """Names, as libvirt last saw them; only where they were asked for."""
    autostart: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as libvirt sees it."""

    path: str
    format: str
    virtual_bytes: int
    allocated_bytes: int


@dataclass(frozen=True, slots=True)
class DiskSize:
    """One disk of a running VM, as its QEMU says."""

    virtual_bytes: int
    allocated_bytes: int
    """What the image takes of its storage."""


def read_pools(conn: Connection, with_volumes: bool = False) -> list[Pool]:
    """All storage pools, by name; those that vanish meanwhile are left out."""
    found = []
    for pool in conn.listAllStoragePools(0):
        try:
            found.append(_read_pool(pool, with_volumes))
        except (libvirt.libvirtError, BadDocument):
            continue
    return sorted(found, key=lambda pool: pool.name)


def pools_if_any(conn: Connection) -> tuple[Pool, ...]:
    """The same; none where the host has no storage driver."""
    with contextlib.suppress(libvirt.libvirtError):
        return tuple(read_pools(conn))
    return ()


def _read_pool(pool: Any, with_volumes: bool) -> Pool:
    root = parse_xml(pool.XMLDesc(0))
    state, capacity, _allocation, available = pool.info()
    active = state == _POOL_RUNNING
    return Pool(
        name=pool.name(),
        kind=attribute(root, "type"),
        active=active,
        path=exact_text(root, "target/path"),
        source=_pool_source(root),
        capacity_bytes=capacity,
        available_bytes=available,
        volumes=frozenset(pool.listVolumes()) if with_volumes and active else frozenset(),
        autostart=bool(pool.autostart()) if pool.isPersistent() else False,
    )


def _pool_source(root: Element) -> str:
    host = attribute(root.find("source/host"), "name")
    where = attribute(root.find("source/dir"), "path") or text(root, "source/name")
    return f"{host}:{where}" if host else ""


def pool_of(conn: Connection, path: str) -> str | None:
    """The pool a path lies in: by its volume, or by the pool's directory where libvirt has not
    seen the file yet; None where it does not tell (some hosts have no storage driver)."""
    with contextlib.suppress(libvirt.libvirtError):
        return str(conn.storageVolLookupByPath(path).storagePoolLookupByVolume().name())
    with contextlib.suppress(libvirt.libvirtError):
        folder = posixpath.dirname(path)
        return next((pool.name for pool in read_pools(conn) if pool.path == folder), None)
    return None


def volume_path(conn: Connection, pool: str, name: str) -> str:
    """Where a volume that a domain names by pool lies."""
    return str(conn.storagePoolLookupByName(pool).storageVolLookupByName(name).path())


def capacities(conn: Connection, paths: Iterable[str]) -> dict[str, int]:
    """Virtual sizes of the volumes at these paths, of those that libvirt has seen."""
    found = {}
    for path in paths:
        with contextlib.suppress(libvirt.libvirtError):
            found[path] = int(conn.storageVolLookupByPath(path).info()[1])
    return found


def disk_sizes(conn: Connection, uuid: str, targets: Iterable[str]) -> dict[str, DiskSize]:
    """The sizes of a running VM's disks; those of which QEMU does not tell are left out. Never
    the length of a file: that is its format's."""
    dom, found = conn.lookupByUUIDString(uuid), {}
    for target in targets:
        with contextlib.suppress(libvirt.libvirtError):
            capacity, allocation, physical = dom.blockInfo(target, 0)
            # Of a running VM `physical` is what QEMU calls the actual size; `allocation` counts
            # only what was written since its start.
            found[target] = DiskSize(int(capacity), int(physical or allocation or capacity))
    return found


def volume_xml(name: str, format: str, virtual_bytes: int, cluster_bytes: int | None = None) -> str:
    """A sparse volume; nothing in it can break out of its element. libvirt takes a size of clusters
    from 7.4 on, and does not see it before."""
    root = Element("volume")
    SubElement(root, "name").text = name
    SubElement(root, "capacity", unit="bytes").text = str(virtual_bytes)
    SubElement(root, "allocation", unit="bytes").text = "0"
    target = SubElement(root, "target")
    SubElement(target, "format", type=format)
    if format == "qcow2":
        # The default, 0.10, has no zero clusters: holes of the source would be written out.
        SubElement(target, "compat").text = "1.1"
        if cluster_bytes is not None:
            SubElement(target, "clusterSize", unit="B").text = str(cluster_bytes)
    return ElementTree.tostring(root, "unicode")


def create(
    conn: Connection,
    pool: str,
    name: str,
    format: str,
    virtual_bytes: int,
    cluster_bytes: int | None = None,
) -> str:
    """Make an empty sparse volume; returns its path. Refused where a file of that name exists."""
    storage = conn.storagePoolLookupByName(pool)
    volume = storage.createXML(volume_xml(name, format, virtual_bytes, cluster_bytes), 0)
    return str(volume.path())


def refresh(conn: Connection, pool: str) -> None:
    """Make libvirt look at what lies in a pool."""
    conn.storagePoolLookupByName(pool).refresh(0)


def delete(conn: Connection, pool: str, name: str, path: str) -> bool:
    """Remove a volume; False when it is gone already. Refused if it lies elsewhere than at `path`
    or a VM of that host names it."""
    storage = conn.storagePoolLookupByName(pool)
    volume = _seen(storage, name)
    if volume is None:
        # What was made or renamed behind its back, or before a restart, libvirt has not seen yet.
        storage.refresh(0)
        volume = _seen(storage, name)
    if volume is None:
        return False
    if volume.path() != path:
        raise HypervisorError(
            f"The volume {name} of pool {pool} lies at {volume.path()}, not at {path}.",
            "Nothing was removed: look at the pool.",
        )
    if user := used_by(conn, path, f"{pool}/{name}"):
        raise HypervisorError(f"{user} uses {path}: it is not removed.", "Look at that VM first.")
    if above := lying_on(conn, path):
        raise HypervisorError(f"{above} lies on {path}: it is not removed.", "Look at it first.")
    volume.delete(0)
    return True


def _seen(storage: Any, name: str) -> Any | None:
    try:
        return storage.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            return None
        raise


def delete_image(conn: Connection, path: str) -> None:
    """Remove a source's image; refused where no pool has it, or a VM of that host names it."""
    folder = pool_of(conn, path)
    if folder is None:
        raise HypervisorError(
            f"{path} lies in no storage pool.", f"Remove it there: rm {word(path)}"
        )
    conn.storagePoolLookupByName(folder).refresh(0)
    delete(conn, folder, posixpath.basename(path), path)


def describe(conn: Connection, path: str) -> Volume:
    """A file of a pool, looked at anew: its format and sizes as libvirt reads them."""
    pool = pool_of(conn, path)
    if pool is None:
        raise HypervisorError(f"{path} lies in no storage pool.", "")
    conn.storagePoolLookupByName(pool).refresh(0)
    volume = conn.storageVolLookupByPath(path)
    _kind, capacity, allocation = volume.info()
    root = parse_xml(volume.XMLDesc(0))
    kind = attribute(root.find("target/format"), "type", "raw")
    return Volume(path, kind, int(capacity), int(allocation))


def room_bytes(conn: Connection, pool: str) -> int:
    """What a pool has left, looked at anew."""
    storage = conn.storagePoolLookupByName(pool)
    storage.refresh(0)
    return int(storage.info()[3])


def lying_on(conn: Connection, path: str, look_anew: bool = False) -> str | None:
    """The first volume of a pool of files that has `path` as the image below it, as libvirt last
    saw them; `look_anew`: as they are now, which reads the head of every file."""
    for pool in conn.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        with contextlib.suppress(libvirt.libvirtError, BadDocument):
            if attribute(parse_xml(pool.XMLDesc(0)), "type") not in FILE_POOLS:
                continue
            if look_anew:
                pool.refresh(0)
            for volume in pool.listAllVolumes(0):
                if text(parse_xml(volume.XMLDesc(0)), "backingStore/path") == path:
                    return str(volume.path())
    return None


def image_paths(conn: Connection) -> tuple[tuple[str, str], ...]:
    """Path and format of the image of every disk that any VM of that host has, running or not."""
    found: dict[str, str] = {}
    for dom in conn.listAllDomains(0):
        for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
            with contextlib.suppress(libvirt.libvirtError, BadDocument):
                for disk in parse_domain(dom.XMLDesc(flags)).disks:
                    if (disk.source or "").startswith("/"):
                        found[disk.source or ""] = disk.format
    return tuple(found.items())


def used_by(conn: Connection, path: str, volume: str = "") -> str | None:
    """The first VM of that host whose disks, or the images below them, name a path (or, as
    `pool/name`, its volume): the running VM or its stored definition. One that cannot be read
    counts as a user."""
    for dom in conn.listAllDomains(0):
        for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
            if _names(dom, flags, {path, volume}):
                return str(dom.name())
    return None


def _names(dom: Any, flags: int, wanted: set[str]) -> bool:
    try:
        config = parse_domain(dom.XMLDesc(flags))
    except libvirt.libvirtError:
        return False  # it has gone meanwhile
    except BadDocument:
        return True
    named = {*config.backing_files, *(disk.source or "" for disk in config.disks)} - {""}
    return not named.isdisjoint(wanted)
