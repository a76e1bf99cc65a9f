"""What keeps a move from being possible: each its own sentence with a remedy, before anything is
touched. cockpit-machines' list of migration failures, each produced for real."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import qemu_img
from tests.lab.small_vm import FOLDER, MIB, NAME, POOL, SmallVm

pytestmark = [pytest.mark.lab, pytest.mark.long]

SOURCE, TARGET = "kvm-a", "kvm-b"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def small(lab: Lab, state: Path) -> Iterator[SmallVm]:
    """One VM for all of them: none moves it."""
    lab.quiet()
    vm = SmallVm(lab, SOURCE, TARGET)
    vm.gone()
    vm.make()
    vm.make_pool(TARGET)
    lab.virsh(TARGET, "pool-start", POOL)
    vm.make_network(TARGET)
    lab.virsh(TARGET, "net-start", vm.network)
    yield vm
    vm.gone()
    Ferry(Path(lab.fleet), state).stop()


Broken = Callable[[SmallVm], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Case:
    """One failure: how it is made, and what is said of it."""

    code: str
    sentence: str
    remedy: str
    uri: str = ""
    """The target's migrate_uri in the fleet file."""
    words: tuple[str, ...] = ()
    broken: Broken = field(default=lambda _: nullcontext())
    seen: Callable[[Ferry], bool] = field(default=lambda _: True)
    """The engine has noticed, where it looks by itself."""


@contextmanager
def daemon_stopped(small: SmallVm) -> Iterator[None]:
    pid_file = small.lab.fleet.parent / "hosts" / TARGET / "run" / "libvirtd.pid"
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the target's daemon has ended")
    try:
        yield
    finally:
        small.lab.up()


@contextmanager
def no_certificate(small: SmallVm) -> Iterator[None]:
    pki = small.lab.fleet.parent / "hosts" / SOURCE / "etc" / "pki" / "libvirt"
    certificate, aside = pki / "clientcert.pem", pki / "clientcert.aside"
    certificate.rename(aside)
    try:
        yield
    finally:
        aside.rename(certificate)


@contextmanager
def foreign_ca(small: SmallVm) -> Iterator[None]:
    """The source trusts another authority than the one that signed the target's certificate."""
    pki = small.lab.fleet.parent / "hosts" / SOURCE / "etc" / "pki"
    ca, aside = pki / "CA" / "cacert.pem", pki / "CA" / "cacert.aside"
    ca.rename(aside)
    shutil.copy(next((pki.parent / "ssl" / "certs").glob("ISRG_Root_X1.pem")), ca)
    try:
        yield
    finally:
        aside.replace(ca)


@contextmanager
def other_size_there(small: SmallVm) -> Iterator[None]:
    there = small.outside(TARGET, small.image)
    qemu_img("create", "-f", "qcow2", there, str(80 * MIB))
    small.lab.virsh(TARGET, "pool-refresh", POOL)
    try:
        yield
    finally:
        small.lab.virsh(TARGET, "vol-delete", "--pool", POOL, there.name)


@contextmanager
def no_network(small: SmallVm) -> Iterator[None]:
    small.lab.virsh(TARGET, "net-destroy", small.network)
    small.lab.virsh(TARGET, "net-undefine", small.network)
    try:
        yield
    finally:
        small.make_network(TARGET)
        small.lab.virsh(TARGET, "net-start", small.network)


CASES = {
    "port closed": Case(
        "reach-port",
        "kvm-a cannot connect to qemu+tls://kvm-b:16999/system",
        "Start libvirt's listener on kvm-b",
        uri="qemu+tls://kvm-b:16999/system",
    ),
    "no answer": Case(
        "reach-silent",
        "kvm-a gets no answer from qemu+tls://10.99.99.99/system",
        "firewall on kvm-b",
        uri="qemu+tls://10.99.99.99/system",
    ),
    "authentication missing": Case(
        "reach-credentials",
        "kvm-a has no certificate of its own that kvm-b takes",
        "Install /etc/pki/libvirt/clientcert.pem and private/clientkey.pem on kvm-a",
        broken=no_certificate,
    ),
    "not trusted": Case(
        "reach-certificate",
        "kvm-a and kvm-b do not trust each other's certificates",
        "Install the same CA",
        broken=foreign_ca,
    ),
    "wrong scheme": Case(
        "reach-uri",
        "qemu+tlss://kvm-b/system is no address that libvirt on kvm-a can use",
        "Correct migrate_uri of kvm-b in the fleet file: qemu+tls://kvm-b/system",
        uri="qemu+tlss://kvm-b/system",
    ),
    "wrong path": Case(
        "reach-uri",
        "qemu+tls://kvm-b/sytem is no address that libvirt on kvm-a can use",
        "Correct migrate_uri of kvm-b",
        uri="qemu+tls://kvm-b/sytem",
    ),
    "another host's": Case(
        "reach-other-host",
        "qemu+tls://kvm-c/system does not lead from kvm-a to kvm-b: kvm-c answers there",
        "Correct migrate_uri of kvm-b",
        uri="qemu+tls://kvm-c/system",
    ),
    "unresolvable name": Case(
        "reach-name",
        "kvm-a cannot resolve the name in qemu+tls://kvm-nowhere/system",
        "Add kvm-b to DNS or to /etc/hosts on kvm-a",
        uri="qemu+tls://kvm-nowhere/system",
    ),
    "daemon stopped": Case(
        "host-daemon-stopped",
        "libvirt's daemon does not run on kvm-b",
        "Start it on kvm-b: systemctl start libvirtd",
        broken=daemon_stopped,
        seen=lambda ferry: any(host["daemon_stopped"] for host in ferry.json("hosts")),
    ),
    "pool missing": Case(
        "storage-pool-missing",
        "kvm-b has no pool nowhere",
        "It has default",
        words=("--disk", "vda=nowhere"),
    ),
    "network missing": Case(
        "network-network-missing",
        "network small-net is missing on kvm-b",
        "`--prepare`",
        broken=no_network,
    ),
    "size mismatch": Case(
        "storage-size-differs",
        f"{FOLDER}/{NAME}.qcow2 exists on kvm-b already, with another size: 80 M there, 48 M on"
        " kvm-a: vda is not copied over it",
        "Choose another name",
        broken=other_size_there,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_failure_is_told_before_anything_is_touched(
    lab: Lab, small: SmallVm, state: Path, tmp_path: Path, case: Case
) -> None:
    ferry = Ferry(fleet_with(lab, tmp_path, case.uri), state)
    before = held(lab)
    eventually(lambda: all_up(ferry), "all hosts are up")
    with case.broken(small):
        eventually(lambda: case.seen(ferry), "the engine has noticed")
        (plan,) = ferry.json("plan", NAME, "--to", TARGET, *case.words)
    found = [one for one in plan["findings"] if one["severity"] == "block"]
    assert [one["code"] for one in found] == [case.code]
    assert case.sentence in found[0]["sentence"]
    assert case.remedy in found[0]["remedy"]
    assert plan["blocked"]
    assert held(lab) == before


def test_a_refused_move_says_the_same_in_words(
    lab: Lab, small: SmallVm, state: Path, tmp_path: Path
) -> None:
    case = CASES["unresolvable name"]
    ferry = Ferry(fleet_with(lab, tmp_path, case.uri), state)
    before = held(lab)
    refused = ferry.run("migrate", NAME, "--to", TARGET, "--prepare")
    assert refused.returncode == 2
    assert case.sentence in refused.stderr
    assert case.remedy in refused.stderr
    assert "Nothing was touched." in refused.stderr
    assert held(lab) == before


def all_up(ferry: Ferry) -> bool:
    """After the one before it has mended what it broke."""
    return all(host["state"] == "up" for host in ferry.json("hosts"))


def held(lab: Lab) -> dict[str, Any]:
    """All that both hosts have of VMs, pools, networks, and the files in the pool."""
    return {
        host: [
            lab.virsh(host, *words).split()
            for words in (
                ("list", "--all", "--uuid"),
                ("pool-list", "--all"),
                ("net-list", "--all"),
                ("vol-list", POOL),
            )
        ]
        for host in (SOURCE, TARGET)
    }


def fleet_with(lab: Lab, folder: Path, uri: str) -> Path:
    """The lab's fleet file, the target's migrate_uri replaced."""
    if not uri:
        return Path(lab.fleet)
    was = f'migrate_uri = "qemu+tls://{TARGET}/system"'
    text = lab.fleet.read_text()
    assert was in text
    made = folder / "fleet.toml"
    made.write_text(text.replace(was, f'migrate_uri = "{uri}"'))
    return made


@pytest.fixture
def with_snapshots(lab: Lab) -> Iterator[SmallVm]:
    """One on kvm-c, with two snapshots inside its image of which libvirt knows nothing."""
    vm = SmallVm(lab, "kvm-c", TARGET, name="small-2")
    vm.gone(vm.source)
    vm.make(snapshots=2)
    yield vm
    vm.gone(vm.source)


def test_snapshots_inside_an_image_are_not_lost_to_a_live_mirror(
    lab: Lab, state: Path, small: SmallVm, with_snapshots: SmallVm
) -> None:
    ferry = Ferry(Path(lab.fleet), state)
    with_snapshots.seen_by(ferry)
    (plan,) = ferry.json("plan", with_snapshots.name, "--to", TARGET)
    found = [one for one in plan["findings"] if one["severity"] == "block"]
    assert [one["code"] for one in found] == ["storage-internal-snapshots"]
    assert "has 2 snapshots inside its image" in found[0]["sentence"]
    assert "--mode cold" in found[0]["remedy"]
