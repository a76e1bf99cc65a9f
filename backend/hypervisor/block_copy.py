"""A running VM's disk copied to another image of its host, and the VM put on it. Blocking, for
`Lane.call`.

libvirt 9.0 with QEMU 7.2, tried: a persistent VM needs TRANSIENT_JOB ("domain is not transient"
without); a pivot takes 10 ms, and is refused until the copy is ready; at the pivot libvirt changes
the stored definition too, where that names the same file as the running VM. The job belongs to
QEMU and outlives its libvirtd.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import libvirt

from backend.errors import NO_DOMAIN, OPERATION_INVALID
from backend.hypervisor.block_jobs import read_jobs
from backend.hypervisor.connection import Connection
from backend.hypervisor.domain_xml import parse_xml
from backend.hypervisor.target_xml import Changes, at_target

_SYNCHRONOUS_SINCE = 8_000_000
_STORED = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_GONE = (NO_DOMAIN, OPERATION_INVALID)


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """One disk of a VM as its host has it now; paths are empty where there is none."""

    live: str = ""
    """The image the running VM is on; of a disk named by pool and volume `pool/volume`."""
    stored: str = ""
    """What its next start would use."""
    mirror: str = ""
    """Where a block job copies it to."""
    ready: bool = False
    """That copy has everything and follows every write."""
    done_bytes: int = 0
    total_bytes: int = 0
    """Grows while the guest writes; 0: not known."""


@dataclass(frozen=True, slots=True)
class VmSeen:
    """A VM and the disks that were asked for; `defined` False: its host does not know it."""

    defined: bool = False
    active: bool = False
    persistent: bool = False
    disks: Mapping[str, DiskSeen] = field(default_factory=lambda: MappingProxyType({}))
    """By the disk's name in the guest."""


def look(conn: Connection, uuid: str, targets: tuple[str, ...]) -> VmSeen:
    """How these disks stand. A VM that is gone or shut off is no error."""
    try:
        dom = conn.lookupByUUIDString(uuid)
        active, persistent = bool(dom.isActive()), bool(dom.isPersistent())
        jobs = read_jobs(conn, uuid, targets) if active else {}
        running = _disks(dom.XMLDesc(0)) if active else {}
        stored = _disks(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) if persistent else {}
    except libvirt.libvirtError as error:
        if error.get_error_code() == NO_DOMAIN:
            return VmSeen()
        raise
    disks = {}
    for target in targets:
        job, live = jobs.get(target), running.get(target)
        mirror = live.find("mirror") if live is not None else None
        disks[target] = DiskSeen(
            live=_path(live),
            stored=_path(stored.get(target)),
            mirror=_mirrored_to(mirror),
            ready=mirror is not None and mirror.get("ready") == "yes",
            done_bytes=job.done_bytes if job else 0,
            total_bytes=job.total_bytes if job else 0,
        )
    return VmSeen(True, active, persistent, disks)


def start(
    conn: Connection,
    uuid: str,
    target: str,
    path: str,
    format: str,
    rate_bytes_s: int | None,
    granularity_bytes: int | None = None,
) -> None:
    """Begin to copy a disk into an image that is there and empty; returns at once.

    What the guest writes meanwhile goes to both: else a guest that writes as fast as the limit
    would never be through. (QEMU counts holes against the limit as if they were data.)
    `granularity_bytes`: how finely it looks at holes; None: as QEMU likes.
    """
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    if conn.getLibVersion() >= _SYNCHRONOUS_SINCE:
        flags |= libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
    parameters = {
        libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH: rate_bytes_s,
        libvirt.VIR_DOMAIN_BLOCK_COPY_GRANULARITY: granularity_bytes,
    }
    parameters = {name: value for name, value in parameters.items() if value}
    dom = conn.lookupByUUIDString(uuid)
    dom.blockCopy(target, destination_xml(path, format), parameters, flags)


def destination_xml(path: str, format: str) -> str:
    """What a block copy is told of its destination."""
    disk = Element("disk", type="file")
    SubElement(disk, "source", file=path)
    SubElement(disk, "driver", type=format)
    return ElementTree.tostring(disk, "unicode")


def set_rates(
    conn: Connection, uuid: str, targets: tuple[str, ...], rate_bytes_s: int | None
) -> None:
    """Limit copies that run, from now on; None lifts the limit. One that is over is no error."""
    flags = libvirt.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES
    dom = conn.lookupByUUIDString(uuid)
    for target in targets:
        if dom.blockJobInfo(target, 0):
            dom.blockJobSetSpeed(target, rate_bytes_s or 0, flags)


def pivot(conn: Connection, uuid: str, target: str) -> None:
    """Put the VM on the copy, which must be ready. An error does not say that it did not happen:
    look."""
    flags = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
    conn.lookupByUUIDString(uuid).blockJobAbort(target, flags)


def abort(conn: Connection, uuid: str, target: str) -> bool:
    """End a copy, the VM stays on its image; False when there was none. Returns when QEMU has let
    go of the copy."""
    try:
        dom = conn.lookupByUUIDString(uuid)
        if not dom.blockJobInfo(target, 0):
            return False
        dom.blockJobAbort(target, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _GONE:
            return False
        raise
    return True


def store(conn: Connection, uuid: str, paths: Mapping[str, str]) -> None:
    """Write new paths of disks into the stored definition; the rest stays as it is."""
    dom = conn.lookupByUUIDString(uuid)
    conn.defineXML(at_target(dom.XMLDesc(_STORED), Changes(disks=paths)))


def virsh_lines(
    uri: str, vm: str, copies: Mapping[str, tuple[str, str]], rate_bytes_s: int | None
) -> str:
    """The equal commands for a shell; `copies`: path and format by the disk's name. Nothing needs
    to be created before them."""
    lines = []
    for target, (path, format) in copies.items():
        words = ["virsh", "-c", uri, "blockcopy", vm, target, path, "--format", format]
        words += ["--pivot", "--verbose", "--wait", "--transient-job", "--synchronous-writes"]
        words += ["--bandwidth", str(rate_bytes_s), "--bytes"] if rate_bytes_s else []
        lines.append(shlex.join(words))
    return " && ".join(lines)


def _disks(xml: str) -> dict[str, Element]:
    found = parse_xml(xml).iterfind("devices/disk")
    return {_of(disk.find("target"), "dev"): disk for disk in found}


def _path(disk: Element | None) -> str:
    source = disk.find("source") if disk is not None else None
    if source is None:
        return ""
    if source.get("pool"):
        return f"{_of(source, 'pool')}/{_of(source, 'volume')}"
    return _of(source, "file") or _of(source, "dev")


def _mirrored_to(mirror: Element | None) -> str:
    """A mirror whose destination is no file counts as one all the same."""
    if mirror is None:
        return ""
    return _of(mirror, "file") or _of(mirror.find("source"), "file") or "?"


def _of(element: Element | None, name: str) -> str:
    """An attribute as it is: paths are compared."""
    return element.get(name, "") if element is not None else ""
