"""A VM's whole definition on one host: read, put on another, taken away, started and shut down.
Blocking, for `Lane.call`.

What is put at a target first cannot be started there (`target_xml.guarded`): so two hosts that
have the definition at once never run it twice.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import libvirt

from backend.errors import NO_DOMAIN, OPERATION_INVALID, HypervisorError
from backend.hypervisor.connection import Connection
from backend.hypervisor.devices_xml import text
from backend.hypervisor.domain_xml import parse_domain, parse_xml
from backend.hypervisor.target_xml import Changes, is_guarded, snapshot_at_target

_WHOLE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


@dataclass(frozen=True, slots=True)
class WholeVm:
    """All that libvirt keeps of a persistent VM beside its disks. The documents may hold the
    passwords of its displays: they are never logged."""

    xml: str
    """The stored definition."""
    snapshots: tuple[str, ...]
    """Their documents, parents first."""
    current_snapshot: str | None
    """Its name."""
    nvram: str | None
    """Path of the UEFI variables."""
    tpm: bool
    """It has an emulated TPM, whose state lies in files of the host."""

    def __repr__(self) -> str:
        return f"WholeVm({len(self.snapshots)} snapshots)"


def read_whole(conn: Connection, uuid: str) -> WholeVm:
    """The stored definition and the snapshots' metadata of a persistent VM."""
    dom = conn.lookupByUUIDString(uuid)
    xml = dom.XMLDesc(_WHOLE)
    config = parse_domain(xml)
    current = dom.hasCurrentSnapshot(0)
    return WholeVm(
        xml=xml,
        snapshots=_snapshots(dom),
        current_snapshot=str(dom.snapshotCurrent(0).getName()) if current else None,
        nvram=config.nvram,
        tpm=bool(config.tpm and config.tpm.startswith("emulator")),
    )


def _snapshots(dom: Any) -> tuple[str, ...]:
    parents_first = libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL
    found = dom.listAllSnapshots(parents_first)
    return tuple(one.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE) for one in found)


def define(conn: Connection, xml: str) -> None:
    """Store a definition; one of the same UUID is replaced."""
    conn.defineXML(xml)


def redefine_snapshots(
    conn: Connection, uuid: str, snapshots: Sequence[str], current: str | None
) -> None:
    """Make the snapshots' metadata known, without touching an image."""
    dom = conn.lookupByUUIDString(uuid)
    redefine = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
    for xml in snapshots:
        is_current = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT if _named(xml, current) else 0
        dom.snapshotCreateXML(xml, redefine | is_current)


def repoint_snapshots(conn: Connection, uuid: str, changes: Changes) -> None:
    """Let the snapshots' metadata name the images of a VM at their new places; again does no harm.
    To revert to one would else put the VM on an old image."""
    whole = read_whole(conn, uuid)
    moved = tuple(snapshot_at_target(one, changes) for one in whole.snapshots)
    redefine_snapshots(conn, uuid, moved, whole.current_snapshot)


def _named(xml: str, name: str | None) -> bool:
    return name is not None and text(parse_xml(xml), "name") == name


def take_away(conn: Connection, uuid: str, only_guarded: bool = False) -> bool:
    """Remove a definition that is shut off here, with its snapshots' metadata; images, NVRAM and
    TPM files stay. False when there is none.

    Raises:
        HypervisorError: It runs here, or `only_guarded` and it could be started here.
    """
    try:
        dom = conn.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == NO_DOMAIN:
            return False
        raise
    if dom.isActive():
        raise HypervisorError(
            f"{dom.name()} runs on that host: its definition is not removed.",
            "Shut it off first if it is the wrong copy.",
            OPERATION_INVALID,
        )
    xml = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if only_guarded and not is_guarded(xml):
        raise HypervisorError(
            f"{dom.name()} on that host was not put there by this move, or changed since.",
            "Look at both hosts before you undefine one.",
            OPERATION_INVALID,
        )
    dom.undefineFlags(_undefine_flags(dom, xml))
    return True


def _undefine_flags(dom: Any, xml: str) -> int:
    config = parse_domain(xml)
    flags = libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    flags |= libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    if config.nvram:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    if config.tpm:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
    return int(flags)


def read_guard(conn: Connection, uuid: str) -> bool:
    """Whether the definition here is one that cannot be started yet; False when there is none."""
    with contextlib.suppress(libvirt.libvirtError):
        xml = conn.lookupByUUIDString(uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        return is_guarded(xml)
    return False


def shut_down(conn: Connection, uuid: str) -> None:
    """Ask the guest to end, by its agent or its power button; one that has ended is no error."""
    try:
        conn.lookupByUUIDString(uuid).shutdown()
    except libvirt.libvirtError as error:
        if error.get_error_code() != OPERATION_INVALID:
            raise


def start(conn: Connection, uuid: str) -> None:
    """Start it; one that runs already is no error."""
    dom = conn.lookupByUUIDString(uuid)
    if not dom.isActive():
        dom.create()
