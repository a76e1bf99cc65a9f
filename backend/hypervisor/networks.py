"""libvirt networks: read for another host, made ready there, put back. Blocking, for `Lane.call`.

A network's definition comes from a host: it is parsed, stripped of what belongs to that host
alone, and written anew, so that nothing goes from one host to the other unread.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import libvirt

from backend.errors import BadDocument, HypervisorError
from backend.hypervisor.connection import Connection
from backend.hypervisor.devices_xml import attribute, text
from backend.hypervisor.domain_xml import parse_domain, parse_xml

_OF_ONE_HOST = ("uuid", "mac")
_NAMED_BY_LIBVIRT = re.compile(r"virbr\d+")
_BOUND = ("hostdev",)
"""Kinds of forwarding that name the devices of one host."""


@dataclass(frozen=True, slots=True)
class NetworkDefinition:
    """A network as another host could have it."""

    name: str
    xml: str
    autostart: bool
    needs: tuple[str, ...] = ()
    """Bridges and network devices of the host that it is made on."""
    makes: str = ""
    """The bridge that libvirt makes for it; empty where libvirt chooses its name."""


def read_definitions(conn: Connection, names: Iterable[str]) -> dict[str, NetworkDefinition]:
    """Of these networks; those that are not there, or could not be had elsewhere, are left out."""
    found = {}
    for name in names:
        with contextlib.suppress(libvirt.libvirtError, BadDocument):
            network = conn.networkLookupByName(name)
            document = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
            one = portable(document, bool(network.autostart()) if network.isPersistent() else False)
            if one is not None and one.name == name:
                found[name] = one
    return found


def portable(xml: str, autostart: bool) -> NetworkDefinition | None:
    """Without UUID, MAC and what counts connections; None for what is bound to its host.

    Raises:
        BadDocument: It cannot be read.
    """
    root = parse_xml(xml)
    kind = (
        attribute(root.find("forward"), "mode", "nat") if root.find("forward") is not None else ""
    )
    if root.tag != "network" or kind in _BOUND or not (name := text(root, "name")):
        return None
    for child in [one for one in root if one.tag in _OF_ONE_HOST]:
        root.remove(child)
    for element in root.iter():
        element.attrib.pop("connections", None)
    needs, makes = _bridges(root, kind)
    return NetworkDefinition(name, ElementTree.tostring(root, "unicode"), autostart, needs, makes)


def _bridges(root: Element, kind: str) -> tuple[tuple[str, ...], str]:
    """Devices it needs, and the bridge that it makes; a generated name of that is taken out."""
    bridge, forward = root.find("bridge"), root.find("forward")
    named = attribute(bridge, "name")
    needs = [attribute(forward, "dev"), *_devices(forward)]
    makes = ""
    if kind == "bridge" and named:
        needs.append(named)
    elif bridge is not None and _NAMED_BY_LIBVIRT.fullmatch(named):
        del bridge.attrib["name"]
    else:
        makes = named
    return tuple(dict.fromkeys(name for name in needs if name)), makes


def _devices(forward: Element | None) -> list[str]:
    found = forward.findall("interface") + forward.findall("pf") if forward is not None else []
    return [attribute(one, "dev") for one in found]


def start(conn: Connection, name: str) -> str:
    """Start an inactive network; its UUID, or nothing when it was active already."""
    network = conn.networkLookupByName(name)
    if network.isActive():
        return ""
    network.create()
    return str(network.UUIDString())


def define(conn: Connection, name: str, xml: str, autostart: bool) -> str:
    """Define and start a network; its UUID. Nothing is left when that fails."""
    if _find(conn, name) is not None:
        raise HypervisorError(f"There is a network {name} already.", "Plan again.")
    network = conn.networkDefineXML(xml)
    try:
        network.create()
        network.setAutostart(int(autostart))
    except libvirt.libvirtError:
        _take_away(network)
        raise
    return str(network.UUIDString())


def stop(conn: Connection, name: str, mark: str) -> None:
    """Stop a network that `start` started; refused while a running VM of that host is on it."""
    network = _ours(conn, name, mark)
    if network is not None and network.isActive():
        _must_be_unused(conn, name, active_only=True)
        network.destroy()


def remove(conn: Connection, name: str, mark: str) -> None:
    """Undefine a network that `define` made; refused while a VM of that host names it."""
    network = _ours(conn, name, mark)
    if network is not None:
        _must_be_unused(conn, name, active_only=False)
        _take_away(network)


def _take_away(network: Any) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        network.destroy()
    network.undefine()


def _find(conn: Connection, name: str) -> Any:
    try:
        return conn.networkLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise


def _ours(conn: Connection, name: str, mark: str) -> Any:
    """The network, or None when it is gone or another one."""
    network = _find(conn, name)
    return network if network is not None and network.UUIDString() == mark else None


def _must_be_unused(conn: Connection, name: str, *, active_only: bool) -> None:
    for dom in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE if active_only else 0):
        try:
            nics = parse_domain(dom.XMLDesc(0)).nics
        except (libvirt.libvirtError, BadDocument):
            continue
        if any(nic.kind == "network" and nic.source == name for nic in nics):
            raise HypervisorError(f"{dom.name()} is on the network {name}.", "Look at it first.")
