"""Disks of a VM that is shut off move between the pools of its host, with and without faults."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Event, Ferry
from tests.lab.places import IMAGES, host_of, in_host, of, outside, qemu_img
from tests.lab.test_cold import OFF, may_start, start_refused
from tests.lab.test_cold_faults import meet

pytestmark = [pytest.mark.lab, pytest.mark.long]

SECOND = "/var/lib/libvirt/second"
HOME, AWAY = f"{IMAGES}/{OFF}.qcow2", f"{SECOND}/{OFF}.qcow2"
STORAGE = ("--mode", "storage")
STEPS = ("create", "copy", "verify", "rename", "repoint", "follow")
TABLE = [
    *(("abort", step) for step in STEPS[:4]),
    *((fault, step) for step in STEPS for fault in ("kill", "daemon")),
]


@pytest.fixture(autouse=True)
def host(lab: Lab) -> Iterator[str]:
    """The VM's host, with a second pool; afterwards all is as it was."""
    name = host_of(lab, OFF)
    xml = lab.virsh(name, "dumpxml", "--inactive", OFF)
    content = outside(lab, name, HOME).read_bytes()
    lab.virsh(name, "pool-define-as", "second", "dir", "--target", SECOND)
    for word in ("pool-build", "pool-start", "pool-autostart"):
        lab.virsh(name, word, "second")
    yield name
    lab.up()
    lab.virsh(name, "destroy", OFF, check=False)
    for snapshot in lab.virsh(name, "snapshot-list", OFF, "--name").split():
        lab.virsh(name, "snapshot-delete", OFF, snapshot, "--metadata")
    document = lab.fleet.parent / "home.xml"
    document.write_text(xml)
    lab.virsh(name, "define", str(document))
    document.unlink()
    outside(lab, name, HOME).write_bytes(content)
    lab.virsh(name, "pool-destroy", "second")
    lab.virsh(name, "pool-undefine", "second")
    in_host(lab, name, "rm", "-rf", SECOND)
    lab.virsh(name, "pool-refresh", "default")


def disk_of(lab: Lab, host: str) -> str:
    lines = lab.virsh(host, "domblklist", OFF, "--inactive").splitlines()
    return next(line.split(maxsplit=1)[1] for line in lines if line.split()[:1] == ["vda"])


def files_in(lab: Lab, host: str, folder: str) -> list[str]:
    return sorted(one.name for one in outside(lab, host, folder).glob(f"{OFF}*"))


def test_a_disk_goes_with_its_snapshots_and_the_old_image_is_removed_as_asked(
    lab: Lab, own_ferry: Ferry, host: str
) -> None:
    lab.virsh(host, "snapshot-create-as", OFF, "before")
    before = outside(lab, host, HOME).read_bytes()
    words = (OFF, *STORAGE, "--disk", "vda=second:moved 1.qcow2")
    (plan,) = own_ferry.json("plan", *words)
    assert (plan["blocked"], plan["virsh"]) == (False, "")
    events, code = own_ferry.migrate(*words, "--remove-source")
    verdict, path = events[-1], f"{SECOND}/moved 1.qcow2"
    assert (code, verdict["outcome"], verdict["owner"]) == (0, "moved", host), verdict
    assert (verdict["mode"], verdict["leftovers"], verdict["kept"]) == ("storage", [], [])
    assert "every byte is equal in the old and the new image" in verdict["disks"][0]
    assert "passes qemu-img check" in verdict["disks"][0]
    assert outside(lab, host, path).read_bytes() == before
    assert disk_of(lab, host) == path
    assert not outside(lab, host, HOME).exists()
    assert sorted(one.name for one in outside(lab, host, SECOND).iterdir()) == ["moved 1.qcow2"]
    active = [e["phase"] for e in of(events, "phase") if e["state"] == "active"]
    assert active == ["prepare", "disk", "switchover", "verify"]
    lab.virsh(host, "snapshot-revert", OFF, "before")
    assert disk_of(lab, host) == path, "reverting put it on its old image"
    lab.virsh(host, "start", OFF)
    eventually(lambda: lab.vm(OFF)["memory_ok"] is True, "it runs from its new image", 40)


def test_it_cannot_be_started_meanwhile_and_an_abort_leaves_nothing(
    lab: Lab, own_ferry: Ferry, host: str
) -> None:
    async def move() -> tuple[Event, int]:
        words = (OFF, *STORAGE, "--disk", "vda=second", "--bandwidth", "2MB/s")
        async with own_ferry.migrating(*words) as moving:
            await moving.until(event="disk", done_bytes=lambda done: done > 0)
            assert "lock" in start_refused(lab, host)
            done = await asyncio.to_thread(own_ferry.run, "abort", OFF)
            assert done.returncode == 0, done.stderr
            return await moving.verdict(), await moving.ended()

    verdict, code = asyncio.run(move())
    assert (code, verdict["outcome"], verdict["leftovers"]) == (1, "stayed", []), verdict
    assert "Aborted as asked" in verdict["reason"]
    assert (disk_of(lab, host), files_in(lab, host, SECOND)) == (HOME, [])
    assert may_start(lab, host)


@pytest.mark.parametrize(("fault", "step"), TABLE)
def test_a_fault_at_a_step(
    lab: Lab, own_ferry: Ferry, host: str, restarting: str, fault: str, step: str
) -> None:
    image = outside(lab, host, HOME)
    before = image.read_bytes()
    command = restarting if fault == "daemon" else fault
    verdict = meet(lab, own_ferry, step, command, "second", target="-")
    own_ferry.run("hosts")  # begins an engine, which takes up what is open
    moved = step == "follow"  # the definition names the new image: there is only forward
    if fault == "daemon" and verdict is not None:
        moved = verdict["outcome"] == "moved"  # one that is back in time is asked again
    assert verdict is None or verdict["outcome"] == ("moved" if moved else "stayed"), verdict
    assert verdict is None or verdict["leftovers"] == []
    path = AWAY if moved else HOME
    if not moved:
        eventually(lambda: files_in(lab, host, SECOND) == [], "nothing is left there", 60)
    assert disk_of(lab, host) == path
    assert image.read_bytes() == before
    assert outside(lab, host, path).read_bytes() == before
    eventually(lambda: may_start(lab, host), "it can be started", 60)
    assert qemu_img("check", "-U", outside(lab, host, path))


@pytest.fixture
def restarting(lab: Lab, host: str) -> Iterator[str]:
    with daemon_back_again(lab, host) as command:
        yield command


@contextmanager
def daemon_back_again(lab: Lab, host: str) -> Iterator[str]:
    """A command that kills the host's daemon, which comes back as systemd would see to."""
    script = lab.fleet.parent / "again.sh"
    pid = lab.fleet.parent / "hosts" / host / "run" / "libvirtd.pid"
    script.write_text(f"kill -9 $(cat {pid})\nexec {sys.executable} -m backend.lab up\n")
    yield f"sh {script}"
    script.unlink()


def test_what_cannot_be_is_refused_with_its_reason(lab: Lab, own_ferry: Ferry, host: str) -> None:
    precious = outside(lab, host, AWAY)
    cases: dict[tuple[str, ...], str] = {
        (OFF,): "it is not said which disk",
        (OFF, "--disk", "vda=default"): f"vda is {HOME} already",
        (OFF, "--disk", "vda=nowhere"): "no pool nowhere",
        (OFF, "--disk", "vdz=second"): "no disk vdz",
    }
    for words, says in cases.items():
        done = own_ferry.run("migrate", *words, *STORAGE)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    precious.write_text("not yours")
    done = own_ferry.run("migrate", OFF, *STORAGE, "--disk", "vda=second")
    assert (done.returncode, "exists on" in done.stderr) == (2, True), done.stderr
    assert precious.read_text() == "not yours"


def test_saved_memory_is_not_left_with_the_old_image(lab: Lab, own_ferry: Ferry, host: str) -> None:
    lab.virsh(host, "start", OFF)
    eventually(lambda: lab.vm(OFF)["memory_ok"] is True, "it runs", 40)
    lab.virsh(host, "managedsave", OFF)
    try:
        done = own_ferry.run("migrate", OFF, *STORAGE, "--disk", "vda=second")
        assert (done.returncode, "managedsave-remove" in done.stderr) == (2, True), done.stderr
    finally:
        lab.virsh(host, "managedsave-remove", OFF)


def test_what_is_damaged_is_not_moved(lab: Lab, own_ferry: Ferry, host: str) -> None:
    image = outside(lab, host, HOME)
    before = image.read_bytes()
    image.write_bytes(before[:0x10000] + b"\xff" * 4096 + before[0x11000:])
    events, code = own_ferry.migrate(OFF, *STORAGE, "--disk", "vda=second")
    said = json.dumps(events[-1])
    assert code in (1, 2), said
    assert image.name in said
    assert (disk_of(lab, host), files_in(lab, host, SECOND)) == (HOME, [])


def test_a_pool_that_fills_up_while_it_is_copied(lab: Lab, own_ferry: Ferry, host: str) -> None:
    tight = "/mnt/tight"
    in_host(lab, host, "mkdir", "-p", tight)
    in_host(lab, host, "mount", "-t", "tmpfs", "-o", "size=150m", "tight", tight)
    lab.virsh(host, "pool-create-as", "tight", "dir", "--target", tight)
    before = outside(lab, host, HOME).read_bytes()
    try:
        namespace = f"/run/vferry/{lab.name}/{host}.mnt"
        fill = f"nsenter --mount={namespace} -- fallocate -l 100M {tight}/fill"
        verdict = meet(lab, own_ferry, "copy", fill, "tight", target="-")
        assert verdict is not None
        assert (verdict["outcome"], verdict["leftovers"]) == ("stayed", []), verdict
        assert "space" in verdict["reason"]
        assert in_host(lab, host, "ls", tight).split() == ["fill"]
    finally:
        lab.virsh(host, "pool-destroy", "tight", check=False)
        in_host(lab, host, "umount", tight)
    assert outside(lab, host, HOME).read_bytes() == before
    assert disk_of(lab, host) == HOME
    assert may_start(lab, host)
