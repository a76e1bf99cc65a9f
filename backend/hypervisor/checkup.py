"""What libvirt on one host tells to an examination of the fleet. Blocking, for `Lane.call`."""

from dataclasses import dataclass
from typing import Any

import libvirt

from backend.errors import NO_DOMAIN, BadDocument
from backend.hypervisor import tuning
from backend.hypervisor.connection import Connection
from backend.hypervisor.domain_xml import parse_domain
from backend.hypervisor.domains import read_active_job
from backend.hypervisor.stats import state_reason, vm_state
from backend.hypervisor.volumes import FILE_POOLS, read_pools
from backend.model import VmState


@dataclass(frozen=True, slots=True)
class DomainLook:
    """One VM as one host has it now."""

    uuid: str
    name: str
    state: VmState
    reason: str
    """`migrated`, `post-copy failed`, ...; empty when libvirt gives none."""
    saved: bool
    """It has a saved state from which it would start."""


@dataclass(frozen=True, slots=True)
class PoolLook:
    """An active pool of image files: where it is, and the names in it as libvirt last saw them."""

    name: str
    path: str
    volumes: frozenset[str]


@dataclass(frozen=True, slots=True)
class RunningLook:
    """What only the QEMU of a running VM, or who asks it, can tell."""

    job: str | None
    """migration out, migration in, save, ...; None when no job runs."""
    pause_ms: int | None = None
    """The limits that its next migration would be held to; not asked while one runs."""
    bandwidth_bytes_s: int | None = None
    """None: unlimited."""


def look_at_domains(conn: Connection) -> tuple[DomainLook, ...]:
    """All VMs, two short calls each at most, of which none waits for a QEMU; those that vanish
    meanwhile are left out."""
    found = []
    for dom in conn.listAllDomains(0):
        try:
            found.append(_look(dom))
        except libvirt.libvirtError as error:
            if error.get_error_code() != NO_DOMAIN:
                raise
    return tuple(found)


def _look(dom: Any) -> DomainLook:
    number, reason = dom.state(0)[:2]
    state = vm_state(number)
    return DomainLook(
        uuid=dom.UUIDString(),
        name=dom.name(),
        state=state,
        reason=state_reason(state, reason),
        saved=not state.active and bool(dom.hasManagedSaveImage(0)),
    )


def look_at_images(conn: Connection) -> dict[str, frozenset[str]]:
    """By UUID, the paths and `pool/volume`s that a VM names: running, stored, and below."""
    found = {}
    for dom in conn.listAllDomains(0):
        both = (_named(dom, flags) for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE))
        found[dom.UUIDString()] = frozenset[str]().union(*both)
    return found


def _named(dom: Any, flags: int) -> frozenset[str]:
    try:
        config = parse_domain(dom.XMLDesc(flags))
    except (libvirt.libvirtError, BadDocument):
        return frozenset()
    disks = (disk.source for disk in config.disks)
    return frozenset(path for path in (*disks, *config.backing_files, *config.boot_files) if path)


def look_at_pools(conn: Connection) -> tuple[PoolLook, ...]:
    """Active pools of files; nothing is refreshed."""
    pools = read_pools(conn, with_volumes=True)
    return tuple(
        PoolLook(pool.name, pool.path, pool.volumes)
        for pool in pools
        if pool.active and pool.kind in FILE_POOLS
    )


def look_at_running(conn: Connection, uuid: str) -> RunningLook:
    """May wait for its QEMU: one that hangs holds the call up, so use a lane that may be given
    up."""
    job = read_active_job(conn, uuid)
    if job is not None and "migration" in job.kind:
        return RunningLook(job.kind)
    pause_ms = tuning.read_pause_limit(conn, uuid)
    rate_bytes_s = tuning.read_bandwidth(conn, uuid)
    return RunningLook(job.kind if job else None, pause_ms, rate_bytes_s)
