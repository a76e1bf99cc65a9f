"""Names and addresses of a lab, its settings, and what is written for hosts and guests."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from backend.lab.access import SshKey, fleet_toml, known_hosts, ssh_config
from backend.lab.certs import issue, make_authority
from backend.lab.control import LinkWish, parse_link_wish
from backend.lab.domain import domain_xml
from backend.lab.domains import parse_list
from backend.lab.errors import LabError, LabUsageError
from backend.lab.guest_image import Entry, archive
from backend.lab.guest_link import parse_report
from backend.lab.host_files import hosts_file, pool_xml
from backend.lab.layout import MAX_HOSTS, Lab, check_host_count, check_name
from backend.lab.network import burst_bytes
from backend.lab.processes import end_processes, host_in_mountinfo, is_namespace, lab_processes
from backend.lab.settings import Link, Settings, from_json

LONGEST_NAME = "a23456789012345"


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "..", "a b", "x" * 16, "a\n", "ä"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(LabUsageError):
        check_name(name)


@pytest.mark.parametrize("count", [-1, 0, 1, 9])
def test_host_counts_that_are_refused(count: int) -> None:
    with pytest.raises(LabUsageError):
        check_host_count(count)


def test_sockets_fit_into_their_108_bytes() -> None:
    for host in Lab(check_name(LONGEST_NAME), MAX_HOSTS).hosts:
        assert len(f"{host.socket}".encode()) < 100


@pytest.mark.parametrize("host_count", range(2, 9))
def test_every_vm_has_a_home_and_an_address_of_its_own(host_count: int) -> None:
    lab = Lab("lab", host_count)
    assert all(vm.home < host_count for vm in lab.vms)
    addresses = {vm.address for vm in lab.vms} | {host.address for host in lab.hosts}
    assert len(addresses) == len(lab.vms) + host_count
    assert len({vm.mac for vm in lab.vms}) == len(lab.vms)
    assert sum(vm.running for vm in lab.vms) == 6


def test_two_labs_share_no_identity() -> None:
    one, two = Lab("one"), Lab("two")
    assert not {host.uuid for host in one.hosts} & {host.uuid for host in two.hosts}
    assert not {vm.uuid for vm in one.vms} & {vm.uuid for vm in two.vms}
    assert not set(one.netns_names) & set(two.netns_names)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(LabUsageError, match="kvm-a, kvm-b, kvm-c"):
        Lab("lab").host("kvm-d")
    with pytest.raises(LabUsageError, match="idle-1, web-1"):
        Lab("lab").vm("db-9")


def test_domain_xml_says_what_the_vm_is() -> None:
    vms = {vm.name: vm for vm in Lab("lab").vms}
    root = ET.fromstring(domain_xml(vms["files-1"], 640))
    assert root.get("type") == "qemu"
    assert root.findtext("memory") == "640"
    assert root.find(f"devices/disk/source[@file='{vms['files-1'].disk_path}']") is not None
    assert "vf_ip=10.77.0.105/24" in (root.findtext("os/cmdline") or "")
    assert ET.fromstring(domain_xml(vms["idle-1"], 512)).find("devices/disk") is None
    assert ET.fromstring(domain_xml(vms["cpu-1"], 512)).findtext("cpu/model") == "Skylake-Server"


def test_files_for_the_operator_name_every_host() -> None:
    lab = Lab("lab")
    keys = {host.name: SshKey(b"", f"ssh-ed25519 {host.name}") for host in lab.hosts}
    assert "kvm-b,10.77.0.12 ssh-ed25519 kvm-b\n" in known_hosts(lab, keys)
    assert "StrictHostKeyChecking yes" in ssh_config(lab)
    block = '[hosts.kvm-c]\nssh = "kvm-c"\nmigrate_uri = "qemu+tls://kvm-c/system"'
    assert block in fleet_toml(lab)
    assert "10.77.0.13 kvm-c\n" in hosts_file(lab)


def test_certificates_name_host_and_address() -> None:
    from cryptography import x509

    authority = make_authority("lab")
    pem, key = issue(authority, "kvm-a", "10.77.0.11")
    certificate = x509.load_pem_x509_certificate(pem)
    certificate.verify_directly_issued_by(authority.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["kvm-a"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.77.0.11"]
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_pools_of_two_hosts_differ() -> None:
    a, b = Lab("lab").hosts[:2]
    assert pool_xml(a, "default", "/x") != pool_xml(b, "default", "/x")


def test_virsh_list_is_read() -> None:
    text = " 3   idle-1   running\n -   batch-1   shut off\n -   a b   in shutdown\n\n"
    assert parse_list(text) == {"idle-1": "running", "batch-1": "shut off", "a b": "in shutdown"}


def test_archive_is_padded_and_ends() -> None:
    made = archive([Entry("init", 0o100755, b"12345")])
    assert len(made) % 4 == 0
    assert made.startswith(b"070701")
    assert b"TRAILER!!!" in made


def test_guest_answers() -> None:
    line = (
        '{"name":"x","write_rate":5,"over_bytes":4096,"work_bytes":7,"memory_ok":true,'
        '"disk_bytes":0,"uptime_s":1.5}'
    )
    assert parse_report(line).work_bytes == 7
    with pytest.raises(LabUsageError, match="not that much memory"):
        parse_report('{"error":"the guest has not that much memory"}')
    for nonsense in ("", "[]", "{}", "HTTP/1.1 400", '{"write_rate":"x"}'):
        with pytest.raises(LabError):
            parse_report(nonsense)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host_count": 99, "memory_mib": 1}'])
def test_damaged_settings_are_noticed(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        from_json(text)


def test_links_change_only_where_asked() -> None:
    link = Link(in_bits_s=1, out_bits_s=2)
    assert LinkWish(out_bits_s=5).applied_to(link) == Link(1, 5)
    assert parse_link_wish("down", None, None).applied_to(link) == Link(1, 2, up=False)
    assert parse_link_wish("1mbit", "2mbit", None).applied_to(link) == Link(2_000_000, 1_000_000)
    assert Settings().with_link("kvm-a", link).link("kvm-a") == link
    with pytest.raises(LabUsageError):
        parse_link_wish(None, None, None)


def test_burst_grows_with_the_rate_within_bounds() -> None:
    assert burst_bytes(200_000_000) == 500_000
    assert burst_bytes(1_000_000_000) == 512 * 1024
    assert burst_bytes(1_000_000) == 64 * 1024


def test_whose_file_system_a_process_lives_in() -> None:
    line = "98 67 254:0 /var/lib/vferry/lab/hosts/kvm-b/etc /etc rw,relatime - ext4 /dev/vda rw\n"
    assert host_in_mountinfo("lab", line) == "kvm-b"
    assert host_in_mountinfo("la", line) is None
    assert host_in_mountinfo("lab", line.replace(" /etc ", " /mnt ")) is None


def test_a_plain_file_is_no_namespace(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert not is_namespace(tmp_path / "x")
    assert not is_namespace(tmp_path / "y")
    assert is_namespace(Path("/proc/self/ns/net"))


def test_a_lab_that_is_not_there_has_no_processes() -> None:
    assert lab_processes(Lab("none-such", MAX_HOSTS)) == []
    end_processes([])
