"""The parts of a domain's XML that matter here, read defensively. Pure.

A domain's XML comes from a host, and parts of it (names, titles, metadata) from whoever made
the VM. A document type, hence any entity, is refused; anything unreadable is a `BadDocument`;
no other exception leaves `parse_domain`.
"""

import re
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from backend.errors import BadDocument, plain
from backend.hypervisor.devices_xml import (
    attribute,
    backing_files,
    character_files,
    describe_filesystem,
    describe_hostdev,
    describe_tpm,
    exact_attribute,
    exact_text,
    read_disk,
    read_nic,
    text,
)
from backend.hypervisor.metadata import read_metadata
from backend.model import Disk, Nic
from backend.model.tags import UNTAGGED, Tags

MAX_XML_CHARS = 8 * 1024 * 1024
"""libvirt's own limit for a string on the wire is 4 MiB."""

MAX_DEPTH = 200
"""Of elements in each other: libvirt has about ten, and what writes them out recurses."""
_MOST_BYTES = 2**60

_UNITS = {
    "b": 1,
    "bytes": 1,
    "kb": 1000,
    "k": 1024,
    "kib": 1024,
    "mb": 1000**2,
    "m": 1024**2,
    "mib": 1024**2,
    "gb": 1000**3,
    "g": 1024**3,
    "gib": 1024**3,
    "tb": 1000**4,
    "t": 1024**4,
    "tib": 1024**4,
}
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class MemoryBacking:
    """How the VM's memory is held on its host."""

    hugepages: bool = False
    hugepage_bytes: int | None = None
    """Of the first `<page>`; None: the host's default size."""
    locked: bool = False
    shared: bool = False
    source: str = "anonymous"
    """anonymous, file, memfd."""


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """What a domain's XML says of a VM. `None` and empty mean: it has none."""

    name: str
    uuid: str
    virt_type: str
    """kvm, qemu."""
    arch: str
    machine: str
    emulator: str
    memory_bytes: int
    """The most it can have (balloon full)."""
    vcpus: int
    """Now online; hot-pluggable ones not counted."""
    cpu_xml: str | None = None
    cpu_mode: str = ""
    """custom, host-model, host-passthrough, maximum; empty: the hypervisor's default."""
    cpu_model: str = ""
    cpu_required_features: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    backing_files: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()
    hostdevs: tuple[str, ...] = ()
    filesystems: tuple[str, ...] = ()
    shmems: tuple[str, ...] = ()
    memory_devices: tuple[str, ...] = ()
    """Models of hot-plugged memory: dimm, nvdimm, virtio-mem."""
    redirected_usb: int = 0
    tpm: str | None = None
    nvram: str | None = None
    """Path of the UEFI variables: at the source they stay behind."""
    boot_files: tuple[str, ...] = ()
    """Kernel, initrd, device tree, firmware: the target needs them at the same path."""
    character_files: tuple[str, ...] = ()
    memory_backing: MemoryBacking = MemoryBacking()
    pinned: bool = False
    """vCPUs or memory are bound to host CPUs or NUMA nodes."""
    seclabel: str | None = None
    """`dynamic selinux`, or None."""
    launch_security: str | None = None
    """sev, sev-snp, s390-pv, tdx: cannot migrate."""
    vsock: str | None = None
    """`auto`, or the fixed context id."""
    leases: tuple[str, ...] = ()
    reservations: bool = False
    """A disk uses SCSI persistent reservations."""
    secrets: tuple[str, ...] = ()
    """libvirt secrets (UUID or usage) its disks need at the target too."""
    title: str = ""
    policy: str | None = None
    """The policy its metadata names."""
    address: str | None = None
    """The network address its metadata names."""
    tags: Tags = UNTAGGED
    """Where its metadata says it may and should run."""

    @property
    def has_transient_disk(self) -> bool:
        """A `<transient/>` disk: libvirt refuses to migrate it."""
        return any(disk.transient for disk in self.disks)


def parse_domain(xml: str) -> DomainConfig:
    """Read a domain's XML.

    Raises:
        BadDocument: Not XML, not a domain, without name or UUID, or with a document type.
    """
    root = parse_xml(xml)
    name, uuid = exact_text(root, "name"), text(root, "uuid").lower()
    if root.tag != "domain" or not name or not uuid:
        raise BadDocument("A host sent a VM definition without a name or UUID.")
    devices = root.find("devices")
    devices = Element("devices") if devices is None else devices
    os_element, cpu = root.find("os"), root.find("cpu")
    os_type = os_element.find("type") if os_element is not None else None
    disks = devices.findall("disk")
    vsock = devices.find("vsock")
    metadata = read_metadata(root, name)
    return DomainConfig(
        name=name,
        uuid=uuid,
        virt_type=attribute(root, "type", "kvm"),
        arch=attribute(os_type, "arch"),
        machine=attribute(os_type, "machine"),
        emulator=exact_text(devices, "emulator"),
        memory_bytes=_size(root.find("memory")),
        vcpus=_vcpus(root.find("vcpu")),
        cpu_xml=_fragment(cpu),
        cpu_mode=_cpu_mode(cpu),
        cpu_model=text(cpu, "model"),
        cpu_required_features=_required_features(cpu),
        disks=tuple(read_disk(disk) for disk in disks),
        backing_files=tuple(dict.fromkeys(name for disk in disks for name in backing_files(disk))),
        nics=tuple(read_nic(interface) for interface in devices.findall("interface")),
        hostdevs=tuple(describe_hostdev(hostdev) for hostdev in devices.findall("hostdev")),
        filesystems=tuple(describe_filesystem(fs) for fs in devices.findall("filesystem")),
        shmems=tuple(attribute(shmem, "name", "?") for shmem in devices.findall("shmem")),
        memory_devices=tuple(attribute(m, "model", "dimm") for m in devices.findall("memory")),
        redirected_usb=len(devices.findall("redirdev")),
        tpm=_first(devices, "tpm"),
        nvram=exact_text(os_element, "nvram")
        or exact_attribute(_nvram_source(os_element), "file")
        or None,
        boot_files=_boot_files(os_element),
        character_files=character_files(devices),
        memory_backing=_memory_backing(root.find("memoryBacking")),
        pinned=_pinned(root),
        seclabel=_seclabel(root),
        launch_security=attribute(root.find("launchSecurity"), "type") or None,
        vsock=None if vsock is None else _vsock(vsock),
        leases=tuple(text(lease, "key", "?") for lease in devices.findall("lease")),
        reservations=devices.find("disk/source/reservations") is not None,
        secrets=_secrets(devices),
        title=text(root, "title"),
        policy=metadata.policy,
        address=metadata.address,
        tags=metadata.tags,
    )


class _NoDoctype(TreeBuilder):
    """Entities can only be declared in a document type; libvirt never sends one."""

    def doctype(self, _name: str, _pubid: str | None, _system: str | None) -> None:
        raise ValueError("it declares a document type")


def parse_xml(xml: str) -> Element:
    """Any document of libvirt's as its root element. Raises BadDocument."""
    if len(xml) > MAX_XML_CHARS:
        raise BadDocument("A host sent a definition of more than 8 MiB.")
    parser = XMLParser(target=_NoDoctype())
    try:
        parser.feed(xml)
        root = parser.close()
    except (ParseError, ValueError, LookupError) as error:
        raise BadDocument(
            f"A host sent a definition that cannot be read: {plain(str(error))}."
        ) from None
    if not isinstance(root, Element):
        raise BadDocument("A host sent an empty definition.")
    if xml.count("<") > MAX_DEPTH and _deeper(root, MAX_DEPTH):
        raise BadDocument(f"A host sent a definition of more than {MAX_DEPTH} levels.")
    return root


def _deeper(root: Element, limit: int) -> bool:
    """Whether it has more levels; without recursion, which would be the trouble."""
    level = [root]
    for _ in range(limit):
        level = [child for element in level for child in element]
        if not level:
            return False
    return True


def _int(value: str | None) -> int:
    found = _NUMBER.fullmatch((value or "").strip())
    return int(found.group()) if found else 0


def _size(element: Element | None, unit_name: str = "unit") -> int:
    """A size in bytes; libvirt's default unit is KiB."""
    if element is None:
        return 0
    unit = _UNITS.get((element.get(unit_name) or "KiB").lower(), 1024)
    return min(_int(element.text) * unit, _MOST_BYTES)


def _vcpus(element: Element | None) -> int:
    if element is None:
        return 1
    return _int(element.get("current")) or _int(element.text) or 1


def _fragment(element: Element | None) -> str | None:
    return None if element is None else ElementTree.tostring(element, "unicode").strip()


def _cpu_mode(cpu: Element | None) -> str:
    default = "custom" if cpu is not None and cpu.find("model") is not None else ""
    return attribute(cpu, "mode", default)


def _required_features(cpu: Element | None) -> tuple[str, ...]:
    if cpu is None:
        return ()
    wanted = ("require", "force")
    features = [f for f in cpu.findall("feature") if f.get("policy", "require") in wanted]
    return tuple(name for f in features if (name := attribute(f, "name")))


def _first(devices: Element, tag: str) -> str | None:
    element = devices.find(tag)
    return None if element is None else describe_tpm(element)


def _nvram_source(os_element: Element | None) -> Element | None:
    return None if os_element is None else os_element.find("nvram/source")


def _boot_files(os_element: Element | None) -> tuple[str, ...]:
    found = (exact_text(os_element, tag) for tag in ("loader", "kernel", "initrd", "dtb"))
    return tuple(path for path in found if path)


def _memory_backing(element: Element | None) -> MemoryBacking:
    if element is None:
        return MemoryBacking()
    hugepages = element.find("hugepages")
    page = hugepages.find("page") if hugepages is not None else None
    page_unit = _UNITS.get((attribute(page, "unit") or "KiB").lower(), 1024)
    return MemoryBacking(
        hugepages=hugepages is not None,
        hugepage_bytes=(
            (min(_int(page.get("size")) * page_unit, _MOST_BYTES) or None)
            if page is not None
            else None
        ),
        locked=element.find("locked") is not None,
        shared=attribute(element.find("access"), "mode") == "shared",
        source=attribute(element.find("source"), "type", "anonymous"),
    )


def _pinned(root: Element) -> bool:
    return (
        bool(attribute(root.find("vcpu"), "cpuset"))
        or bool(attribute(root.find("numatune/memory"), "nodeset"))
        or root.find("cputune/vcpupin") is not None
        or root.find("cputune/emulatorpin") is not None
    )


def _seclabel(root: Element) -> str | None:
    labels = [
        f"{attribute(label, 'type', 'dynamic')} {attribute(label, 'model')}".strip()
        for label in root.findall("seclabel")
        if label.get("type") != "none"
    ]
    return ", ".join(labels) or None


def _vsock(vsock: Element) -> str:
    cid = vsock.find("cid")
    return "auto" if attribute(cid, "auto") == "yes" else attribute(cid, "address", "auto")


def _secrets(devices: Element) -> tuple[str, ...]:
    found = [
        attribute(secret, "uuid") or attribute(secret, "usage")
        for disk in devices.findall("disk")
        for secret in disk.iter("secret")
    ]
    return tuple(dict.fromkeys(name for name in found if name))
