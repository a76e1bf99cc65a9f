"""A domain's XML for the target: what changes, what stays, and that no name breaks out of it."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.errors import BadDocument, BadInput
from backend.hypervisor.domain_xml import parse_domain, parse_xml
from backend.hypervisor.target_xml import Changes, at_target

LIVE = """<domain type='qemu' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>files-1</name>
  <uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <metadata>
    <ferry:vm xmlns:ferry='urn:virt-ferry:1' address='10.0.0.7'/>
  </metadata>
  <memory unit='KiB'>524288</memory>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <disk type='volume' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source pool='default' volume='files-1.qcow2' index='1' startupPolicy='optional'>
        <seclabel model='dac' relabel='no'/>
      </source>
      <backingStore/>
      <target dev='vda' bus='virtio'/>
      <serial>keep &amp; this</serial>
    </disk>
    <disk type='file' device='disk'>
      <source file='/srv/shared/x.raw' index='2'/>
      <backingStore/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <source bridge='br0'/>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:00:00:02'/>
      <source network='lan' portid='12ab' bridge='virbr0'/>
    </interface>
    <interface type='direct'>
      <mac address='52:54:00:00:00:03'/>
      <source dev='br0' mode='bridge'/>
    </interface>
  </devices>
  <qemu:commandline><qemu:arg value='-S'/></qemu:commandline>
</domain>
"""
MOVED = Changes({"vda": "/srv/new/files-1.qcow2"}, {"br0": "br1", "lan": "lan2"})

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    str.isprintable
)


def test_a_disk_lies_elsewhere_and_its_other_traits_stay() -> None:
    root = parse_xml(at_target(LIVE, MOVED))
    vda, vdb = root.findall("devices/disk")
    source = vda.find("source")
    assert source is not None
    assert vda.get("type") == "file"
    assert source.attrib == {"file": "/srv/new/files-1.qcow2", "startupPolicy": "optional"}
    assert source.find("seclabel") is not None
    assert vda.find("backingStore") is None
    assert vda.findtext("serial") == "keep & this"
    driver = vda.find("driver")
    assert driver is not None
    assert driver.get("type") == "qcow2"
    shared = vdb.find("source")
    assert shared is not None
    assert shared.attrib == {"file": "/srv/shared/x.raw", "index": "2"}
    assert vdb.find("backingStore") is not None


def test_networks_and_bridges_are_renamed_devices_are_not() -> None:
    sources = [dict(s.attrib) for s in parse_xml(at_target(LIVE, MOVED)).iter("source")][2:]
    assert sources == [{"bridge": "br1"}, {"network": "lan2"}, {"dev": "br0", "mode": "bridge"}]


def test_namespaces_keep_their_prefixes() -> None:
    text = at_target(LIVE, MOVED)
    assert "<qemu:commandline>" in text
    assert "xmlns:ferry=" in text
    assert parse_domain(text).address == "10.0.0.7"


def test_what_is_not_named_does_not_change() -> None:
    changed = at_target(LIVE, Changes({"vdz": "/x"}, {"br9": "br1"}))
    assert parse_domain(changed) == parse_domain(LIVE)
    assert not Changes()
    assert Changes({"vda": "/x"})


@given(names, names)
def test_no_name_is_more_than_a_value(path: str, network: str) -> None:
    text = at_target(LIVE, Changes({"vda": f"/{path}"}, {"br0": network}))
    root = parse_xml(text)
    assert [e.tag for e in root.iter() if e.tag != "backingStore"] == [
        e.tag for e in parse_xml(LIVE).iter() if e.tag != "backingStore"
    ]
    source, bridge = root.find("devices/disk/source"), root.find("devices/interface/source")
    assert source is not None
    assert bridge is not None
    assert source.get("file") == f"/{path}"
    assert bridge.get("bridge") == network


@given(st.text(min_size=1, max_size=20))
def test_what_xml_cannot_carry_is_refused(text: str) -> None:
    assume(not text.isprintable())
    with pytest.raises(BadInput, match="cannot be a path or name"):
        at_target(LIVE, Changes({"vda": text}))


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<domain",
        "<!DOCTYPE d [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>",
    ],
)
def test_what_cannot_be_read_is_refused(xml: str) -> None:
    with pytest.raises(BadDocument):
        at_target(xml, MOVED)


@given(names)
def test_names_already_in_the_document_survive(name: str) -> None:
    serial = re.sub(r"[<>&]", "", name)
    text = at_target(LIVE.replace("keep &amp; this", serial), MOVED)
    assert parse_xml(text).findtext("devices/disk/serial") == serial


def test_only_what_runs_looks_for_zeroes() -> None:
    changed = parse_xml(at_target(LIVE, Changes(detecting=frozenset({"vda"}))))
    found = {
        disk.find("target").get("dev"): driver.get("detect_zeroes")  # type: ignore[union-attr]
        for disk in changed.iterfind("devices/disk")
        for driver in disk.iterfind("driver")
    }
    assert found.pop("vda") == "on"
    assert set(found.values()) <= {None}
