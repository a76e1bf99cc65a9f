"""What a VM's libvirt metadata says to us: its policy, its network address, its tags. Pure.

    <metadata>
      <ferry:vm xmlns:ferry="urn:virt-ferry:1" policy="gentle" address="10.77.0.101"
        never="yes" prefer="kvm-b kvm-c" with="shop" apart="dns" apart-soft="web"/>
    </metadata>

Set with `virsh metadata VM urn:virt-ferry:1 --key ferry --set '<vm policy="gentle"/>'`. It is read
and never written, and whoever made the VM wrote it: what is not a policy's name, a literal
address, a host's or a group's name is ignored. It goes with the VM when it moves.
"""

import ipaddress
import logging
import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from backend.errors import plain
from backend.model.tags import UNTAGGED, Tags

log = logging.getLogger(__name__)

NAMESPACE = "urn:virt-ferry:1"
_POLICY = re.compile(r"[a-z0-9-]{1,40}")
_MAX_ADDRESS_CHARS = 45
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Of a host (as in the fleet file) or a group."""
_MAX_NAMES = 32
_NO = ("no", "false", "off", "0", "")
_YES = ("yes", "true", "on", "1")


@dataclass(frozen=True, slots=True)
class VmMetadata:
    """Ours in a domain's metadata; None: it names none."""

    policy: str | None = None
    """A well-formed name; whether there is such a policy is not known here."""
    address: str | None = None
    """A literal IPv4 or IPv6 address."""
    tags: Tags = UNTAGGED


def read_metadata(domain: Element, vm: str = "?") -> VmMetadata:
    """Our element of a `<domain>`; `vm` names it in the log. Never raises."""
    ours = domain.find(f"metadata/{{{NAMESPACE}}}vm")
    if ours is None:
        return VmMetadata()
    policy, address = ours.get("policy"), ours.get("address")
    found = VmMetadata(
        policy if policy is not None and _POLICY.fullmatch(policy) else None,
        literal_address(address) if address is not None else None,
        _tags(ours, vm),
    )
    for name, said, kept in (
        ("policy", policy, found.policy),
        ("address", address, found.address),
    ):
        if said is not None and kept is None:
            log.warning("%s: its metadata's %s %r is ignored", vm, name, plain(said, 60))
    return found


def _tags(ours: Element, vm: str) -> Tags:
    return Tags(
        never=_never(ours.get("never", ""), vm),
        prefer=_names(ours, "prefer", vm),
        together=_names(ours, "with", vm),
        together_soft=_names(ours, "with-soft", vm),
        apart=_names(ours, "apart", vm),
        apart_soft=_names(ours, "apart-soft", vm),
    )


def _never(said: str, vm: str) -> bool:
    """Whoever wrote anything but a no wanted it to stay: the mistake that moves nothing."""
    word = said.strip().lower()
    if word not in (*_YES, *_NO):
        log.warning("%s: its metadata's never %r is taken for yes", vm, plain(said, 60))
    return word not in _NO


def _names(ours: Element, attribute: str, vm: str) -> tuple[str, ...]:
    """Names parted by spaces or commas, each once."""
    said = dict.fromkeys(ours.get(attribute, "").replace(",", " ").split())
    kept = [word for word in said if _NAME.fullmatch(word)][:_MAX_NAMES]
    odd = [word for word in said if word not in kept]
    if odd:
        log.warning("%s: its metadata's %s %r is ignored", vm, attribute, plain(odd[0], 60))
    return tuple(kept)


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
