"""A VM on the network as libvirt knows it: its addresses, and its taps on a host.

Blocking functions to be run by `Lane.call`. Run `agent_addresses` on a lane of its own: a guest's
agent that hangs holds the call up, and with it everything else on the lane.
"""

from dataclasses import dataclass

import libvirt

from backend.errors import NO_DOMAIN
from backend.hypervisor.connection import Connection
from backend.hypervisor.devices_xml import attribute
from backend.hypervisor.domain_xml import parse_xml
from backend.hypervisor.metadata import literal_address

_AGENT_CHANNEL = "org.qemu.guest_agent.0"
MAX_ADDRESSES = 64
"""Of one answer; a guest can name as many as it likes."""


@dataclass(frozen=True, slots=True)
class NicAddress:
    """One address that one network card is said to have."""

    mac: str
    """In lower case."""
    address: str
    """Literal IPv4 or IPv6, never one that means this machine or many."""


@dataclass(frozen=True, slots=True)
class KnownAddresses:
    """What a host knows without asking the guest."""

    leased: tuple[NicAddress, ...] = ()
    """By the DHCP servers of libvirt's networks on that host."""
    seen: tuple[NicAddress, ...] = ()
    """In the host's ARP table."""
    has_agent: bool = False
    """A guest agent is connected: `agent_addresses` is worth a try."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A VM's interface on its host."""

    mac: str
    """In lower case."""
    device: str
    """vnet3, macvtap0."""
    bridge: str
    """What it is a port of; empty for a macvtap or where libvirt does not say."""


def known_addresses(conn: Connection, uuid: str) -> KnownAddresses:
    """Leases, ARP and whether an agent is connected. Raises VmGone."""
    dom = conn.lookupByUUIDString(uuid)
    channels = parse_xml(dom.XMLDesc(0)).iterfind("devices/channel/target")
    agent = any(
        one.get("name") == _AGENT_CHANNEL and one.get("state") == "connected" for one in channels
    )
    return KnownAddresses(
        leased=_ask(dom, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE),
        seen=_ask(dom, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP),
        has_agent=agent,
    )


def agent_addresses(conn: Connection, uuid: str) -> tuple[NicAddress, ...]:
    """What the guest's agent says; empty when it says nothing. Raises VmGone."""
    dom = conn.lookupByUUIDString(uuid)
    return _ask(dom, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)


def _ask(dom: libvirt.virDomain, source: int) -> tuple[NicAddress, ...]:
    """A source that cannot answer (not running, no agent, old libvirt) is one that knows none."""
    try:
        answer = dom.interfaceAddresses(source, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == NO_DOMAIN:
            raise
        return ()
    return read_addresses(answer)


def read_addresses(answer: object) -> tuple[NicAddress, ...]:
    """`{"vnet0": {"hwaddr": ..., "addrs": [{"addr": ...}]}}` of libvirt-python, in its order."""
    found = []
    for interface in answer.values() if isinstance(answer, dict) else ():
        addresses = interface.get("addrs") if isinstance(interface, dict) else None
        for one in addresses if isinstance(addresses, list | tuple) else ():
            address = literal_address(str(one.get("addr", ""))) if isinstance(one, dict) else None
            if address is not None:
                found.append(NicAddress(str(interface.get("hwaddr") or "").lower(), address))
    return tuple(found[:MAX_ADDRESSES])


def taps(conn: Connection, uuid: str) -> tuple[Tap, ...]:
    """The interfaces of a running VM on this host. Raises VmGone."""
    return read_taps(str(conn.lookupByUUIDString(uuid).XMLDesc(0)))


def read_taps(xml: str) -> tuple[Tap, ...]:
    """Those of a running domain's XML that have a device on the host. Raises BadDocument."""
    found = []
    for interface in parse_xml(xml).iterfind("devices/interface"):
        device = attribute(interface.find("target"), "dev")
        if device:
            mac = attribute(interface.find("mac"), "address").lower()
            found.append(Tap(mac, device, attribute(interface.find("source"), "bridge")))
    return tuple(found)
