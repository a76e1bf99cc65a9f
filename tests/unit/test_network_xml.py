"""A network's definition as another host could have it; and pools, written without strings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadDocument
from backend.hypervisor.devices_xml import read_nic
from backend.hypervisor.domain_xml import parse_xml
from backend.hypervisor.networks import portable
from backend.hypervisor.pools import pool_xml
from backend.remote.rooms import RoomFacts, parse_room

NAT = """
<network connections='2'>
  <name>lan</name><uuid>3b08fdc5-2163-4285-a449-7024f35171d6</uuid>
  <forward mode='nat' dev='eth1'><interface dev='eth1' connections='1'/></forward>
  <bridge name='virbr0' stp='on' delay='0'/><mac address='52:54:00:ac:2e:0e'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>
    <host mac='52:54:00:00:00:01' ip='192.168.122.7'/></dhcp></ip>
</network>"""


def test_what_belongs_to_one_host_is_left_out_and_the_rest_stays() -> None:
    found = portable(NAT, autostart=True)
    assert found is not None
    root = parse_xml(found.xml)
    assert (found.name, found.autostart, found.needs, found.makes) == ("lan", True, ("eth1",), "")
    assert [child.tag for child in root] == ["name", "forward", "bridge", "ip"]
    assert root.find("bridge").attrib == {"stp": "on", "delay": "0"}  # type: ignore[union-attr]
    assert root.find("ip/dhcp/host").get("ip") == "192.168.122.7"  # type: ignore[union-attr]
    assert "connections" not in found.xml


@pytest.mark.parametrize(
    ("inside", "needs", "makes"),
    [
        ("<forward mode='bridge'/><bridge name='br0'/>", ("br0",), ""),
        ("<forward mode='bridge'><interface dev='eth2'/></forward>", ("eth2",), ""),
        ("<forward mode='route'/><bridge name='br-lan'/>", (), "br-lan"),
        ("<bridge name='virbr12'/>", (), ""),
        ("", (), ""),
    ],
)
def test_what_it_needs_and_makes(inside: str, needs: tuple[str, ...], makes: str) -> None:
    found = portable(f"<network><name>n</name>{inside}</network>", autostart=False)
    assert found is not None
    assert (found.needs, found.makes) == (needs, makes)


@pytest.mark.parametrize(
    "document",
    [
        "<network><name>n</name><forward mode='hostdev'><pf dev='eth0'/></forward></network>",
        "<network/>",
        "<domain><name>n</name></domain>",
    ],
)
def test_what_cannot_be_had_elsewhere(document: str) -> None:
    assert portable(document, autostart=False) is None


def test_a_document_type_is_refused() -> None:
    evil = (
        "<!DOCTYPE n [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><network><name>&x;</name></network>"
    )
    with pytest.raises(BadDocument):
        portable(evil, autostart=False)


@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), min_size=1),
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc"))),
)
def test_a_pools_name_and_path_are_nothing_but_text(name: str, path: str) -> None:
    root = parse_xml(pool_xml(name, path))
    assert root.attrib == {"type": "dir"}
    assert [child.tag for child in root.iter()] == ["pool", "name", "target", "path"]
    assert (root.findtext("name") or "", root.findtext("target/path") or "") == (name, path)


def test_a_hostile_network_name_stays_text() -> None:
    found = portable("<network><name>a&lt;/name&gt;&lt;x/&gt;</name></network>", autostart=False)
    assert found is not None
    assert [child.tag for child in parse_xml(found.xml)] == ["name"]


def test_a_running_vms_interface_is_on_the_network_it_names() -> None:
    live = "<interface type='bridge'><source network='lan' portid='1' bridge='br0'/></interface>"
    nic = read_nic(parse_xml(live))
    assert (nic.kind, nic.source) == ("network", "lan")
    bridged = read_nic(parse_xml("<interface type='bridge'><source bridge='br0'/></interface>"))
    assert (bridged.kind, bridged.source) == ("bridge", "br0")


# -- what hosts print ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "room"),
    [
        (
            "there /dev/vda 264212084 26918224 79472688 26% /var/lib/libvirt",
            RoomFacts(True, False, False, 79472688 * 1024),
        ),
        ("empty //nas/a b 100 40 60 40% /mnt/x y", RoomFacts(True, True, False, 60 * 1024)),
        ("free /dev/vda 100 40 60 40% /", RoomFacts(False, False, True, 60 * 1024)),
        ("far -", RoomFacts(False, False, False)),
        ("taken -", RoomFacts(False, False, False)),
        ("", RoomFacts(False, False, False)),
    ],
)
def test_where_a_directory_is_and_its_room(line: str, room: RoomFacts) -> None:
    assert parse_room(line) == room
