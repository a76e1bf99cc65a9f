"""A disk that is a block device of its host (a loop device here) is copied into a raw file."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import HOSTS, IMAGES, assert_defined_only_on, outside

pytestmark = [pytest.mark.lab, pytest.mark.long]

MIB = 2**20
NAME = "device-1"
COPY = f"{IMAGES}/{NAME}-vda.img"
BYTES = 40 * MIB


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A VM without an operating system at `source`; its disk is `device`, of `content`."""

    lab: Lab
    source: str
    target: str
    device: str
    content: bytes
    file: Path
    """What its device is made of."""

    def start(self) -> None:
        self.lab.virsh(self.source, "start", NAME)

    def disk_at(self, host: str) -> str:
        lines = self.lab.virsh(host, "domblklist", NAME).splitlines()
        return next(line.split(maxsplit=1)[1] for line in lines if line.split()[:1] == ["vda"])

    def copy_at(self, host: str) -> Path:
        return outside(self.lab, host, COPY)

    def seen_by(self, ferry: Ferry, state: str) -> None:
        def seen() -> bool:
            vms = [(one["host"], one["state"]) for one in ferry.json("vms") if one["name"] == NAME]
            return vms == [(self.source, state)]

        eventually(seen, f"the engine sees {NAME}")


@pytest.fixture
def vm(lab: Lab) -> Iterator[OnDevice]:
    lab.run("quiet")
    source, target = HOSTS[:2]
    content = os.urandom(8 * MIB) + bytes(16 * MIB) + os.urandom(BYTES - 24 * MIB)
    file = lab.fleet.parent / "device.img"
    file.write_bytes(content)
    device = run("losetup", "--show", "-f", str(file)).strip()
    try:
        document = lab.fleet.parent / "device.xml"
        document.write_text(domain(device))
        lab.virsh(source, "define", str(document))
        yield OnDevice(lab, source, target, device, content, file)
    finally:
        for host in HOSTS:
            lab.virsh(host, "destroy", NAME, check=False)
            lab.virsh(host, "undefine", NAME, check=False)
            outside(lab, host, COPY).unlink(missing_ok=True)
            lab.virsh(host, "pool-refresh", "default")
        run("losetup", "-d", device)
        file.unlink()
        document.unlink()


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


def domain(device: str) -> str:
    return f"""
    <domain type='qemu'>
      <name>{NAME}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
      <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
      <devices>
        <disk type='block' device='disk'>
          <driver name='qemu' type='raw' cache='none'/>
          <source dev='{device}'/><target dev='vda' bus='virtio'/>
        </disk>
      </devices>
    </domain>
    """


def test_a_device_that_may_be_another_one_there_is_refused_with_the_way_out(
    ferry: Ferry, vm: OnDevice
) -> None:
    vm.seen_by(ferry, "shut off")
    (plan,) = ferry.json("plan", NAME, "--to", vm.target)
    found = next(one for one in plan["findings"] if one["code"] == "storage-device-unproven")
    assert "--disk vda=POOL" in found["remedy"]
    assert plan["blocked"]


def test_shut_off_it_becomes_a_raw_file(ferry: Ferry, vm: OnDevice) -> None:
    vm.seen_by(ferry, "shut off")
    words = (NAME, "--to", vm.target, "--disk", "vda=default", "--remove-source")
    (plan,) = ferry.json("plan", *words)
    found = next(one for one in plan["findings"] if one["code"] == "storage-device")
    assert COPY in found["sentence"]
    events, code = ferry.migrate(*words)
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["mode"]) == (0, "moved", "cold"), verdict
    assert "every byte is equal" in verdict["disks"][0]
    assert verdict["kept"] == [f"kept: {vm.device} on {vm.source}"]
    assert "never removed" in verdict["leftovers"][0]
    assert "rm " not in verdict["leftovers"][0]
    assert_defined_only_on(vm.lab, NAME, vm.target)
    assert vm.copy_at(vm.target).read_bytes() == vm.content
    assert Path(vm.device).read_bytes() == vm.content
    assert vm.disk_at(vm.target) == COPY
    vm.lab.virsh(vm.target, "start", NAME)


def test_live_it_becomes_a_raw_file(ferry: Ferry, vm: OnDevice) -> None:
    vm.start()
    vm.seen_by(ferry, "running")
    events, code = ferry.migrate(NAME, "--to", vm.target, "--disk", "vda=default")
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["mode"]) == (0, "moved", "live"), verdict
    assert verdict["leftovers"] == []
    assert_defined_only_on(vm.lab, NAME, vm.target)
    assert vm.disk_at(vm.target) == COPY
    assert COPY in vm.lab.virsh(vm.target, "domblklist", NAME, "--inactive")
    vm.lab.virsh(vm.target, "destroy", NAME)
    assert vm.copy_at(vm.target).read_bytes() == vm.content


@pytest.mark.parametrize("mode", ["cold", "live", "storage"])
def test_a_device_that_cannot_be_read_to_its_end_stays(
    ferry: Ferry, vm: OnDevice, mode: str
) -> None:
    """Its kernel answers with an I/O error from there on."""
    if mode != "cold":
        vm.start()
    state = "shut off" if mode == "cold" else "running"
    vm.seen_by(ferry, state)
    os.truncate(vm.file, BYTES // 2)
    where = ("--mode", mode) if mode == "storage" else ("--to", vm.target)
    events, code = ferry.migrate(NAME, *where, "--disk", "vda=default")
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["owner"]) == (1, "stayed", vm.source), verdict
    assert verdict["leftovers"] == []
    print(verdict["reason"])
    for host in (vm.source, vm.target):
        assert not vm.copy_at(host).exists()
    assert_defined_only_on(vm.lab, NAME, vm.source)
    assert vm.lab.virsh(vm.source, "domstate", NAME).strip() == state
    assert vm.disk_at(vm.source) == vm.device
    vm.file.write_bytes(vm.content)
    assert vm.lab.virsh(vm.source, "domblkerror", NAME, check=False).strip() in (
        "",
        "No errors found",
    )


@pytest.mark.parametrize("runs", [True, False])
def test_it_goes_into_a_pool_of_its_own_host(ferry: Ferry, vm: OnDevice, runs: bool) -> None:
    if runs:
        vm.start()
    vm.seen_by(ferry, "running" if runs else "shut off")
    events, code = ferry.migrate(NAME, "--mode", "storage", "--disk", "vda=default")
    assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
    assert vm.disk_at(vm.source) == COPY
    vm.lab.virsh(vm.source, "destroy", NAME, check=False)
    assert vm.copy_at(vm.source).read_bytes() == vm.content
