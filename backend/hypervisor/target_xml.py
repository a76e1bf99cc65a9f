"""A domain's XML as the target is to have it: disks at new paths, networks by new names. Pure.

The document is changed in place and all the rest of it stays as libvirt wrote it, prefixes
included. What is put in becomes an attribute's value and can be nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from xml.dom import minidom
from xml.dom.minidom import Element, Text
from xml.parsers.expat import ExpatError

from backend.errors import BadDocument, BadInput, plain
from backend.hypervisor.domain_xml import parse_xml

_NAMING = ("file", "dev", "dir", "pool", "volume", "mode", "protocol", "name", "index")
"""Attributes of a `<source>` that say where the image lies."""
GUARD = "/virt-ferry/this-VM-is-still-being-moved-here-from-"
"""How the path of a kernel begins that keeps a VM from being started."""
_OWN_KERNEL = "//"
"""Then comes the kernel it had, which no path of libvirt's has twice in it."""
_NIC_KINDS = ("bridge", "network")
_RUNTIME = ("portid", "bridge")
"""What libvirt adds to the `<source>` of a running VM's network interface."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different at the target."""

    disks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Path of the image file, by the disk's name in the guest."""
    networks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """New name of a bridge or network, by its old one."""
    images: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """New path of an image, by its old one: for snapshots, which name images that are now below
    those of their disks."""
    detecting: frozenset[str] = frozenset()
    """Disks whose QEMU is to find zeroes in what is written to them, by their name in the guest:
    for what runs, not for what is stored."""

    def __bool__(self) -> bool:
        return bool(self.disks or self.networks or self.images or self.detecting)


def at_target(xml: str, changes: Changes) -> str:
    """The same VM with `changes`; disks and interfaces that it does not have are no error.

    Raises:
        BadDocument: It cannot be read.
        BadInput: A new name has characters that XML cannot carry.
    """
    for name in (*changes.disks.values(), *changes.networks.values()):
        if not name.isprintable():
            raise BadInput(f"{name!r} cannot be a path or name.", "Use printable characters.")
    root = _parsed(xml)
    _change(root, changes)
    return root.toxml()


def snapshot_at_target(xml: str, changes: Changes) -> str:
    """The document of a snapshot, with the VM's definition in it changed likewise.

    Raises:
        BadDocument: It cannot be read.
    """
    root = _parsed(xml)
    for kind in ("domain", "inactiveDomain"):
        for domain in _children(root, kind):
            _change(domain, changes, past=True)
    for disks in _children(root, "disks"):
        for source in (one for disk in _children(disks) for one in _children(disk, "source")):
            new = changes.images.get(source.getAttribute("file"))
            if new is not None:
                source.setAttribute("file", new)
    return root.toxml()


def guarded(xml: str, source: str) -> str:
    """A definition that cannot be started: its kernel is a file that does not exist, and that
    says why. Everything else stays as it is; the definition without the guard replaces it.
    Raises BadDocument.

    libvirt has no flag for this; it takes any path of a kernel and QEMU's start fails over it.
    """
    root = _parsed(xml)
    system = _system(root)
    own = "".join(_take_kernel(system))
    _give_kernel(system, f"{GUARD}{source}{_OWN_KERNEL}{own}")
    return root.toxml()


def unguarded(xml: str) -> str:
    """The definition that `guarded` was given. Raises BadDocument."""
    root = _parsed(xml)
    system = _system(root)
    for was in _take_kernel(system):
        own = was.partition(_OWN_KERNEL)[2] if was.startswith(GUARD) else was
        if own:
            _give_kernel(system, own)
    return root.toxml()


def _parsed(xml: str) -> Element:
    """The root, as a tree that keeps prefixes. Raises BadDocument."""
    parse_xml(xml)  # refuses what minidom would not: document types, and with them entities
    try:
        root = minidom.parseString(xml).documentElement
    except (ExpatError, ValueError, LookupError) as error:
        raise BadDocument(
            f"A host sent a definition that cannot be read: {plain(str(error))}."
        ) from None
    assert root is not None
    return root


def _system(root: Element) -> Element:
    found = _children(root, "os")
    if len(found) != 1:
        raise BadDocument("A host sent a VM definition that does not say what it boots.")
    return found[0]


def _give_kernel(system: Element, path: str) -> None:
    document = system.ownerDocument
    assert document is not None
    kernel = document.createElement("kernel")
    kernel.appendChild(document.createTextNode(path))
    system.appendChild(kernel)


def _take_kernel(system: Element) -> list[str]:
    """Remove the kernel; its path."""
    found = []
    for kernel in _children(system, "kernel"):
        texts = (node.data for node in kernel.childNodes if isinstance(node, Text))
        found.append("".join(texts).strip())
        system.removeChild(kernel)
    return found


def is_guarded(xml: str) -> bool:
    """Whether a definition is one that `guarded` made."""
    kernel = parse_xml(xml).find("os/kernel")
    return kernel is not None and (kernel.text or "").startswith(GUARD)


def _change(domain: Element, changes: Changes, past: bool = False) -> None:
    """`past`: as it was at a snapshot, when a disk may have been on another of its images."""
    for device in _devices(domain):
        if device.tagName == "disk":
            path = _path_then(device, changes) if past else _path_now(device, changes)
            _move_disk(device, path)
            _detect_zeroes(device, changes.detecting)
        elif device.tagName == "interface":
            _rename(device, changes.networks)


def _devices(root: Element) -> Iterator[Element]:
    for devices in _children(root, "devices"):
        yield from _children(devices)


def _children(parent: Element, name: str = "") -> list[Element]:
    elements = (node for node in parent.childNodes if isinstance(node, Element))
    return [one for one in elements if name in ("", one.tagName)]


def _path_now(disk: Element, changes: Changes) -> str | None:
    return changes.disks.get(_name(disk))


def _name(disk: Element) -> str:
    return next((one.getAttribute("dev") for one in _children(disk, "target")), "")


def _detect_zeroes(disk: Element, names: frozenset[str]) -> None:
    """Where the operator has not said how: a mirror sends what is laid out and never written."""
    for driver in _children(disk, "driver"):
        if _name(disk) in names and not driver.hasAttribute("detect_zeroes"):
            driver.setAttribute("detect_zeroes", "on")


def _path_then(disk: Element, changes: Changes) -> str | None:
    files = [one.getAttribute("file") for one in _children(disk, "source")]
    if changes.images and any(files):
        return next((changes.images.get(file) for file in files if file), None)
    return _path_now(disk, changes)


def _move_disk(disk: Element, path: str | None) -> None:
    if path is None:
        return
    disk.setAttribute("type", "file")
    for source in _children(disk, "source"):
        for name in _NAMING:
            if source.hasAttribute(name):
                source.removeAttribute(name)
        source.setAttribute("file", path)
    for below in _children(disk, "backingStore"):
        disk.removeChild(below)


def _rename(interface: Element, names: Mapping[str, str]) -> None:
    kind = interface.getAttribute("type")
    if kind not in _NIC_KINDS:
        return
    for source in _children(interface, "source"):
        new = names.get(source.getAttribute(kind))
        if new is None:
            continue
        for name in _RUNTIME:
            if name != kind and source.hasAttribute(name):
                source.removeAttribute(name)
        source.setAttribute(kind, new)
