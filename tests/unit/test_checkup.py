"""What an examination asks hosts by SSH: its scripts run on this machine, and certificates."""

import datetime
import os
import socket
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backend.errors import BadDocument
from backend.remote import pki
from backend.remote.checkup import (
    look_at_files,
    parse_look,
    parse_papers,
    probe_names,
    probe_papers,
    probe_ports,
)
from backend.remote.shell import LocalShell

HERE = LocalShell()
PAPERS = """\
ports 50000 - 50063
address kvm-a.move
file libvirt-ca there /etc/pki/CA/cacert.pem
-----BEGIN CERTIFICATE-----
AAAA
-----END CERTIFICATE-----
end
file libvirt-server unreadable /etc/pki/libvirt/servercert.pem
file libvirt-client missing /etc/pki/libvirt/clientcert.pem
file qemu-ca missing /etc/pki/q/ca-cert.pem
file qemu-server missing /etc/pki/q/server-cert.pem
file qemu-client missing /etc/pki/q/client with spaces.pem
now 1790000000.250000000
"""


def test_a_hosts_papers() -> None:
    found = parse_papers("kvm-a", PAPERS)
    assert (found.first_port, found.last_port, found.address) == (50000, 50063, "kvm-a.move")
    assert found.clock == 1790000000.25
    ca, server, client, *_, last = found.files
    assert (ca.there, ca.readable) == (True, True)
    assert ca.pem.splitlines()[1] == "AAAA"
    assert (server.there, server.readable) == (True, False)
    assert (client.there, client.path) == (False, "/etc/pki/libvirt/clientcert.pem")
    assert last.path == "/etc/pki/q/client with spaces.pem"


@pytest.mark.parametrize("line", ["ports  - ", "ports x - y", "ports 9 - 3", "ports 1 - 99999"])
def test_a_range_that_makes_no_sense_is_libvirts_own(line: str) -> None:
    found = parse_papers("kvm-a", PAPERS.replace("ports 50000 - 50063", line))
    assert (found.first_port, found.last_port) == (49152, 49215)


@pytest.mark.parametrize("printed", ["", "now 12", PAPERS[:200], PAPERS + PAPERS])
def test_papers_that_are_not_whole_are_refused(printed: str) -> None:
    with pytest.raises(BadDocument):
        parse_papers("kvm-a", printed)


async def test_the_script_tells_of_this_machine_too() -> None:
    found = await probe_papers(HERE)
    assert len(found.files) == 6
    assert found.clock is not None
    assert abs(found.clock - time.time()) < 60


async def test_names() -> None:
    found = await probe_names(HERE, ("localhost", "no-such-host.invalid", "$(touch x);"))
    assert found is not None
    assert found["localhost"] & {"127.0.0.1", "::1"}
    assert not found["no-such-host.invalid"]
    assert not found["$(touch x);"]


async def test_a_port_that_refuses_is_open_and_one_that_listens_too() -> None:
    with socket.socket() as listens, socket.socket() as bound:
        for one in (listens, bound):
            one.bind(("127.0.0.1", 0))
        listens.listen()
        ways = [("127.0.0.1", one.getsockname()[1]) for one in (listens, bound)]
        found = await probe_ports(HERE, ways)
    assert found == dict.fromkeys(ways, "open")


async def test_a_name_that_is_no_host_is_not_called_closed() -> None:
    way = ("no-such-host.invalid", 49152)
    assert await probe_ports(HERE, [way]) == {way: "unknown"}


async def test_files(tmp_path: Path) -> None:
    image = tmp_path / "a b$(x).qcow2"
    image.write_bytes(b"x" * 8192)
    os.utime(image, (time.time() - 500, time.time() - 500))
    found = await look_at_files(HERE, [str(image), str(tmp_path), str(tmp_path / "none")])
    assert list(found) == [str(image)]
    look = found[str(image)]
    assert look.inode == image.stat().st_ino
    assert 499 <= look.idle_s <= 560
    assert look.allocated_bytes == image.stat().st_blocks * 512


@pytest.mark.parametrize("line", ["none", "", "regular file/1 2 3", "regular file/a b c d e f"])
def test_what_is_no_look_is_none(line: str) -> None:
    assert parse_look(line) is None


# -- certificates ----------------------------------------------------------------------------


class Signer:
    """An authority, or a server: whatever has a key."""

    def __init__(self, name: str, by: "Signer | None" = None, names: tuple[str, ...] = ()) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = by or self
        starts = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts)
            .not_valid_after(starts + datetime.timedelta(days=10))
        )
        if names:
            listed = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
            builder = builder.add_extension(listed, critical=False)
        made = builder.sign(signer.key, hashes.SHA256())
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()


def test_what_a_certificate_says() -> None:
    read = pki.read_certificate(Signer("kvm-a", names=("kvm-a", "kvm-a.lan")).pem)
    assert read.names == ("kvm-a", "kvm-a.lan")
    assert read.ends - read.starts == 10 * 86400
    assert pki.read_certificate(Signer("kvm-b").pem).names == ("kvm-b",)
    with pytest.raises(BadDocument):
        pki.read_certificate("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_who_trusts_whom() -> None:
    ours, foreign = Signer("our CA"), Signer("our CA")
    host = Signer("kvm-a", by=ours)
    assert pki.trusts(ours.pem, host.pem) is True
    assert pki.trusts(foreign.pem, host.pem) is False, "the same name is not the same authority"
    assert pki.trusts(foreign.pem + ours.pem, host.pem) is True
    assert pki.trusts(host.pem, host.pem) is True, "a certificate may be trusted by itself"
    assert pki.trusts("", host.pem) is None


def test_a_chain_leads_to_its_authority() -> None:
    root = Signer("root")
    between = Signer("between", by=root)
    host = Signer("kvm-a", by=between)
    assert pki.trusts(root.pem, host.pem + between.pem) is True
    assert pki.trusts(root.pem, host.pem) is False
    assert pki.trusts(root.pem, host.pem + Signer("between", by=root).pem) is False
