"""How far a VM's disk mirrors are, asked disk by disk. Blocking, for `Lane.call`."""

from dataclasses import dataclass

import libvirt

from backend.errors import NO_DOMAIN, OPERATION_INVALID
from backend.hypervisor.connection import Connection

_ENDED = (NO_DOMAIN, OPERATION_INVALID)


@dataclass(frozen=True, slots=True)
class BlockJob:
    """One disk's job, as its QEMU says."""

    done_bytes: int
    total_bytes: int
    """Grows while the guest writes."""


def read_jobs(conn: Connection, uuid: str, targets: tuple[str, ...]) -> dict[str, BlockJob]:
    """The jobs of these disks; those that have none (not yet, or no more) are left out."""
    found: dict[str, BlockJob] = {}
    try:
        dom = conn.lookupByUUIDString(uuid)
        for target in targets:
            info = dom.blockJobInfo(target, 0)
            if info:
                found[target] = BlockJob(int(info["cur"]), int(info["end"]))
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _ENDED:
            raise
    return found
