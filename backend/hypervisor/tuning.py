"""The two limits of a migration that can change while it runs: pause and bandwidth.

Blocking functions to be run by `Lane.call`. Both limits stay on the VM if the migration fails:
whoever sets one must put it back.
"""

import libvirt

from backend.errors import NO_DOMAIN, OPERATION_INVALID
from backend.hypervisor.connection import Connection

MIB = 1024 * 1024
UNLIMITED_MIB_S = (2**63 - 1) // MIB
"""What libvirt takes for "no limit": QEMU_DOMAIN_MIG_BANDWIDTH_MAX, the most that fits."""


def mib_per_s(rate_bytes_s: int | None) -> int:
    """libvirt's unit: MiB/s, rounded up, at least 1; None is unlimited."""
    if rate_bytes_s is None:
        return UNLIMITED_MIB_S
    return min(max(1, -(-rate_bytes_s // MIB)), UNLIMITED_MIB_S)


def read_pause_limit(conn: Connection, uuid: str) -> int | None:
    """The pause limit in ms; None while the VM is shut off or gone."""
    try:
        limit = conn.lookupByUUIDString(uuid).migrateGetMaxDowntime(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (NO_DOMAIN, OPERATION_INVALID):
            return None
        raise
    return int(limit) if limit is not None and limit >= 0 else None


def set_pause_limit(conn: Connection, uuid: str, pause_ms: int) -> None:
    """Set the pause limit; libvirt takes it before and during a migration (at least 1 ms)."""
    conn.lookupByUUIDString(uuid).migrateSetMaxDowntime(max(1, pause_ms), 0)


def read_bandwidth(conn: Connection, uuid: str) -> int | None:
    """The bandwidth limit in bytes/s; None when unlimited, or while the VM is shut off or gone.

    A limit given with the migrate call does not show here: only what `set_bandwidth` set.
    """
    try:
        limit = conn.lookupByUUIDString(uuid).migrateGetMaxSpeed(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (NO_DOMAIN, OPERATION_INVALID):
            return None
        raise
    return int(limit) * MIB if limit and limit < UNLIMITED_MIB_S else None


def read_limits(conn: Connection, uuid: str) -> tuple[int | None, int | None]:
    """Both: the pause in ms, the bandwidth in bytes/s."""
    return read_pause_limit(conn, uuid), read_bandwidth(conn, uuid)


def set_bandwidth(
    conn: Connection, uuid: str, rate_bytes_s: int | None, post_copy: bool = False
) -> None:
    """Limit the migration of a VM's memory; None lifts the limit.

    While the disk mirror of a live migration runs libvirt applies it to the memory only. Once a
    post-copy has begun QEMU goes by a limit of its own.
    """
    dom = conn.lookupByUUIDString(uuid)
    if post_copy:
        rate = 0 if rate_bytes_s is None else mib_per_s(rate_bytes_s)
        dom.migrateSetMaxSpeed(rate, libvirt.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY)
    else:
        dom.migrateSetMaxSpeed(mib_per_s(rate_bytes_s), 0)
