"""Live migrations with local disks, judged by the images themselves and from both ends."""

import asyncio
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from backend.lab.netns import connect
from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Event, Ferry
from tests.lab.places import (
    HOSTS,
    IMAGES,
    assert_defined_only_on,
    host_of,
    images_of,
    in_host,
    of,
    only_at_home,
    other,
    outside,
    qemu_img,
    set_links,
)

NBD_OPT_LIST = 3
NBD_REP_ERR_TLS_REQD = 0x80000005
MIGRATION_PORTS = range(49156, 49151, -1)
"""The memory's own, the lowest, is met last: it would take a stranger for its source."""

pytestmark = pytest.mark.lab

VM = "files-1"
IMAGE = f"{VM}.qcow2"
USED_BYTES = 100_000_000
SLOW, FAST = "200mbit", "1gbit"
CRAWL = "40mbit"


@pytest.fixture(autouse=True)
def alone(lab: Lab) -> Iterator[None]:
    """Only the VM's own host has an image of it, and the links are quick, also afterwards."""
    only_at_home(lab, VM)
    yield
    only_at_home(lab, VM)


@pytest.fixture
def second(lab: Lab) -> Iterator[str]:
    """Another pool on every host; a VM that went there goes on without it."""
    for host in HOSTS:
        words = ("second", "dir", "--target", "/var/lib/libvirt/second")
        lab.virsh(host, "pool-create-as", *words, "--build")
    yield "second"
    for host in HOSTS:
        lab.virsh(host, "pool-destroy", "second", check=False)


@pytest.fixture
def small(lab: Lab) -> Iterator[str]:
    """A pool of 64 MiB on every host."""
    for host in HOSTS:
        in_host(lab, host, "mkdir", "-p", "/mnt/small")
        in_host(lab, host, "mount", "-t", "tmpfs", "-o", "size=64m", "small", "/mnt/small")
        lab.virsh(host, "pool-create-as", "small", "dir", "--target", "/mnt/small")
    yield "small"
    for host in HOSTS:
        lab.virsh(host, "pool-destroy", "small", check=False)
        in_host(lab, host, "umount", "/mnt/small")


def disk_of(lab: Lab, host: str, *flags: str) -> str:
    """The path of vda in a definition."""
    lines = lab.virsh(host, "domblklist", VM, *flags).splitlines()
    return next(line.split()[1] for line in lines if line.split()[:1] == ["vda"])


def assert_only_on(lab: Lab, host: str) -> None:
    assert_defined_only_on(lab, VM, host)
    eventually(lambda: lab.vm(VM)["memory_ok"] is True, "the guest answers", 30)


def active_phases(events: list[Event]) -> list[str]:
    return [e["phase"] for e in of(events, "phase") if e["state"] == "active"]


def assert_never_backwards(events: list[Event]) -> None:
    disks = of(events, "disk")
    assert disks
    for key in ("done_bytes", "progress"):
        values = [disk[key] for disk in disks]
        assert values == sorted(values), key
    assert disks[-1]["progress"] == 1.0
    assert all(disk["done_bytes"] <= disk["total_bytes"] for disk in disks)
    sent = [sample["sent_bytes"] for sample in of(events, "sample")]
    assert sent == sorted(sent)
    passes = [sample["pass_number"] for sample in of(events, "sample")]
    assert passes == sorted(passes)


def test_the_plan_names_each_disk_with_its_place(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, VM), other(lab, VM)
    before = {host: images_of(lab, host, VM) for host in HOSTS}
    (plan,) = ferry.json("plan", VM, "--to", target)
    assert plan["blocked"] is False
    (disk,) = plan["disks"]
    assert disk["action"] == "copy"
    assert disk["source"] == disk["destination"] == f"{IMAGES}/{IMAGE}"
    assert (disk["pool"], disk["volume"], disk["format"]) == ("default", IMAGE, "qcow2")
    assert disk["virtual_bytes"] == 2**30
    assert USED_BYTES <= disk["allocated_bytes"] < 1.1 * USED_BYTES
    assert disk["room_bytes"] > USED_BYTES
    assert "qemu-img check" in disk["verified_by"]
    assert "--migrate-disks vda" in plan["virsh"]
    text = ferry.run("plan", VM, "--to", target).stdout
    assert f"to {IMAGES}/{IMAGE} on {target}" in text
    assert {host: images_of(lab, host, VM) for host in HOSTS} == before
    assert host_of(lab, VM) == source


def test_a_vm_moves_with_its_disk_and_not_a_byte_is_lost(lab: Lab, ferry: Ferry) -> None:
    set_links(lab, SLOW)
    source, target = host_of(lab, VM), other(lab, VM)
    events, code = ferry.migrate(VM, "--to", target)
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["owner"]) == (0, "moved", target), verdict
    assert verdict["leftovers"] == []
    assert verdict["kept"] == [f"kept: {IMAGES}/{IMAGE} on {source}"]
    assert "1.0 G virtual on both" in verdict["disks"][0]
    assert "passes qemu-img check" in verdict["disks"][0]
    assert verdict["encrypted"] is True
    assert verdict["sent_bytes"] > USED_BYTES
    assert active_phases(events)[:3] == ["prepare", "disk", "memory"]
    assert_never_backwards(events)
    assert any(event["word"] == "COPYING DISK" for event in of(events, "outlook"))
    made = next(e for e in of(events, "decision") if e["action"] == "volume")
    assert f"creating {IMAGES}/{IMAGE} on {target}" in made["reason"]
    band = verdict["forecast"]["total_s"]
    print(f"forecast {band['low']:.1f}-{band['high']:.1f} s, took {verdict['total_s']:.1f} s")
    assert_only_on(lab, target)
    compare_and_start_again(lab, source, target, f"{IMAGES}/{IMAGE}")


def compare_and_start_again(lab: Lab, source: str, target: str, path: str) -> None:
    """With the VM off: the kept image against the copy; then it starts from the copy."""
    lab.virsh(target, "destroy", VM)
    old, new = outside(lab, source, f"{IMAGES}/{IMAGE}"), outside(lab, target, path)
    assert "identical" in qemu_img("compare", "-f", "qcow2", "-F", "qcow2", old, new)
    qemu_img("check", new)
    info = json.loads(qemu_img("info", "--output=json", new))
    assert (info["format"], info["virtual-size"]) == ("qcow2", 2**30)
    assert info["actual-size"] < 1.5 * USED_BYTES, "its holes were written out"
    lab.virsh(target, "start", VM)
    assert disk_of(lab, target) == path
    assert_only_on(lab, target)


@pytest.mark.long
def test_another_pool_and_name_and_the_source_is_removed(
    lab: Lab, ferry: Ferry, second: str
) -> None:
    source, target = host_of(lab, VM), other(lab, VM)
    reference = lab.fleet.parent / "reference.qcow2"
    was = disk_of(lab, source)
    old = outside(lab, source, was)
    qemu_img("convert", "-U", "-O", "qcow2", old, reference)
    try:
        words = ("--disk", f"vda={second}:moved 1.qcow2", "--remove-source")
        events, code = ferry.migrate(VM, "--to", target, *words)
        verdict = events[-1]
        assert (code, verdict["outcome"]) == (0, "moved"), verdict
        assert (verdict["leftovers"], verdict["kept"]) == ([], [])
        path = "/var/lib/libvirt/second/moved 1.qcow2"
        for flags in ((), ("--inactive",)):
            assert path in lab.virsh(target, "domblklist", VM, *flags)
        assert not old.exists()
        assert_only_on(lab, target)
        lab.virsh(target, "destroy", VM)
        assert "identical" in qemu_img("compare", reference, outside(lab, target, path))
        lab.virsh(target, "start", VM)
        back, code = ferry.migrate(VM, "--to", source, "--disk", f"vda=default:{IMAGE}")
        assert (code, back[-1]["outcome"]) == (0, "moved"), back[-1]
        assert disk_of(lab, source) == f"{IMAGES}/{IMAGE}"
        assert back[-1]["kept"] == [f"kept: {path} on {target}"]
    finally:
        reference.unlink(missing_ok=True)
        outside(lab, target, "/var/lib/libvirt/second/moved 1.qcow2").unlink(missing_ok=True)


@pytest.mark.long
async def test_an_abort_while_disks_are_copied_leaves_all_as_it_was(lab: Lab, ferry: Ferry) -> None:
    for host in HOSTS:
        lab.run("link", host, CRAWL)
    source, target = host_of(lab, VM), other(lab, VM)
    async with ferry.migrating(VM, "--to", target) as running:
        await running.until(event="disk", done_bytes=lambda done: done > 5_000_000)
        assert images_of(lab, target, VM) == [IMAGE]
        done = await asyncio.to_thread(ferry.run, "abort", VM)
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert verdict["leftovers"] == []
    assert "as asked" in verdict["reason"]
    assert "memory" not in active_phases(running.events)
    assert images_of(lab, target, VM) == []
    assert_only_on(lab, source)
    assert lab.virsh(source, "blockjob", VM, "vda") == ""
    lab.virsh(source, "destroy", VM)
    qemu_img("check", outside(lab, source, disk_of(lab, source, "--inactive")))
    lab.virsh(source, "start", VM)
    assert_only_on(lab, source)


def refused(ferry: Ferry, *words: str) -> str:
    done = ferry.run("migrate", VM, *words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_pool_that_is_too_small_is_found_before_anything_is_touched(
    lab: Lab, ferry: Ferry, small: str
) -> None:
    target = other(lab, VM)
    said = refused(ferry, "--to", target, "--disk", f"vda={small}")
    assert "vda needs" in said
    assert "64 M free" in said
    assert "Nothing was touched" in said
    assert images_of(lab, target, VM) == []


def test_what_is_there_is_not_written_over(lab: Lab, ferry: Ferry) -> None:
    target = other(lab, VM)
    precious = outside(lab, target, f"{IMAGES}/{IMAGE}")
    precious.write_text("not yours")
    try:
        said = refused(ferry, "--to", target)
        assert f"{IMAGES}/{IMAGE} exists on {target} already" in said
        assert precious.read_text() == "not yours"
    finally:
        precious.unlink()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--disk", "vda"), "--disk"),
        (("--disk", "vda=../etc"), "cannot be a name"),
        (("--disk", "vda=default:../x"), "cannot be a name"),
        (("--disk", "vda=mars"), "no pool mars"),
        (("--disk", "vdz=default"), "no disk vdz"),
        (("--network", "br0"), "--network"),
        (("--network", "br0=mars0"), "bridge mars0 is missing"),
    ],
)
def test_bad_choices_are_refused(lab: Lab, ferry: Ferry, words: tuple[str, ...], says: str) -> None:
    assert says in refused(ferry, "--to", other(lab, VM), *words)


@pytest.mark.long
def test_a_vm_goes_to_another_bridge(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, VM), other(lab, VM)
    netns = ("ip", "-n", lab.netns(target), "link")
    subprocess.run([*netns, "add", "br-lan", "type", "bridge"], check=True)
    subprocess.run([*netns, "set", "br-lan", "up"], check=True)
    try:
        events, code = ferry.migrate(VM, "--to", target, "--network", "br0=br-lan")
        assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
        for flags in ((), ("--inactive",)):
            assert "br-lan" in lab.virsh(target, "domiflist", VM, *flags)
        lab.virsh(source, "pool-refresh", "default")
        lab.virsh(source, "vol-delete", "--pool", "default", IMAGE)
        events, code = ferry.migrate(VM, "--to", source, "--network", "br-lan=br0")
        assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
        assert "br0" in lab.virsh(source, "domiflist", VM)
        assert_only_on(lab, source)
    finally:
        subprocess.run([*netns, "del", "br-lan"], check=False)


@pytest.mark.long
async def test_the_disks_too_go_encrypted(lab: Lab, ferry: Ferry) -> None:
    """The target's NBD server hands nothing to who does not begin TLS."""
    for host in HOSTS:
        lab.run("link", host, CRAWL)
    target = other(lab, VM)
    async with ferry.migrating(VM, "--to", target) as running:
        await running.until(event="disk", done_bytes=lambda done: done > 2_000_000)
        said = await asyncio.to_thread(plaintext_answer, lab, target)
        await asyncio.to_thread(ferry.run, "abort", VM)
        await running.verdict()
    assert said == NBD_REP_ERR_TLS_REQD


def plaintext_answer(lab: Lab, host: str) -> int:
    """What an NBD server among the migration's ports replies to a list of exports, unencrypted."""
    address = str(lab.host(host)["address"])
    for port in MIGRATION_PORTS:
        with suppress(OSError), connect(lab.operator_netns, address, port, 2.0) as nbd:
            nbd.settimeout(2.0)
            if not nbd.recv(18, socket.MSG_WAITALL).startswith(b"NBDMAGICIHAVEOPT"):
                continue
            nbd.sendall(struct.pack(">I8sII", 1, b"IHAVEOPT", NBD_OPT_LIST, 0))
            _magic, _option, reply, _length = struct.unpack(
                ">QIII", nbd.recv(20, socket.MSG_WAITALL)
            )
            return int(reply)
    raise AssertionError(f"no NBD server answers on {host}")
