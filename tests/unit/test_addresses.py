"""Which address a VM has: who is believed first, and what is never believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.hypervisor.vm_network import NicAddress, Tap, read_addresses, read_taps
from backend.model import Nic, Vm, VmState
from backend.run.addresses import choose, read_neighbours, told_address

MAC, SECOND = "52:54:00:77:00:67", "52:54:00:77:00:68"


def vm(address: str | None = None, macs: tuple[str, ...] = (MAC.upper(),)) -> Vm:
    nics = tuple(Nic(mac, "bridge", "br0") for mac in macs)
    return Vm("u", "db-1", "kvm-a", VmState.RUNNING, nics=nics, address=address)


def at(address: str, mac: str = MAC) -> NicAddress:
    return NicAddress(mac, address)


def test_the_operator_is_believed_before_the_metadata() -> None:
    told = told_address(vm("10.0.0.1"), "10.0.0.2")
    assert told is not None
    assert (told.value, told.origin) == ("10.0.0.2", "the operator")
    told = told_address(vm("10.0.0.1"), None)
    assert told is not None
    assert (told.value, told.origin) == ("10.0.0.1", "its metadata")
    assert told_address(vm(), None) is None


@pytest.mark.parametrize("given", ["db-1", "-f", "10.0.0.1; reboot", "127.0.0.1", ""])
def test_a_given_address_that_is_none_is_said_so_and_not_passed_over(given: str) -> None:
    told = told_address(vm("10.0.0.1"), given)
    assert told is not None
    assert told.value is None
    assert "not the address" in told.origin


def test_the_first_source_that_knows_the_vm_wins() -> None:
    found = choose(
        vm(),
        [
            ("the guest agent", [at("172.17.0.1", "02:42:00:00:00:01")]),
            ("a DHCP lease", [at("10.0.0.7")]),
            ("the ARP table of kvm-a", [at("10.0.0.8")]),
        ],
    )
    assert (found.value, found.origin) == ("10.0.0.7", "a DHCP lease")


def test_nobody_knows_it_is_a_sentence_that_names_who_was_asked() -> None:
    found = choose(vm(), [("the guest agent", []), ("a DHCP lease", [])])
    assert found.value is None
    assert "the guest agent, a DHCP lease" in found.origin
    assert "metadata" in found.origin


@given(st.permutations(["169.254.1.1", "2001:db8::7", "10.0.0.7"]))
def test_ipv4_before_ipv6_before_self_assigned(addresses: list[str]) -> None:
    assert choose(vm(), [("x", [at(one) for one in addresses])]).value == "10.0.0.7"


def test_the_first_card_before_the_second() -> None:
    two = vm(macs=(MAC, SECOND))
    assert choose(two, [("x", [at("10.1.0.9", SECOND), at("10.0.0.7")])]).value == "10.0.0.7"
    assert choose(two, [("x", [at("10.1.0.9", SECOND), at("2001:db8::1")])]).value == "10.1.0.9"


def test_neighbours_are_read_from_ip_neigh() -> None:
    printed = (
        f"10.77.0.103 dev br0 lladdr {MAC} REACHABLE \n"
        "10.77.0.240 dev br0 INCOMPLETE \n"
        f"10.77.0.9 dev br0 lladdr {MAC} FAILED\n"
        f"fe80::1 dev br0 lladdr {MAC} router STALE\n"
        f"2001:db8::5 dev br0 lladdr {MAC.upper()} router STALE\n"
        "10.77.0.1 dev br0 lladdr 46:54 DELAY\n$(reboot) dev x lladdr"
    )
    assert read_neighbours(printed) == (at("10.77.0.103"), at("2001:db8::5"))


def test_what_libvirt_tells_of_addresses() -> None:
    answer = {
        "lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1", "prefix": 8}]},
        "eth0": {"hwaddr": MAC.upper(), "addrs": [{"addr": "10.0.0.7", "prefix": 24, "type": 0}]},
        "eth1": {"hwaddr": SECOND, "addrs": None},
        "odd": {"hwaddr": None, "addrs": [{"addr": "10.0.0.8"}, {"addr": "x"}]},
    }
    assert read_addresses(answer) == (at("10.0.0.7"), at("10.0.0.8", ""))
    assert read_addresses(None) == ()


def test_taps_are_those_with_a_device_on_the_host() -> None:
    xml = f"""<domain><devices>
      <interface type='bridge'><mac address='{MAC.upper()}'/><source bridge='br0'/>
        <target dev='vnet3'/></interface>
      <interface type='network'><mac address='{SECOND}'/><source network='lan' bridge='virbr0'/>
        <target dev='vnet4'/></interface>
      <interface type='user'><mac address='52:54:00:00:00:05'/></interface>
    </devices></domain>"""
    assert read_taps(xml) == (Tap(MAC, "vnet3", "br0"), Tap(SECOND, "vnet4", "virbr0"))
