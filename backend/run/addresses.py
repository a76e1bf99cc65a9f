"""Which address a VM has on the network, and who says so: nothing is asked twice or for long.

In this order: the operator, the VM's metadata, its guest agent, DHCP leases, the ARP table of its
host as libvirt reads it, and the neighbour tables of all hosts of the fleet.
"""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backend.errors import FerryError, plain
from backend.fleet.host import HostWatch
from backend.hypervisor.metadata import literal_address
from backend.hypervisor.vm_network import (
    KnownAddresses,
    NicAddress,
    agent_addresses,
    known_addresses,
)
from backend.model import Vm

AGENT_LIMIT_S = 2.0
_HOST_LIMIT_S = 2.0
_NEIGHBOUR = re.compile(r"(\S+) dev \S+ lladdr ([0-9a-fA-F:]{17}) (\S+)")


@dataclass(frozen=True, slots=True)
class FoundAddress:
    """A VM's address and where it is from, or why there is none."""

    value: str | None
    """Literal IPv4 or IPv6."""
    origin: str
    """Completes `its address, from ...`; or, without a value, a sentence that says why."""


async def find_address(
    vm: Vm, source: HostWatch, hosts: Mapping[str, HostWatch], given: str | None = None
) -> FoundAddress:
    """The address of a running VM, within about 4 s (at once if given or in its metadata).

    Never raises for what a host does or does not answer.
    """
    named = told_address(vm, given)
    if named is not None:
        return named
    if not vm.nics:
        return FoundAddress(None, f"{vm.name} has no network card.")
    asked, neighbours = await asyncio.gather(_ask_source(vm, source), _ask_neighbours(hosts))
    known, by_agent = asked
    return choose(
        vm,
        (
            ("the guest agent", by_agent),
            ("a DHCP lease", known.leased),
            (f"the ARP table of {source.name}", known.seen),
            *((f"the neighbour table of {name}", found) for name, found in neighbours),
        ),
    )


def told_address(vm: Vm, given: str | None) -> FoundAddress | None:
    """What needs no asking. A given address that is none is said so, not passed over."""
    if given is not None:
        address = literal_address(given)
        if address is None:
            return FoundAddress(None, f"{plain(given, 60)!r} is not the address of a machine.")
        return FoundAddress(address, "the operator")
    if vm.address is not None and (address := literal_address(vm.address)):
        return FoundAddress(address, "its metadata")
    return None


def choose(vm: Vm, sources: Iterable[tuple[str, Iterable[NicAddress]]]) -> FoundAddress:
    """The best address of the first source that knows one of a card of this VM. Pure.

    An agent also tells of what the guest made itself (containers' bridges): only the VM's own
    cards count, its first card before the second, IPv4 before IPv6, self-assigned ones last.
    """
    macs = [nic.mac.lower() for nic in vm.nics if nic.mac]
    asked = []
    for origin, found in sources:
        asked.append(origin)
        ours = [one for one in found if one.mac in macs]
        if ours:
            best = min(ours, key=lambda one: (*_rank(one.address), macs.index(one.mac)))
            return FoundAddress(best.address, origin)
    return FoundAddress(
        None,
        f"Nobody knows the address of {vm.name} ({', '.join(asked) or 'nobody was asked'}): "
        "name it in its metadata or with the option `address`.",
    )


def _rank(address: str) -> tuple[bool, bool]:
    parsed = ipaddress.ip_address(address)
    return parsed.is_link_local, parsed.version == 6


async def _ask_source(vm: Vm, source: HostWatch) -> tuple[KnownAddresses, tuple[NicAddress, ...]]:
    """On a lane of its own: an agent that hangs must not cost the host its control lane."""
    known, by_agent = KnownAddresses(), tuple[NicAddress, ...]()
    with contextlib.suppress(FerryError):
        lane = await source.open_lane("addresses")
        try:
            known = await lane.call(
                lambda conn: known_addresses(conn, vm.uuid), _HOST_LIMIT_S, "tell addresses"
            )
            if known.has_agent:
                by_agent = await lane.call(
                    lambda conn: agent_addresses(conn, vm.uuid), AGENT_LIMIT_S, "ask the agent"
                )
        finally:
            # One that still waits for an agent closes by itself, later.
            await lane.close(0.2)
    return known, by_agent


async def _ask_neighbours(
    hosts: Mapping[str, HostWatch],
) -> list[tuple[str, tuple[NicAddress, ...]]]:
    async def ask(host: HostWatch) -> tuple[str, tuple[NicAddress, ...]]:
        shell = host.shell
        if shell is None:
            return host.name, ()
        try:
            answer = await shell.run("ip neigh show", _HOST_LIMIT_S)
        except FerryError:
            return host.name, ()
        return host.name, read_neighbours(answer.stdout)

    return list(await asyncio.gather(*(ask(host) for host in hosts.values())))


def read_neighbours(printed: str) -> tuple[NicAddress, ...]:
    """The lines of `ip neigh` whose neighbour was there when last asked."""
    found = []
    for line in printed.splitlines():
        match = _NEIGHBOUR.match(line)
        address = literal_address(match[1]) if match else None
        if match and address and "FAILED" not in line:
            found.append(NicAddress(match[2].lower(), address))
    return tuple(found)
