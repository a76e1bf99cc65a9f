"""Whether a host can run a VM's CPU and machine. Blocking, for `Lane.call`.

`compareHypervisorCPU` with the VM's own emulator, machine and virt type; not `compareCPU`,
which compares with the host's CPU and is wrong for emulated guests.
"""

import re
from dataclasses import dataclass

import libvirt

from backend.errors import plain
from backend.hypervisor.connection import Connection
from backend.hypervisor.devices_xml import attribute
from backend.hypervisor.domain_xml import parse_xml

_INCOMPATIBLE = 91
_FEATURES = re.compile(r"features?:\s*([\w.,\- ]+)")


@dataclass(frozen=True, slots=True)
class CpuFit:
    """Whether a host can give a VM its CPU."""

    fits: bool
    missing: tuple[str, ...] = ()
    """Names of the CPU features the host lacks, where libvirt names them."""
    message: str = ""
    """libvirt's own words when it does not fit."""


def compare_cpu(
    conn: Connection, emulator: str, arch: str, machine: str, virt_type: str, cpu_xml: str
) -> CpuFit:
    """Compare a `<cpu>` element with what this host's hypervisor can provide."""
    flags = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
    try:
        result = conn.compareHypervisorCPU(
            emulator or None, arch or None, machine or None, virt_type or None, cpu_xml, flags
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() != _INCOMPATIBLE:
            raise
        message = plain(error.get_error_message() or "")
        return CpuFit(False, missing_features(message), message)
    return CpuFit(result != libvirt.VIR_CPU_COMPARE_INCOMPATIBLE)


def missing_features(message: str) -> tuple[str, ...]:
    """The feature names at the end of libvirt's message; empty where it names none."""
    found = _FEATURES.search(message)
    if not found:
        return ()
    return tuple(name for name in re.split(r"[,\s]+", found.group(1)) if name)


def migratable_xml(conn: Connection, uuid: str, secure: bool = False) -> str:
    """The running VM's XML as libvirt would send it: with the CPU its guest really has.

    `secure` adds passwords, needed for a `dest_xml`.
    """
    flags = libvirt.VIR_DOMAIN_XML_MIGRATABLE | (libvirt.VIR_DOMAIN_XML_SECURE if secure else 0)
    return str(conn.lookupByUUIDString(uuid).XMLDesc(flags))


def supported_machines(
    conn: Connection, arch: str, virt_type: str, emulator: str = ""
) -> frozenset[str]:
    """Every machine type, and alias, this host offers; `emulator` empty: any."""
    root = parse_xml(conn.getCapabilities())
    found: set[str] = set()
    for guest_arch in root.findall("guest/arch"):
        if guest_arch.get("name") != arch:
            continue
        for domain in guest_arch.findall("domain"):
            if domain.get("type") != virt_type:
                continue
            binary = (domain.findtext("emulator") or guest_arch.findtext("emulator") or "").strip()
            if emulator and binary != emulator:
                continue
            machines = domain.findall("machine") or guest_arch.findall("machine")
            for machine in machines:
                found.update(((machine.text or "").strip(), attribute(machine, "canonical")))
    return frozenset(found - {""})
