"""What libvirt tells about a host: identity, load, networks. Blocking, for `Lane.call`."""

from dataclasses import dataclass

import libvirt

from backend.errors import BadDocument
from backend.hypervisor.connection import Connection
from backend.hypervisor.devices_xml import attribute, text
from backend.hypervisor.domain_xml import parse_xml


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """What stays the same while a host is up. Versions as libvirt counts: 9000000 is 9.0.0."""

    hostname: str
    uuid: str
    """Two hosts with the same one refuse to migrate to each other."""
    libvirt_version: int
    hypervisor_version: int
    """QEMU's."""
    cpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class CpuCounters:
    """Nanoseconds since boot, all CPUs together."""

    busy_ns: int
    idle_ns: int


@dataclass(frozen=True, slots=True)
class HostMemory:
    """A host's memory."""

    total_bytes: int
    used_bytes: int
    """Caches counted as free."""


@dataclass(frozen=True, slots=True)
class Network:
    """A libvirt network."""

    name: str
    active: bool
    bridge: str
    """Empty for networks without one (macvtap, SR-IOV)."""


def read_identity(conn: Connection) -> HostIdentity:
    """Who the host is. The first time after its start the daemon may need seconds for it."""
    info = conn.getInfo()
    return HostIdentity(
        hostname=conn.getHostname(),
        uuid=text(parse_xml(conn.getCapabilities()), "host/uuid"),
        libvirt_version=conn.getLibVersion(),
        hypervisor_version=conn.getVersion(),
        cpus=info[2],
        memory_bytes=_memory_bytes(conn, info[1]),
    )


def _memory_bytes(conn: Connection, info_mib: int) -> int:
    """The kernel's own total: `getInfo` was seen to give a third of it, and changing figures."""
    try:
        return read_memory(conn).total_bytes or info_mib * 1024 * 1024
    except libvirt.libvirtError:
        return info_mib * 1024 * 1024


def read_cpu_counters(conn: Connection) -> CpuCounters:
    """The host's CPU time; the difference of two readings is its load."""
    stats = conn.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0)
    idle = int(stats.get("idle", 0)) + int(stats.get("iowait", 0))
    return CpuCounters(int(stats.get("user", 0)) + int(stats.get("kernel", 0)), idle)


def read_memory(conn: Connection) -> HostMemory:
    """The host's memory now."""
    stats = conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    free = sum(int(stats.get(key, 0)) for key in ("free", "buffers", "cached"))
    total = int(stats.get("total", 0))
    return HostMemory(total * 1024, max(0, total - free) * 1024)


def read_free_hugepage_bytes(conn: Connection, page_bytes: int) -> int:
    """Free huge pages of one size over all NUMA nodes; 0 where the host has none of that size."""
    size_kib = page_bytes // 1024
    try:
        nodes = conn.getFreePages([size_kib], 0, conn.getInfo()[4], 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_NO_SUPPORT):
            return 0
        raise
    return sum(int(node.get(size_kib, 0)) for node in nodes.values()) * page_bytes


def read_networks(conn: Connection) -> list[Network]:
    """All libvirt networks, by name."""
    found = []
    for network in conn.listAllNetworks(0):
        try:
            root = parse_xml(network.XMLDesc(0))
            bridge = attribute(root.find("bridge"), "name")
            found.append(Network(network.name(), bool(network.isActive()), bridge))
        except (libvirt.libvirtError, BadDocument):
            continue
    return sorted(found, key=lambda network: network.name)
