"""Domain XML: what matters is read, and whatever a host sends, only BadDocument comes out."""

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadDocument
from backend.hypervisor.domain_xml import DomainConfig, MemoryBacking, parse_domain
from backend.model import Disk, Nic

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"

FULL = f"""
<domain type='kvm' id='3'>
  <name>db-1</name><uuid>{UUID.upper()}</uuid><title>Database</title>
  <memory unit='GiB'>4</memory><currentMemory unit='KiB'>2097152</currentMemory>
  <memoryBacking>
    <hugepages><page size='2048' unit='KiB'/></hugepages><locked/>
    <source type='memfd'/><access mode='shared'/>
  </memoryBacking>
  <vcpu placement='static' current='2'>8</vcpu>
  <cputune><vcpupin vcpu='0' cpuset='1'/></cputune>
  <os firmware='efi'>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram>/var/lib/libvirt/qemu/nvram/db-1_VARS.fd</nvram>
    <kernel>/srv/boot/vmlinuz</kernel><initrd>/srv/boot/initrd</initrd>
  </os>
  <cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>Skylake-Server</model>
    <feature policy='require' name='vmx'/><feature policy='disable' name='hle'/>
  </cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/><source file='/img/a.qcow2' index='1'/>
      <backingStore type='file'><format type='qcow2'/><source file='/img/base.qcow2'/>
        <backingStore type='file'><source file='/img/root.qcow2'/><backingStore/></backingStore>
      </backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='block' device='lun'><driver type='raw'/><source dev='/dev/sdb'>
      <reservations managed='yes'/></source><target dev='sda'/><shareable/></disk>
    <disk type='volume'><source pool='default' volume='b.img'/><target dev='vdb'/>
      <transient/></disk>
    <disk type='network'><auth username='u'><secret type='ceph' uuid='s-1'/></auth>
      <source protocol='rbd' name='pool/img'><host name='m1'/></source><target dev='vdc'/></disk>
    <disk type='file' device='cdrom'><target dev='sdc'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>
      <target dev='vnet3'/><model type='virtio'/></interface>
    <interface type='network'><mac address='52:54:00:00:00:02'/>
      <source network='lan' portid='x' bridge='virbr0'/></interface>
    <interface type='direct'><mac address='52:54:00:00:00:03'/>
      <source dev='eth1' mode='bridge'/></interface>
    <interface type='hostdev'><mac address='52:54:00:00:00:04'/><source>
      <address type='pci' domain='0x0000' bus='0x03' slot='0x10' function='0x1'/></source>
    </interface>
    <interface type='user'><mac address='52:54:00:00:00:05'/></interface>
    <hostdev mode='subsystem' type='pci'><source>
      <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>
    <hostdev mode='subsystem' type='usb'><source><vendor id='0x046d'/><product id='0xc52b'/>
      </source></hostdev>
    <hostdev mode='subsystem' type='mdev'><source><address uuid='m-1'/></source></hostdev>
    <filesystem type='mount'><driver type='virtiofs'/><source dir='/srv/d'/><target dir='d'/>
    </filesystem>
    <filesystem type='mount'><source dir='/srv/e'/><target dir='e'/></filesystem>
    <shmem name='shm0'/><redirdev bus='usb' type='spicevmc'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <memory model='nvdimm'/><serial type='file'><source path='/var/log/db-1.log'/></serial>
    <lease><lockspace>s</lockspace><key>k</key></lease>
    <vsock model='virtio'><cid auto='no' address='7'/></vsock>
  </devices>
  <launchSecurity type='sev'/><seclabel type='dynamic' model='apparmor'/>
</domain>
"""


@pytest.fixture(scope="module")
def full() -> DomainConfig:
    return parse_domain(FULL)


def test_what_the_vm_is(full: DomainConfig) -> None:
    assert (full.name, full.uuid, full.title) == ("db-1", UUID, "Database")
    assert (full.virt_type, full.arch, full.machine) == ("kvm", "x86_64", "pc-q35-7.2")
    assert full.emulator == "/usr/bin/qemu-system-x86_64"
    assert full.memory_bytes == 4 * 1024**3
    assert full.vcpus == 2
    assert full.pinned
    assert full.memory_backing == MemoryBacking(True, 2 * 1024**2, True, True, "memfd")


def test_its_cpu(full: DomainConfig) -> None:
    assert (full.cpu_mode, full.cpu_model) == ("custom", "Skylake-Server")
    assert full.cpu_required_features == ("vmx",)
    assert full.cpu_xml is not None
    assert full.cpu_xml.startswith("<cpu ")
    assert full.cpu_xml.endswith("</cpu>")


def test_its_disks(full: DomainConfig) -> None:
    a, lun, volume, network, empty = full.disks
    own = Disk("vda", format="qcow2", source="/img/a.qcow2", cache="none")
    assert a == replace(own, backing="/img/base.qcow2")
    assert (lun.kind, lun.device, lun.source, lun.shareable) == ("block", "lun", "/dev/sdb", True)
    assert (volume.source, volume.pool, volume.transient) == ("default/b.img", "default", True)
    assert (network.kind, network.source) == ("network", "rbd:pool/img")
    assert (empty.device, empty.source, empty.read_only) == ("cdrom", None, True)
    assert full.backing_files == ("/img/base.qcow2", "/img/root.qcow2")
    assert full.has_transient_disk
    assert full.reservations
    assert full.secrets == ("s-1",)


def test_its_nics(full: DomainConfig) -> None:
    assert full.nics[0] == Nic("52:54:00:00:00:01", "bridge", "br0", "virtio")
    assert [(nic.kind, nic.source) for nic in full.nics[1:]] == [
        ("network", "lan"),
        ("direct", "eth1"),
        ("hostdev", "0000:03:10.1"),
        ("user", ""),
    ]


def test_what_ties_it_to_its_host(full: DomainConfig) -> None:
    assert full.hostdevs == ("pci 0000:01:00.0", "usb 046d:c52b", "mdev m-1")
    assert full.filesystems == ("virtiofs /srv/d as d", "9p /srv/e as e")
    assert (full.shmems, full.redirected_usb, full.memory_devices) == (("shm0",), 1, ("nvdimm",))
    assert (full.tpm, full.vsock, full.leases) == ("emulator 2.0", "7", ("k",))
    assert full.nvram == "/var/lib/libvirt/qemu/nvram/db-1_VARS.fd"
    assert full.boot_files == (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/srv/boot/vmlinuz",
        "/srv/boot/initrd",
    )
    assert full.character_files == ("/var/log/db-1.log",)
    assert (full.launch_security, full.seclabel) == ("sev", "dynamic apparmor")


def test_the_least_there_can_be() -> None:
    config = parse_domain(f"<domain><name>a</name><uuid>{UUID}</uuid></domain>")
    assert config == DomainConfig("a", UUID, "kvm", "", "", "", 0, 1)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml",
        "<domain>",
        "<network><name>a</name><uuid>b</uuid></network>",
        "<domain><name>a</name></domain>",
        f"<domain><uuid>{UUID}</uuid></domain>",
        "<!DOCTYPE domain [<!ENTITY a 'aaaa'>]><domain><name>&a;</name><uuid>u</uuid></domain>",
        "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>",
        "<domain><name>&undefined;</name><uuid>u</uuid></domain>",
        "<domain><name>\ud800</name><uuid>u</uuid></domain>",
        "<domain><name>a\x00b</name><uuid>u</uuid></domain>",
        "<domain>" + "x" * (8 * 1024 * 1024) + "</domain>",
    ],
)
def test_what_is_refused(xml: str) -> None:
    with pytest.raises(BadDocument):
        parse_domain(xml)


def test_entities_never_grow() -> None:
    bomb = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
    with pytest.raises(BadDocument, match="document type"):
        parse_domain(f"<!DOCTYPE d [<!ENTITY a0 'x'>{bomb}]><domain><name>&a11;</name></domain>")


def test_hostile_names_lose_their_control_characters() -> None:
    xml = f"<domain><name>a&#10;b&#x202e;c&#x9b;2J</name><uuid>{UUID}</uuid></domain>"
    assert parse_domain(xml).name == "a\ufffdb\ufffdc\ufffd2J"


names = st.text(string.ascii_letters + string.digits + " <>&'\"[]\x1b\n\u202e/:-", max_size=12)
TAGS = (
    "domain name uuid memory vcpu os type cpu model feature devices disk source target driver "
    "interface mac hostdev address filesystem tpm backend backingStore serial seclabel vsock cid "
    "memoryBacking hugepages page numatune nvram loader kernel lease key secret"
)
ATTRIBUTES = "type device file dev bridge unit size current mode name id bus slot"
tags = st.sampled_from(TAGS.split())
attributes = st.dictionaries(st.sampled_from(ATTRIBUTES.split()), names, max_size=3)


def _escape(value: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), ("'", "&apos;"), ("\x1b", "")):
        value = value.replace(char, entity)
    return value


def _element(tag: str, attrs: dict[str, str], inside: list[str]) -> str:
    written = "".join(f" {key}='{_escape(value)}'" for key, value in attrs.items())
    return f"<{tag}{written}>{''.join(inside)}</{tag}>"


trees = st.recursive(
    names.map(_escape),
    lambda children: st.builds(_element, tags, attributes, st.lists(children, max_size=4)),
    max_leaves=25,
)


@given(trees)
def test_any_tree_of_known_words_is_read_or_refused(tree: str) -> None:
    xml = f"<domain><name>a</name><uuid>{UUID}</uuid>{tree}<devices>{tree}</devices></domain>"
    try:
        config = parse_domain(xml)
    except BadDocument:
        return
    assert config.memory_bytes >= 0
    assert config.vcpus >= 1
    for text in (config.name, *config.hostdevs, *(disk.target for disk in config.disks)):
        assert text.isprintable()


@given(st.text() | st.text("<>/domainuevcs='& []!-", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(BadDocument):
        parse_domain(text)
