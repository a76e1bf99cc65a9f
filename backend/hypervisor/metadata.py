"""What a VM's libvirt metadata says to us: its policy and its network address. Pure.

    <metadata>
      <ferry:vm xmlns:ferry="urn:virt-ferry:1" policy="gentle" address="10.77.0.101"/>
    </metadata>

Set with `virsh metadata VM urn:virt-ferry:1 --key ferry --set '<vm policy="gentle"/>'`. It is read
and never written, and whoever made the VM wrote it: what is not a policy's name or a literal
address is ignored. It goes with the VM when it moves.
"""

import ipaddress
import logging
import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from backend.errors import plain

log = logging.getLogger(__name__)

NAMESPACE = "urn:virt-ferry:1"
_POLICY = re.compile(r"[a-z0-9-]{1,40}")
_MAX_ADDRESS_CHARS = 45


@dataclass(frozen=True, slots=True)
class VmMetadata:
    """Ours in a domain's metadata; None: it names none."""

    policy: str | None = None
    """A well-formed name; whether there is such a policy is not known here."""
    address: str | None = None
    """A literal IPv4 or IPv6 address."""


def read_metadata(domain: Element, vm: str = "?") -> VmMetadata:
    """Our element of a `<domain>`; `vm` names it in the log. Never raises."""
    ours = domain.find(f"metadata/{{{NAMESPACE}}}vm")
    if ours is None:
        return VmMetadata()
    policy, address = ours.get("policy"), ours.get("address")
    found = VmMetadata(
        policy if policy is not None and _POLICY.fullmatch(policy) else None,
        literal_address(address) if address is not None else None,
    )
    for name, said, kept in (
        ("policy", policy, found.policy),
        ("address", address, found.address),
    ):
        if said is not None and kept is None:
            log.warning("%s: its metadata's %s %r is ignored", vm, name, plain(said, 60))
    return found


def literal_address(text: str) -> str | None:
    """The IPv4 or IPv6 address of one machine in its usual spelling; None for anything else.

    Without scope, and none of those that mean this machine, nobody or many.
    """
    if len(text) > _MAX_ADDRESS_CHARS or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    useless = address.is_multicast or address.is_unspecified or address.is_loopback
    if useless or (address.version == 6 and address.is_link_local):
        return None
    if address == ipaddress.ip_address("255.255.255.255") or getattr(address, "ipv4_mapped", None):
        return None
    return str(address)
