"""VMs that do not run, or are shut down for it: judged by both hosts and by the images."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from backend.hypervisor.target_xml import guarded, unguarded
from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import (
    IMAGES,
    assert_defined_only_on,
    host_of,
    images_of,
    of,
    only_at_home,
    other,
    outside,
    qemu_img,
)

pytestmark = pytest.mark.lab

OFF, LOCAL, SHARED = "batch-1", "files-1", "shared-1"
FAST, CRAWL = "1gbit", "40mbit"


@pytest.fixture(autouse=True)
def alone(lab: Lab) -> Iterator[None]:
    """Only a VM's own host has images of it; the links are quick, also afterwards."""
    only_at_home(lab, OFF, LOCAL)
    yield
    only_at_home(lab, OFF, LOCAL)


def test_a_shut_off_vm_moves_with_its_disk_snapshots_and_autostart(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, OFF), other(lab, OFF)
    lab.virsh(source, "snapshot-create-as", OFF, "before", "--description", "a <tag> & more")
    lab.virsh(source, "snapshot-create-as", OFF, "later")
    lab.virsh(source, "autostart", OFF)
    image = outside(lab, source, f"{IMAGES}/{OFF}.qcow2")
    events, code = ferry.migrate(OFF, "--to", target)
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["owner"]) == (0, "moved", target), verdict
    assert (verdict["mode"], verdict["leftovers"]) == ("cold", [])
    assert verdict["kept"] == [f"kept: {IMAGES}/{OFF}.qcow2 on {source}"]
    assert "every byte is equal" in verdict["disks"][0]
    assert "passes qemu-img check" in verdict["disks"][0]
    assert_defined_only_on(lab, OFF, target)
    copy = outside(lab, target, f"{IMAGES}/{OFF}.qcow2")
    assert "identical" in qemu_img("compare", image, copy)
    assert "before" in qemu_img("snapshot", "-l", copy)
    assert lab.virsh(target, "snapshot-list", OFF, "--name").split() == ["before", "later"]
    assert lab.virsh(target, "snapshot-current", OFF, "--name").strip() == "later"
    assert "a &lt;tag&gt; &amp; more" in lab.virsh(target, "snapshot-dumpxml", OFF, "before")
    assert "enable" in lab.virsh(target, "dominfo", OFF).split("Autostart:")[1].split("\n")[0]
    disks = of(events, "disk")
    assert [one["progress"] for one in disks] == sorted(one["progress"] for one in disks)
    assert images_of(lab, target, OFF) == [f"{OFF}.qcow2"]
    lab.virsh(target, "snapshot-revert", OFF, "before")
    for snapshot in ("later", "before"):
        lab.virsh(target, "snapshot-delete", OFF, snapshot)
    lab.virsh(target, "autostart", "--disable", OFF)
    lab.virsh(target, "start", OFF)
    eventually(lambda: lab.vm(OFF)["memory_ok"] is True, "it runs from its copy", 40)
    lab.virsh(target, "destroy", OFF)


def test_a_vm_on_shared_storage_is_shut_down_moved_and_started(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, SHARED), other(lab, SHARED)
    eventually(lambda: lab.vm(SHARED)["memory_ok"] is True, "the guest answers", 40)
    events, code = ferry.migrate(SHARED, "--to", target, "--mode", "restart")
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["owner"]) == (0, "moved", target), verdict
    assert verdict["pause_ms"] > 0
    assert_defined_only_on(lab, SHARED, target)
    eventually(lambda: lab.vm(SHARED)["memory_ok"] is True, "it runs there", 40)
    said = [one["reason"] for one in of(events, "decision")]
    assert any("it has shut down on " + source in one for one in said)


@pytest.mark.long
async def test_a_vm_that_is_copied_cannot_be_started_and_an_abort_leaves_nothing(
    lab: Lab, ferry: Ferry
) -> None:
    source, target = host_of(lab, OFF), other(lab, OFF)
    lab.run("link", source, CRAWL)
    async with ferry.migrating(OFF, "--to", target) as moving:
        await moving.until(event="disk", done_bytes=lambda done: done > 0)
        assert "lock" in start_refused(lab, source)
        assert ferry.run("abort", OFF).returncode == 0
        verdict = await moving.verdict()
        assert await moving.ended() == 1
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source), verdict
    assert verdict["leftovers"] == []
    assert images_of(lab, target, OFF) == []
    assert_defined_only_on(lab, OFF, source)
    lab.virsh(source, "start", OFF)
    eventually(lambda: lab.vm(OFF)["memory_ok"] is True, "it starts at its source", 40)
    lab.virsh(source, "destroy", OFF)


@pytest.mark.long
async def test_an_engine_that_dies_leaves_the_source_whole_and_the_next_one_tidies_up(
    lab: Lab, ferry: Ferry
) -> None:
    source, target = host_of(lab, OFF), other(lab, OFF)
    lab.run("link", source, CRAWL)
    async with ferry.migrating(OFF, "--to", target) as moving:
        await moving.until(event="disk", done_bytes=lambda done: done > 0)
        ferry.kill_engine()
    assert images_of(lab, target, OFF) != []
    assert_defined_only_on(lab, OFF, source)
    lab.run("link", source, FAST)
    ferry.run("hosts")  # any command begins an engine, which takes up what is open
    eventually(lambda: images_of(lab, target, OFF) == [], "the unfinished copy is gone", 60)
    (job,) = [one for one in ferry.json("jobs") if one["vm"] == OFF]
    assert (job["outcome"], job["owner"]) == ("stayed", source), job
    assert "engine ended" in job["reason"]
    eventually(lambda: may_start(lab, source), "the copier is gone, and its lock", 60)
    lab.virsh(source, "destroy", OFF)


def start_refused(lab: Lab, host: str) -> str:
    """Why it cannot be started, in virsh's words."""
    words = ["virsh", "-q", "-c", lab.uri(host), "start", OFF]
    started = subprocess.run(words, capture_output=True, text=True, check=False)
    assert started.returncode != 0, "it was started"
    return started.stderr


def may_start(lab: Lab, host: str) -> bool:
    lab.virsh(host, "start", OFF, check=False)
    return "running" in lab.virsh(host, "domstate", OFF)


@pytest.mark.long
def test_the_target_cannot_start_it_before_the_source_has_let_go(lab: Lab) -> None:
    """The guard itself, with libvirt and QEMU as judges."""
    host = host_of(lab, OFF)
    xml = lab.virsh(host, "dumpxml", "--inactive", OFF)
    held = lab.fleet.parent / "guarded.xml"
    held.write_text(guarded(xml, "kvm-x"))
    try:
        lab.virsh(host, "define", str(held))
        assert "still-being-moved-here-from-kvm-x" in start_refused(lab, host)
    finally:
        held.write_text(unguarded(lab.virsh(host, "dumpxml", "--inactive", OFF)))
        lab.virsh(host, "define", str(held))
        held.unlink()
    assert "still-being-moved" not in lab.virsh(host, "dumpxml", "--inactive", OFF)


PORT = "5999"
SERIAL = f"""<serial type='tcp'>
  <source mode='bind' host='127.0.0.1' service='{PORT}'/><protocol type='raw'/>
</serial>"""
TAKE_PORT = f"""
import socket, sys
taken = socket.create_server(("127.0.0.1", {PORT}))
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def needing_a_port(lab: Lab) -> Iterator[None]:
    """A VM whose QEMU starts only where a port is free."""
    host = host_of(lab, SHARED)
    before = lab.virsh(host, "dumpxml", "--inactive", SHARED)
    define(lab, host, before.replace("</devices>", f"{SERIAL}</devices>"))
    yield
    define(lab, host_of(lab, SHARED), before)


def define(lab: Lab, host: str, xml: str) -> None:
    """Shut off, defined so, started again."""
    path = lab.fleet.parent / "defined.xml"
    path.write_text(xml)
    lab.virsh(host, "destroy", SHARED, check=False)
    lab.virsh(host, "define", str(path))
    lab.virsh(host, "start", SHARED)
    path.unlink()
    eventually(lambda: lab.vm(SHARED)["memory_ok"] is True, "the guest answers", 40)


@pytest.mark.long
@pytest.mark.usefixtures("needing_a_port")
def test_a_vm_that_will_not_start_there_goes_back_and_runs(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, SHARED), other(lab, SHARED)
    words = ["ip", "netns", "exec", lab.netns(target), sys.executable, "-c", TAKE_PORT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taken:
        assert taken.stdout is not None
        assert taken.stdout.readline()
        events, code = ferry.migrate(SHARED, "--to", target, "--mode", "restart")
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["owner"]) == (1, "stayed", source), verdict
    assert verdict["leftovers"] == []
    assert "5999" in verdict["reason"]
    assert_defined_only_on(lab, SHARED, source)
    eventually(lambda: lab.vm(SHARED)["memory_ok"] is True, "it runs at its source again", 40)


@pytest.mark.long
def test_a_guest_that_does_not_shut_down_runs_on(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, SHARED), other(lab, SHARED)
    eventually(lambda: lab.vm(SHARED)["memory_ok"] is True, "the guest answers", 40)
    lab.virsh(source, "suspend", SHARED)  # it hears no button
    try:
        (plan,) = ferry.json("plan", SHARED, "--to", target, "--mode", "restart")
        assert plan["blocked"] is True
    finally:
        lab.virsh(source, "resume", SHARED)
    assert_defined_only_on(lab, SHARED, source)
