"""`virt-ferry doctor` on hosts with real faults: each is found, told with its remedy, and gone once
the remedy was followed to the letter."""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import HOSTS, IMAGES, host_of, other, outside

pytestmark = pytest.mark.lab

UUID = "6f1d6c1e-0d0c-4c57-8a51-d0c70a000001"
NAME = "twin-1"
TWIN = f"""
<domain type='qemu'>
  <name>{NAME}</name><uuid>{UUID}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
</domain>
"""

Finding = dict[str, Any]


class Doctor:
    """One examination."""

    def __init__(self, ferry: Ferry) -> None:
        done = ferry.run("doctor", "--json")
        assert done.stdout, done.stderr
        self.exit_code = done.returncode
        self.told: dict[str, Any] = json.loads(done.stdout)
        self.findings: list[Finding] = self.told["findings"]

    def of(self, code: str, vm: str = "") -> list[Finding]:
        """Those with this code, about this VM where one is named."""
        return [one for one in self.findings if one["code"] == code and vm in ("", one["vm"])]

    def one(self, code: str, vm: str = "") -> Finding:
        """The only one."""
        found = self.of(code, vm)
        assert len(found) == 1, self.findings
        return found[0]


def follow(lab: Lab, remedy: str, host: str) -> None:
    """Run the first virsh command of a remedy on that host, as it is written."""
    words = re.search(r"virsh (.+?)(?:\.(?: |$)|;|$)", remedy)
    assert words is not None, remedy
    assert host in remedy
    lab.virsh(host, *shlex.split(words.group(1)))


@pytest.fixture
def twins(lab: Lab) -> Iterator[Path]:
    """A file with a VM that needs no disk; nothing of it is left on any host."""
    document = lab.fleet.with_name("twin.xml")
    document.write_text(TWIN)
    yield document
    for host in HOSTS:
        lab.virsh(host, "destroy", UUID, check=False)
        lab.virsh(host, "undefine", UUID, check=False)


def test_a_vm_that_runs_twice_is_an_alarm(lab: Lab, ferry: Ferry, twins: Path) -> None:
    lab.virsh("kvm-a", "create", str(twins))
    lab.virsh("kvm-b", "create", str(twins))
    eventually(lambda: "RUNS TWICE" in ferry.run("vms").stderr, "vms tells of it")
    vms = ferry.run("vms", "--json")
    assert vms.returncode == 3
    assert f"{NAME} RUNS TWICE: on kvm-a and on kvm-b" in vms.stderr
    assert [vm["host"] for vm in json.loads(vms.stdout) if vm["name"] == NAME] == ["kvm-a", "kvm-b"]
    doctor = Doctor(ferry)
    assert doctor.exit_code == 3
    found = doctor.one("vm-runs-twice", NAME)
    assert (found["grade"], found["hosts"]) == ("alarm", ["kvm-a", "kvm-b"])
    assert f"virsh destroy {UUID}" in found["remedy"]
    lab.virsh("kvm-b", "destroy", UUID)
    eventually(lambda: "TWICE" not in ferry.run("vms").stderr, "the alarm is gone")


@pytest.mark.long
def test_a_paused_copy_beside_one_that_runs_is_an_alarm(
    lab: Lab, ferry: Ferry, twins: Path
) -> None:
    lab.virsh("kvm-a", "create", str(twins))
    lab.virsh("kvm-b", "create", "--paused", str(twins))
    doctor = Doctor(ferry)
    found = doctor.one("vm-active-twice", NAME)
    assert doctor.exit_code == 3
    assert "it runs on kvm-a and is paused" in found["sentence"]
    assert "Risked: a resume of the other" in found["sentence"]
    follow(lab, found["remedy"], "kvm-b")
    assert not Doctor(ferry).of("vm-active-twice", NAME)


@pytest.mark.long
def test_a_stale_definition_is_found_and_mended(lab: Lab, ferry: Ferry) -> None:
    home, away = host_of(lab, "idle-1"), other(lab, "idle-1")
    document = lab.fleet.with_name("stale.xml")
    document.write_text(lab.virsh(home, "dumpxml", "--inactive", "idle-1"))
    lab.virsh(away, "define", str(document))
    doctor = Doctor(ferry)
    found = doctor.one("vm-stale-definition", "idle-1")
    assert doctor.exit_code == 1
    assert found["hosts"] == [away, home]
    assert f"{away} holds a stale definition of idle-1" in found["sentence"]
    follow(lab, found["remedy"], away)
    assert not Doctor(ferry).of("vm-stale-definition", "idle-1")
    assert host_of(lab, "idle-1") == home


@pytest.mark.long
def test_one_that_is_shut_off_on_two_hosts_is_told(lab: Lab, ferry: Ferry, twins: Path) -> None:
    for host in ("kvm-a", "kvm-c"):
        lab.virsh(host, "define", str(twins))
    found = Doctor(ferry).one("vm-defined-twice", NAME)
    assert found["hosts"] == ["kvm-a", "kvm-c"]
    assert "Start neither before" in found["remedy"]


@pytest.mark.long
def test_leftover_limits_are_found_and_mended(lab: Lab, ferry: Ferry) -> None:
    home = host_of(lab, "idle-1")
    lab.virsh(home, "migrate-setmaxdowntime", "idle-1", "777")
    lab.virsh(home, "migrate-setspeed", "idle-1", "10")
    doctor = Doctor(ferry)
    assert doctor.exit_code == 1
    pause, rate = doctor.one("limit-pause", "idle-1"), doctor.one("limit-bandwidth", "idle-1")
    assert "777 ms" in pause["sentence"]
    assert "10.5 MB/s" in rate["sentence"]
    follow(lab, pause["remedy"], home)
    follow(lab, rate["remedy"], home)
    again = Doctor(ferry)
    assert not again.of("limit-pause", "idle-1") + again.of("limit-bandwidth", "idle-1")


@pytest.fixture
def unfinished(lab: Lab) -> Iterator[str]:
    """The path of an image under the name that a cold move copies to, on kvm-c."""
    name = "files 1.qcow2.part-abc123"
    lab.virsh("kvm-c", "vol-create-as", "default", name, "1M")
    yield f"{IMAGES}/{name}"
    lab.virsh("kvm-c", "vol-delete", "--pool", "default", name, check=False)


@pytest.mark.long
def test_an_unfinished_copy_is_found_and_removed(lab: Lab, ferry: Ferry, unfinished: str) -> None:
    assert "another engine may be at work" in Doctor(ferry).one("volume-unfinished")["sentence"]
    long_ago = time.time() - 7200
    os.utime(outside(lab, "kvm-c", unfinished), (long_ago, long_ago))
    doctor = Doctor(ferry)
    found = doctor.one("volume-unfinished")
    assert doctor.exit_code == 1
    assert unfinished in found["sentence"]
    assert found["hosts"] == ["kvm-c"]
    follow(lab, found["remedy"], "kvm-c")
    assert not outside(lab, "kvm-c", unfinished).exists()
    assert not Doctor(ferry).of("volume-unfinished")


@pytest.mark.long
def test_an_image_kept_at_a_source_is_a_remark(lab: Lab, ferry: Ferry) -> None:
    home, away = host_of(lab, "files-1"), other(lab, "files-1")
    lab.virsh(away, "pool-refresh", "default")
    if "files-1.qcow2" not in lab.virsh(away, "vol-list", "default"):
        lab.virsh(away, "vol-create-as", "default", "files-1.qcow2", "1M")
    try:
        (kept,) = [
            one for one in Doctor(ferry).of("volume-kept", "files-1") if one["hosts"] == [away]
        ]
        assert kept["grade"] == "remark"
        assert f"is not the image that files-1 uses on {home}" in kept["sentence"]
        shared = [one for one in Doctor(ferry).findings if "shared-1.qcow2" in one["sentence"]]
        assert not shared, "what all hosts mount is one image, and it is used"
    finally:
        lab.virsh(away, "vol-delete", "--pool", "default", "files-1.qcow2")


@pytest.mark.long
def test_certificates_that_are_expired_misnamed_and_foreign_are_told(
    lab: Lab, ferry: Ferry
) -> None:
    pki = lab.fleet.parent / "hosts" / "kvm-b" / "etc" / "pki" / "qemu"
    with replaced(pki / "server-cert.pem", foreign("kvm-x", days=-3)):
        doctor = Doctor(ferry)
    assert doctor.exit_code == 1
    assert "expired 3 days ago" in doctor.one("certificate-expired")["sentence"]
    assert "is for kvm-x, not for kvm-b" in doctor.one("certificate-wrong-name")["sentence"]
    assert doctor.one("certificate-not-trusted")["sentence"].startswith(
        "kvm-a and kvm-c do not trust QEMU's server certificate of kvm-b"
    )
    with replaced(pki / "client-cert.pem", None):
        missing = Doctor(ferry).one("certificate-missing")
    assert "QEMU's client certificate on kvm-b is missing" in missing["sentence"]
    assert Doctor(ferry).one("certificates-ok")


@contextmanager
def replaced(path: Path, content: bytes | None) -> Iterator[None]:
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        if content is not None:
            path.write_bytes(content)
        yield
    finally:
        aside.replace(path)


def foreign(name: str, days: int) -> bytes:
    """A certificate of nobody's authority that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ends = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=30))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.long
def test_a_name_that_others_do_not_know_is_told(lab: Lab, ferry: Ferry, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    text = lab.fleet.read_text()
    assert "qemu+tls://kvm-b/system" in text
    fleet.write_text(text.replace("qemu+tls://kvm-b/system", "qemu+tls://kvm-nowhere/system"))
    doctor = Doctor(Ferry(fleet, ferry.state))
    assert doctor.exit_code == 1
    assert doctor.one("name-unknown")["hosts"] == ["kvm-a", "kvm-c", "kvm-b"]
    assert "cannot use qemu+tls://kvm-nowhere/system" in doctor.one("reach-name")["sentence"]
    assert "not for kvm-nowhere" in doctor.one("certificate-wrong-name")["sentence"]


@pytest.mark.long
def test_a_dead_host_is_a_finding_and_stalls_nobody(lab: Lab, ferry: Ferry) -> None:
    lab.set_link("kvm-c", "down")
    try:
        ferry.stop()  # an engine that has never reached it waits the longest
        doctor = Doctor(ferry)
    finally:
        lab.set_link("kvm-c", "up")
    assert doctor.exit_code == 1
    assert doctor.told["took_s"] < 20
    assert doctor.one("host-unreachable")["hosts"] == ["kvm-c"]
    for check in ("certificates", "reach", "ports", "vms"):
        assert "not kvm-c" in doctor.one(f"{check}-ok")["sentence"]
    eventually(lambda: ferry.run("hosts").returncode == 0, "kvm-c is back", 30)


@pytest.mark.long
def test_an_incoming_copy_whose_source_is_gone_is_found(lab: Lab, ferry: Ferry) -> None:
    name, source, target = "idle-1", host_of(lab, "idle-1"), other(lab, "idle-1")
    with deaf_daemon(lab, target):
        with migrating_slowly(lab, name, source, target) as sending:
            cut_silently(lab, source)
            assert sending.wait(60) != 0
            eventually(lambda: ferry.run("hosts").returncode == 3, f"{source} is lost", 30)
            lost = Doctor(ferry)
        alarm = lost.one("vm-maybe-elsewhere", name)
        assert (lost.exit_code, alarm["hosts"]) == (3, [target, source])
        assert f"Not known: whether it runs on {source}" in alarm["sentence"]
        assert f"Bring {source} back" in alarm["remedy"]
        eventually(lambda: ferry.run("hosts").returncode == 0, "all hosts answer", 30)
        assert lab.virsh(source, "domstate", name).strip() == "running"
        assert lab.virsh(target, "domstate", name).strip() == "paused"
        doctor = Doctor(ferry)
        (found,) = doctor.of("job-no-source", name) + doctor.of("vm-copy-left", name)
        assert doctor.exit_code == 1
        assert found["hosts"] == [target, source]
        assert f"runs on {source}" in found["sentence"]
        assert not doctor.of("vm-runs-twice", name)
        follow(lab, found["remedy"], target)
        again = Doctor(ferry)
        assert not again.of("job-no-source", name) + again.of("vm-copy-left", name)
        assert lab.virsh(source, "domstate", name).strip() == "running"


@pytest.mark.long
def test_a_migration_that_goes_on_is_neither_alarm_nor_finding(lab: Lab, ferry: Ferry) -> None:
    """Begun with virsh: the engine knows no more of it than the hosts tell."""
    for _ in range(2):
        source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
        words = ["--live", "--p2p", "--tls", "--persistent", "--undefinesource"]
        sending = subprocess.Popen(
            [
                "virsh",
                "-c",
                lab.uri(source),
                "migrate",
                *words,
                "idle-1",
                f"qemu+tls://{target}/system",
            ]
        )
        told = []
        while sending.poll() is None:
            told.append(ferry.run("vms").stderr)
            told += [one["code"] for one in Doctor(ferry).findings if one["vm"] == "idle-1"]
        told.append(ferry.run("vms").stderr)
        told += [one["code"] for one in Doctor(ferry).findings if one["vm"] == "idle-1"]
        assert sending.returncode == 0
        assert not [one for one in told if one]


@contextmanager
def migrating_slowly(
    lab: Lab, name: str, source: str, target: str
) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU itself sends slowly, so nothing is under way when the link is cut."""
    uri = f"qemu+tls://{target}/system"
    words = ["migrate", "--live", "--p2p", "--bandwidth", "1", name, uri]
    sending = subprocess.Popen(
        ["virsh", "-c", lab.uri(source), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: sends(lab, source, name), f"{source} sends")
        yield sending
    finally:
        sending.kill()
        sending.wait()
        lab.set_link(source, "up")


def sends(lab: Lab, source: str, name: str) -> bool:
    """Memory is on its way: whatever the daemons say to each other before that is said."""
    return "Memory processed" in lab.virsh(source, "domjobinfo", name, check=False)


def cut_silently(lab: Lab, source: str) -> None:
    """Both connections of a migration end at the source, and the target never hears of it."""
    lab.set_link(source, "down")
    for port in ("= :16514", "ge :49152"):
        subprocess.run(
            ["ip", "netns", "exec", lab.netns(source), "ss", "-K", "-tn", "dport", *port.split()],
            check=True,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def deaf_daemon(lab: Lab, host: str) -> Iterator[None]:
    """A daemon that does not notice when a client has gone silent."""
    conf = lab.fleet.parent / "hosts" / host / "etc" / "libvirt" / "libvirtd.conf"
    before = conf.read_text()
    conf.write_text(before + "keepalive_interval = -1\n")
    restart_daemon(lab, host)
    try:
        yield
    finally:
        conf.write_text(before)
        restart_daemon(lab, host)


def restart_daemon(lab: Lab, host: str) -> None:
    pid_file = lab.fleet.parent / "hosts" / host / "run" / "libvirtd.pid"
    pid = int(pid_file.read_text())
    os.kill(pid, 15)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), f"the daemon of {host} has ended", 30)
    lab.up()
