"""A domain's XML as the target is to have it: disks at new paths, networks by new names. Pure.

The document is changed in place and all the rest of it stays as libvirt wrote it, prefixes
included. What is put in becomes an attribute's value and can be nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from xml.dom import minidom
from xml.dom.minidom import Element

from backend.errors import BadInput
from backend.hypervisor.domain_xml import parse_xml

_NAMING = ("file", "dev", "dir", "pool", "volume", "mode", "protocol", "name", "index")
"""Attributes of a `<source>` that say where the image lies."""
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

    def __bool__(self) -> bool:
        return bool(self.disks or self.networks)


def at_target(xml: str, changes: Changes) -> str:
    """The same VM with `changes`; disks and interfaces that it does not have are no error.

    Raises:
        BadDocument: It cannot be read.
        BadInput: A new name has characters that XML cannot carry.
    """
    for name in (*changes.disks.values(), *changes.networks.values()):
        if not name.isprintable():
            raise BadInput(f"{name!r} cannot be a path or name.", "Use printable characters.")
    parse_xml(xml)  # refuses what minidom would not: document types, and with them entities
    document = minidom.parseString(xml.encode())
    root = document.documentElement
    assert root is not None
    for device in _devices(root):
        if device.tagName == "disk":
            _move_disk(device, changes.disks)
        elif device.tagName == "interface":
            _rename(device, changes.networks)
    return root.toxml()


def _devices(root: Element) -> Iterator[Element]:
    for devices in _children(root, "devices"):
        yield from _children(devices)


def _children(parent: Element, name: str = "") -> list[Element]:
    elements = (node for node in parent.childNodes if isinstance(node, Element))
    return [one for one in elements if name in ("", one.tagName)]


def _move_disk(disk: Element, paths: Mapping[str, str]) -> None:
    path = next((paths.get(one.getAttribute("dev")) for one in _children(disk, "target")), None)
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
