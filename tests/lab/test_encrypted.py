"""A disk that is encrypted (LUKS inside of qcow2) moves shut off, as it is, and starts with the key
that the target has; while it runs it is refused with the reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import HOSTS, IMAGES, assert_defined_only_on, outside, qemu_img, set_links

pytestmark = [pytest.mark.lab, pytest.mark.long]

NAME = "sealed-1"
IMAGE = f"{IMAGES}/{NAME}.qcow2"
SECRET = "3f6c2a0e-6d0b-4b43-9b0f-2a7f5c1d9e11"
KEY = "a passphrase"
SOURCE, TARGET = HOSTS[:2]


@pytest.fixture(autouse=True)
def vm(lab: Lab) -> Iterator[Path]:
    """Shut off, its key known to both hosts; its image."""
    lab.run("quiet")
    set_links(lab, "1gbit")
    gone(lab)
    image = outside(lab, SOURCE, IMAGE)
    key = ("--object", f"secret,id=key,data={KEY}")
    options = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"
    qemu_img("create", "-q", "-f", "qcow2", *key, "-o", options, image, "32M")
    document = lab.fleet.with_name("sealed.xml")
    for host in (SOURCE, TARGET):
        document.write_text(
            f"<secret ephemeral='no' private='no'><uuid>{SECRET}</uuid>"
            f"<usage type='volume'><volume>{IMAGE}</volume></usage></secret>"
        )
        lab.virsh(host, "secret-define", str(document))
        document.write_text(KEY)
        lab.virsh(host, "secret-set-value", SECRET, "--file", str(document), "--plain")
    document.write_text(domain())
    lab.virsh(SOURCE, "define", str(document))
    document.unlink()
    yield image
    gone(lab)


def gone(lab: Lab) -> None:
    for host in (SOURCE, TARGET):
        for words in (("destroy", NAME), ("undefine", NAME), ("secret-undefine", SECRET)):
            lab.virsh(host, *words, check=False)
        outside(lab, host, IMAGE).unlink(missing_ok=True)
        lab.virsh(host, "pool-refresh", "default")


def domain() -> str:
    return f"""
    <domain type='qemu'>
      <name>{NAME}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
      <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
      <devices>
        <disk type='file' device='disk'>
          <driver name='qemu' type='qcow2' cache='none'/>
          <source file='{IMAGE}'>
            <encryption format='luks'><secret type='passphrase' uuid='{SECRET}'/></encryption>
          </source>
          <target dev='vda' bus='virtio'/>
        </disk>
      </devices>
    </domain>
    """


def seen(ferry: Ferry, state: str) -> None:
    def is_seen() -> bool:
        vms = [(one["host"], one["state"]) for one in ferry.json("vms") if one["name"] == NAME]
        return vms == [(SOURCE, state)]

    eventually(is_seen, f"the engine sees {NAME}")


def test_shut_off_it_moves_as_it_is_and_starts(lab: Lab, ferry: Ferry, vm: Path) -> None:
    seen(ferry, "shut off")
    before = vm.read_bytes()
    (plan,) = ferry.json("plan", NAME, "--to", TARGET)
    (said,) = [one for one in plan["findings"] if one["code"] == "storage-encrypted"]
    assert f"{TARGET} needs libvirt's secret" in said["sentence"]
    events, code = ferry.migrate(NAME, "--to", TARGET)
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["leftovers"]) == (0, "moved", []), verdict
    assert "every byte is equal" in verdict["disks"][0]
    assert "is encrypted, so qemu-img cannot check it" in verdict["disks"][0]
    assert outside(lab, TARGET, IMAGE).read_bytes() == before
    assert_defined_only_on(lab, NAME, TARGET)
    lab.virsh(TARGET, "start", NAME)
    lab.virsh(TARGET, "destroy", NAME)


def test_while_it_runs_it_is_refused_with_the_reason(lab: Lab, ferry: Ferry, vm: Path) -> None:
    lab.virsh(SOURCE, "start", NAME)
    seen(ferry, "running")
    done = ferry.run("migrate", NAME, "--to", TARGET)
    assert done.returncode == 2, done.stdout
    assert "it is encrypted: only shut off it can be copied" in done.stderr
    assert not outside(lab, TARGET, IMAGE).exists()
    lab.virsh(SOURCE, "destroy", NAME)
    assert vm.exists()
