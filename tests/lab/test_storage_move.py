"""Disks that move between pools of one host under a guest that writes to them all the time."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Event, Ferry
from tests.lab.places import IMAGES, in_host, of, outside, qemu_img

pytestmark = [pytest.mark.lab, pytest.mark.long]

VM = "files-1"
SECOND = "/var/lib/libvirt/second"
SMALL = "/mnt/small"
HOME = f"{IMAGES}/{VM}.qcow2"
RING_START, RING_BYTES, BLOCK_BYTES = 88 << 20, 16 << 20, 64 << 10
"""Where the guest writes, and in pieces of which size; see guest.c. It lies across the end of what
the disk has in use."""
BLOCKS = RING_BYTES // BLOCK_BYTES
KEY, WORD = 0x9E3779B97F4A7C15, 2**64
CRAWL = "20MB/s"
STORAGE = ("--mode", "storage")


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[str]:
    """The VM's host, with a second pool and one of 128 MiB."""
    lab.run("quiet")
    name = str(lab.vm(VM)["host"])
    in_host(lab, name, "mkdir", "-p", SMALL)
    in_host(lab, name, "mount", "-t", "tmpfs", "-o", "size=128m", "small", SMALL)
    for pool, path in (("second", SECOND), ("small", SMALL)):
        lab.virsh(name, "pool-create-as", pool, "dir", "--target", path, "--build")
    yield name
    for pool in ("second", "small"):
        lab.virsh(name, "pool-destroy", pool, check=False)
    in_host(lab, name, "umount", SMALL)


@pytest.fixture(autouse=True)
def at_home(lab: Lab, host: str) -> Iterator[None]:
    """The guest writes to its disk; afterwards it is back where it was, and alone."""
    lab.run("vm", VM, "--disk-write", "10MB/s", "--disk-over", str(RING_BYTES))
    yield
    go_home(lab, host)


def go_home(lab: Lab, host: str) -> None:
    running = lab.virsh(host, "domstate", VM).strip() == "running"
    if running and disk_of(lab, host) == disk_of(lab, host, "--inactive") == HOME:
        return
    lab.virsh(host, "destroy", VM, check=False)
    now = disk_of(lab, host, "--inactive")
    if now != HOME:
        os.replace(outside(lab, host, now), outside(lab, host, HOME))
        define(lab, host, lab.virsh(host, "dumpxml", VM, "--inactive").replace(now, HOME))
    for folder in (IMAGES, SECOND):
        for left in outside(lab, host, folder).glob("*"):
            if left.name.startswith((VM, "moved", "data")) and str(left.name) != f"{VM}.qcow2":
                left.unlink()
    outside(lab, host, f"{SECOND}/{VM}.qcow2").unlink(missing_ok=True)
    for pool in ("default", "second"):
        lab.virsh(host, "pool-refresh", pool)
    start(lab, host)


def define(lab: Lab, host: str, xml: str) -> None:
    document = lab.fleet.parent / "home.xml"
    document.write_text(xml)
    lab.virsh(host, "define", str(document))
    document.unlink()


def start(lab: Lab, host: str) -> None:
    lab.virsh(host, "start", VM)
    eventually(lambda: lab.vm(VM)["memory_ok"] is True, "the guest answers", 30)


def disk_of(lab: Lab, host: str, *flags: str, target: str = "vda") -> str:
    """The path of a disk in a definition."""
    lines = lab.virsh(host, "domblklist", VM, *flags).splitlines()
    return next(line.split(maxsplit=1)[1] for line in lines if line.split()[:1] == [target])


def assert_on(lab: Lab, host: str, path: str) -> None:
    """Now and at its next start; nothing copies it any more, and its guest is well."""
    assert disk_of(lab, host) == disk_of(lab, host, "--inactive") == path
    assert lab.virsh(host, "blockjob", VM, "vda") == ""
    assert lab.virsh(host, "domstate", VM).strip() == "running"
    assert_writes_well(lab)


def assert_writes_well(lab: Lab) -> None:
    """No read or write of its disk failed, all it read back was right, and it goes on."""
    before = lab.vm(VM)
    assert (before["disk_errors"], before["disk_ok"]) == (0, True)
    eventually(lambda: lab.vm(VM)["disk_blocks"] > before["disk_blocks"], "it writes on")


def shut_down(lab: Lab, host: str) -> int:
    """By its power button, while it writes; how many blocks it had told of before: what an earlier
    boot has left in the ring is written over by then."""
    eventually(lambda: lab.vm(VM)["disk_blocks"] > 2 * BLOCKS, "it writes everywhere", 30)
    written = int(lab.vm(VM)["disk_blocks"])
    lab.virsh(host, "shutdown", VM)
    off = ["shut", "off"]
    eventually(lambda: lab.virsh(host, "domstate", VM).split() == off, "it shuts down", 30)
    return written


def as_raw(image: Path) -> Path:
    qemu_img("check", image)
    raw = image.with_name("data.raw")
    qemu_img("convert", "-O", "raw", image, raw)
    return raw


def turns(raw: Path) -> list[int]:
    """The turn of each block of the ring; each is whole."""
    found = []
    with open(raw, "rb") as file:
        for number in range(BLOCKS):
            file.seek(RING_START + number * BLOCK_BYTES)
            data = file.read(BLOCK_BYTES)
            words = memoryview(data).cast("Q")
            turn = words[0]
            base = (turn + 1) * KEY
            whole = all(words[i] == (base + i) % WORD for i in range(1, len(words)))
            assert whole, f"block {number} is torn"
            found.append(turn)
    return found


def assert_nothing_lost(image: Path, at_least: int) -> None:
    """The ring holds the last turns without a gap, the newest not older than what was told."""
    raw = as_raw(image)
    found = turns(raw)
    newest = max(found)
    assert newest + 1 >= at_least
    expected = {turn % BLOCKS: turn for turn in range(newest - BLOCKS + 1, newest + 1)}
    assert found == [expected[number] for number in range(BLOCKS)]
    raw.unlink()


def head_of(image: Path) -> bytes:
    """What lies before the ring, and never changes."""
    raw = image.with_name("data.head")
    qemu_img("dd", "-U", "-O", "raw", f"if={image}", f"of={raw}", "bs=1M", "count=64")
    content = raw.read_bytes()
    raw.unlink()
    return content


def refused(ferry: Ferry, *words: str) -> str:
    done = ferry.run("migrate", *words, *STORAGE)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Nothing was touched" in done.stderr or "virt-ferry:" in done.stderr
    return done.stderr


def assert_stayed(lab: Lab, host: str, verdict: Event) -> None:
    """As it was, with nothing left."""
    assert (verdict["outcome"], verdict["owner"], verdict["leftovers"]) == ("stayed", host, [])
    assert_on(lab, host, HOME)
    for folder in (SECOND, SMALL):
        assert in_host(lab, host, "find", folder, "-name", f"{VM}*") == ""


async def test_a_disk_moves_under_a_guest_that_writes_all_the_time(
    lab: Lab, ferry: Ferry, host: str
) -> None:
    before = head_of(outside(lab, host, HOME))
    words = (VM, *STORAGE, "--disk", "vda=second:moved 1.qcow2", "--bandwidth", CRAWL)
    async with ferry.migrating(*words) as running:
        await running.until(event="disk", done_bytes=lambda done: done > 10_000_000)
        done = await asyncio.to_thread(ferry.run, "steer", VM, "--bandwidth", "none")
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
        code = await running.ended()
    path = f"{SECOND}/moved 1.qcow2"
    assert (code, verdict["outcome"], verdict["owner"]) == (0, "moved", host), verdict
    assert (verdict["mode"], verdict["leftovers"]) == ("storage", [])
    assert verdict["kept"] == [f"kept: {HOME} on {host}"]
    assert "both images are qcow2 of 1.0 G" in verdict["disks"][0]
    assert "new image passes qemu-img check" in verdict["disks"][0]
    assert "old image passes qemu-img check" in verdict["disks"][0]
    assert "the contents were not compared" in verdict["disks"][0]
    disks = of(running.events, "disk")
    for key in ("done_bytes", "progress"):
        values = [disk[key] for disk in disks]
        assert values == sorted(values), key
    assert disks[-1]["progress"] == 1.0
    assert {event["word"] for event in of(running.events, "outlook")} == {"COPYING DISK"}
    active = [e["phase"] for e in of(running.events, "phase") if e["state"] == "active"]
    assert active == ["prepare", "disk", "switchover", "verify"]
    assert_on(lab, host, path)
    written = shut_down(lab, host)
    new = outside(lab, host, path)
    assert_nothing_lost(new, written)
    assert head_of(new) == before
    info = json.loads(qemu_img("info", "--output=json", new))
    assert (info["format"], info["virtual-size"]) == ("qcow2", 2**30)
    old = json.loads(qemu_img("info", "--output=json", outside(lab, host, HOME)))
    assert info["actual-size"] < 1.05 * old["actual-size"] + RING_BYTES, "holes were written out"
    start(lab, host)
    assert disk_of(lab, host) == path


def test_two_disks_go_together_and_the_old_images_are_removed(
    lab: Lab, ferry: Ferry, host: str
) -> None:
    raw = outside(lab, host, f"{IMAGES}/data.img")
    content = os.urandom(8 << 20)
    raw.write_bytes(content)
    os.truncate(raw, 64 << 20)
    lab.virsh(host, "pool-refresh", "default")
    extra = ("--driver", "qemu", "--subdriver", "raw", "--cache", "none", "--persistent")
    lab.virsh(host, "attach-disk", VM, f"{IMAGES}/data.img", "vdb", *extra)
    try:
        words = ("--disk", "vda=second", "--disk", "vdb=second:moved.img", "--remove-source")
        events, code = ferry.migrate(VM, *STORAGE, *words)
        verdict = events[-1]
        assert (code, verdict["outcome"]) == (0, "moved"), verdict
        assert (verdict["leftovers"], verdict["kept"]) == ([], [])
        assert len(verdict["disks"]) == 2
        assert "raw has nothing that qemu-img could check" in verdict["disks"][1]
        assert_on(lab, host, f"{SECOND}/{VM}.qcow2")
        for flags in ((), ("--inactive",)):
            assert disk_of(lab, host, *flags, target="vdb") == f"{SECOND}/moved.img"
        assert not raw.exists()
        assert not outside(lab, host, HOME).exists()
        written = shut_down(lab, host)
        assert_nothing_lost(outside(lab, host, f"{SECOND}/{VM}.qcow2"), written)
        moved = outside(lab, host, f"{SECOND}/moved.img")
        assert moved.read_bytes() == content + bytes((64 << 20) - len(content))
        assert moved.stat().st_blocks * 512 < 1.05 * len(content)
    finally:
        lab.virsh(host, "detach-disk", VM, "vdb", "--persistent", check=False)


async def test_an_abort_leaves_all_as_it_was(lab: Lab, ferry: Ferry, host: str) -> None:
    words = (VM, *STORAGE, "--disk", "vda=second", "--bandwidth", CRAWL)
    async with ferry.migrating(*words) as running:
        await running.until(event="disk", done_bytes=lambda done: done > 5_000_000)
        done = await asyncio.to_thread(ferry.run, "abort", VM)
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
    assert "Aborted as asked" in verdict["reason"]
    assert_stayed(lab, host, verdict)


async def test_a_pool_that_gets_full_rolls_back(lab: Lab, ferry: Ferry, host: str) -> None:
    words = (VM, *STORAGE, "--disk", "vda=small", "--bandwidth", CRAWL)
    try:
        async with ferry.migrating(*words) as running:
            await running.until(event="disk", done_bytes=lambda done: done > 5_000_000)
            full = ("sh", "-c", f"dd if=/dev/zero of={SMALL}/ballast bs=1M 2>/dev/null || true")
            in_host(lab, host, *full)
            verdict = await running.verdict()
            code = await running.ended()
    finally:
        in_host(lab, host, "rm", "-f", f"{SMALL}/ballast")
    assert code == 1
    assert f"pool small of {host} is full" in verdict["reason"]
    assert_stayed(lab, host, verdict)


async def test_a_vm_that_is_shut_down_meanwhile_keeps_its_disk(
    lab: Lab, ferry: Ferry, host: str
) -> None:
    words = (VM, *STORAGE, "--disk", "vda=second", "--bandwidth", CRAWL)
    async with ferry.migrating(*words) as running:
        await running.until(event="disk", done_bytes=lambda done: done > 5_000_000)
        written = await asyncio.to_thread(shut_down, lab, host)
        verdict = await running.verdict()
    assert (verdict["outcome"], verdict["owner"], verdict["leftovers"]) == ("stayed", host, [])
    assert "was shut down while" in verdict["reason"]
    assert disk_of(lab, host, "--inactive") == HOME
    assert not outside(lab, host, f"{SECOND}/{VM}.qcow2").exists()
    assert_nothing_lost(outside(lab, host, HOME), written)


@pytest.mark.long
async def test_a_daemon_that_is_killed_stops_nothing(lab: Lab, ferry: Ferry, host: str) -> None:
    words = (VM, *STORAGE, "--disk", "vda=second", "--bandwidth", CRAWL)
    async with ferry.migrating(*words) as running:
        await running.until(event="disk", done_bytes=lambda done: done > 5_000_000)
        await asyncio.to_thread(restart_daemon, lab, host)
        await running.until(event="decision", reason=lambda said: "answers again" in said)
        done = await asyncio.to_thread(ferry.run, "steer", VM, "--bandwidth", "none")
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
    assert verdict["outcome"] == "moved", verdict
    assert_on(lab, host, f"{SECOND}/{VM}.qcow2")
    written = shut_down(lab, host)
    assert_nothing_lost(outside(lab, host, f"{SECOND}/{VM}.qcow2"), written)


async def test_an_engine_that_is_killed_leaves_nothing_behind(
    lab: Lab, ferry: Ferry, host: str
) -> None:
    """The copy goes on without it; the next engine ends it and removes what was made."""
    words = (VM, *STORAGE, "--disk", "vda=second", "--bandwidth", CRAWL)
    async with ferry.migrating(*words) as running:
        await running.until(event="disk", done_bytes=lambda done: done > 5_000_000)
        ferry.kill_engine()
        assert await running.ended() == 3
    assert "Bandwidth limit" in lab.virsh(host, "blockjob", VM, "vda")
    ferry.run("hosts")  # any command begins an engine
    job = ferry.json("jobs")[-1]
    events, code = await asyncio.to_thread(watched, ferry, job["id"])
    assert code == 1
    assert "The engine ended" in events[-1]["reason"]
    assert_stayed(lab, host, events[-1])


def watched(ferry: Ferry, migration_id: str) -> tuple[list[Event], int]:
    done = ferry.run("watch", migration_id, "--json")
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def restart_daemon(lab: Lab, host: str) -> None:
    pid = int((lab.fleet.parent / "hosts" / host / "run" / "libvirtd.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    lab.up()


def test_what_cannot_be_is_refused_with_its_reason(lab: Lab, ferry: Ferry, host: str) -> None:
    other = next(h["name"] for h in lab.status()["hosts"] if h["name"] != host)
    cases: dict[tuple[str, ...], str] = {
        (VM,): "it is not said which disk",
        (VM, "--disk", "vda=default"): f"vda is {HOME} already",
        (VM, "--disk", "vda=second", "--to", other): "between the pools of one host",
        ("batch-1", "--disk", "vda=second"): "only disks of a running VM",
    }
    for words, says in cases.items():
        assert says in refused(ferry, *words), words
    precious = outside(lab, host, f"{SECOND}/{VM}.qcow2")
    precious.write_text("not yours")
    assert "exists on" in refused(ferry, VM, "--disk", "vda=second")
    assert precious.read_text() == "not yours"
    precious.unlink()


def test_the_plan_says_what_would_happen(lab: Lab, ferry: Ferry, host: str) -> None:
    plans: list[dict[str, Any]] = ferry.json("plan", VM, *STORAGE, "--disk", "vda=second")
    (plan,) = plans
    assert (plan["source"], plan["target"], plan["mode"]) == (host, host, "storage")
    assert plan["blocked"] is False
    (disk,) = [one for one in plan["disks"] if one["action"] == "copy"]
    assert plan["forecast"]["total_s"] == disk["takes_s"]
    assert disk["takes_s"]["high"] > disk["takes_s"]["low"] > 0
    assert {finding["check"] for finding in plan["findings"]} == {
        "host",
        "state",
        "saved",
        "storage",
    }
    assert plan["disks"][0]["destination"] == f"{SECOND}/{VM}.qcow2"
    assert f"blockcopy {VM} vda {SECOND}/{VM}.qcow2 --format qcow2 --pivot" in plan["virsh"]
    assert not outside(lab, host, f"{SECOND}/{VM}.qcow2").exists()


async def test_a_pool_that_is_off_is_started_for_it_and_stopped_again_if_it_stays(
    lab: Lab, ferry: Ferry, host: str
) -> None:
    path = "/var/lib/libvirt/third"
    lab.virsh(host, "pool-define-as", "third", "dir", "--target", path)
    lab.virsh(host, "pool-build", "third")
    try:
        words = (VM, *STORAGE, "--disk", "vda=third")
        assert "--prepare" in refused(ferry, VM, "--disk", "vda=third")
        async with ferry.migrating(*words, "--prepare", "--bandwidth", CRAWL) as running:
            await running.until(event="disk", done_bytes=lambda done: done > 2_000_000)
            assert state_of(lab, host, "third") == "active"
            done = await asyncio.to_thread(ferry.run, "abort", VM)
            assert done.returncode == 0, done.stderr
            verdict = await running.verdict()
        assert_stayed(lab, host, verdict)
        assert state_of(lab, host, "third") == "inactive"
        events, code = await asyncio.to_thread(ferry.migrate, *words, "--prepare")
        assert (code, events[-1]["outcome"], events[-1]["leftovers"]) == (0, "moved", [])
        assert state_of(lab, host, "third") == "active"
        (plan,) = ferry.json("plan", VM, *STORAGE, "--disk", "vda=second")
        assert "copy before" in plan["forecast"]["basis"]
        events, code = await asyncio.to_thread(
            ferry.migrate, VM, *STORAGE, "--disk", "vda=default:back.qcow2"
        )
        assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
        total, band = events[-1]["total_s"], events[-1]["forecast"]["total_s"]
        print(f"forecast {band['low']:.1f}-{band['high']:.1f} s, took {total:.1f} s")
    finally:
        go_home(lab, host)
        lab.virsh(host, "pool-destroy", "third", check=False)
        lab.virsh(host, "pool-undefine", "third")
        in_host(lab, host, "rm", "-rf", path)


def state_of(lab: Lab, host: str, pool: str) -> str:
    rows = (line.split() for line in lab.virsh(host, "pool-list", "--all").splitlines())
    return next(row[1] for row in rows if row[:1] == [pool])
