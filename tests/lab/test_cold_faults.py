"""A cold move meets a fault at each of its steps: the source stays whole and startable, and the
target clean once it can be reached, or it has moved for good. A table, cell by cell.

Struck out: `hand-over` and `release` x abort (too late then, and refused), x full pool (nothing is
written to it then).
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab.conftest import ROOT, Lab, eventually
from tests.lab.ferry import Event, Ferry
from tests.lab.places import (
    HOSTS,
    IMAGES,
    assert_defined_only_on,
    host_of,
    images_of,
    only_at_home,
    other,
    outside,
    qemu_img,
)
from tests.lab.test_cold import OFF, may_start

pytestmark = [pytest.mark.lab, pytest.mark.long]

STEPS = ("create", "copy", "verify", "rename", "carry", "define", "hand-over", "release")
ABORTABLE = STEPS[:6]
TABLE = [
    *(("abort", step) for step in ABORTABLE),
    *((fault, step) for step in STEPS for fault in ("kill", "daemon", "link")),
]
SAMPLE = {("kill", "rename")}
CELLS = [
    pytest.param(fault, step, marks=() if (fault, step) in SAMPLE else pytest.mark.long)
    for fault, step in TABLE
]


@pytest.fixture(autouse=True)
def mended(lab: Lab) -> Iterator[None]:
    only_at_home(lab, OFF)
    yield
    lab.up()
    only_at_home(lab, OFF)


def meet(
    lab: Lab,
    own_ferry: Ferry,
    step: str,
    fault: str,
    pool: str = "default",
    target: str = "",
    vm: str = OFF,
    mode: str = "",
) -> Event | None:
    """Move it with a fault; its verdict, or None where the engine died."""
    to = target or other(lab, vm)
    words = (str(own_ferry.fleet), str(own_ferry.state), vm, to, step, fault, pool, *mode.split())
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab.cold_fault", *words],
        cwd=ROOT,
        env={**os.environ, "VIRT_FERRY_LAB": lab.name},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if fault == "kill":
        assert done.returncode == -signal.SIGKILL, done.stderr
        return None
    assert done.stdout, done.stderr
    found: Event = json.loads(done.stdout.splitlines()[-1])
    return found


def as_command(lab: Lab, fault: str, target: str) -> str:
    """What the faulty engine runs for it."""
    if fault == "daemon":
        pid = (lab.fleet.parent / "hosts" / target / "run" / "libvirtd.pid").read_text()
        return f"kill -9 {pid.strip()}"
    if fault == "link":
        return f"{sys.executable} -m backend.lab link {target} down"
    return fault


@pytest.mark.parametrize(("fault", "step"), CELLS)
def test_a_fault_at_a_step(lab: Lab, own_ferry: Ferry, fault: str, step: str) -> None:
    source, target = host_of(lab, OFF), other(lab, OFF)
    image = outside(lab, source, f"{IMAGES}/{OFF}.qcow2")
    before = image.read_bytes()
    verdict = meet(lab, own_ferry, step, as_command(lab, fault, target))
    moves_on = step == "release"  # the source has let go: there is only forward
    if verdict is not None and not moves_on and not (fault != "abort" and step == "hand-over"):
        assert (verdict["outcome"], verdict["owner"]) == ("stayed", source), verdict
        assert image.read_bytes() == before
    if fault == "link":
        lab.run("link", target, "up")
    lab.up()
    own_ferry.run("hosts")  # begins an engine, which takes up what is open
    owner = target if moves_on or owned_by(lab, target) else source
    assert owner == source or step in ("hand-over", "release")
    loser = source if owner == target else target
    eventually(lambda: known(lab, loser) is False, f"{loser} has nothing of it", 60)
    if owner == source:
        eventually(lambda: images_of(lab, target, OFF) == [], "no image is left there", 60)
        assert image.read_bytes() == before
    assert_defined_only_on(lab, OFF, owner)
    qemu_img("check", outside(lab, owner, f"{IMAGES}/{OFF}.qcow2"))
    eventually(lambda: may_start(lab, owner), "it can be started", 60)
    lab.virsh(owner, "destroy", OFF)


def known(lab: Lab, host: str) -> bool:
    return OFF in lab.virsh(host, "list", "--all", "--name").split()


def owned_by(lab: Lab, target: str) -> bool:
    """Only it has a definition of the VM."""
    return all(known(lab, host) == (host == target) for host in HOSTS)


@pytest.mark.long
def test_a_pool_that_fills_up_while_it_is_copied(lab: Lab, own_ferry: Ferry) -> None:
    source, target = host_of(lab, OFF), other(lab, OFF)
    within = ["nsenter", f"--mount=/run/vferry/{lab.name}/{target}.mnt", "--"]
    subprocess.run([*within, "mkdir", "-p", "/mnt/tight"], check=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=150m", "tight", "/mnt/tight"]
    subprocess.run([*within, *mount], check=True)
    lab.virsh(target, "pool-create-as", "tight", "dir", "--target", "/mnt/tight")
    try:
        fill = " ".join([*within, "fallocate", "-l", "100M", "/mnt/tight/fill"])
        verdict = meet(lab, own_ferry, "copy", fill, "tight")
        assert verdict is not None
        assert (verdict["outcome"], verdict["owner"]) == ("stayed", source), verdict
        assert "room" in verdict["reason"] or "space" in verdict["reason"], verdict
        assert verdict["leftovers"] == []
        lab.virsh(target, "pool-refresh", "tight")
        assert lab.virsh(target, "vol-list", "tight").split() == ["fill", "/mnt/tight/fill"]
    finally:
        lab.virsh(target, "pool-destroy", "tight", check=False)
        subprocess.run([*within, "umount", "/mnt/tight"], check=True)
    assert_defined_only_on(lab, OFF, source)
    assert may_start(lab, source)
    lab.virsh(source, "destroy", OFF)


@pytest.mark.long
@pytest.mark.parametrize("harm", ["header", "truncated", "tables"])
def test_an_image_that_cannot_be_read_is_not_moved(lab: Lab, own_ferry: Ferry, harm: str) -> None:
    source, target = host_of(lab, OFF), other(lab, OFF)
    image = outside(lab, source, f"{IMAGES}/{OFF}.qcow2")
    before = image.read_bytes()
    harmed = {
        "header": b"no image" + before[8:],
        "truncated": before[: len(before) // 2],
        "tables": before[:0x10000] + b"\xff" * 4096 + before[0x11000:],
    }[harm]
    try:
        image.write_bytes(harmed)
        events, code = own_ferry.migrate(OFF, "--to", target)
        said = json.dumps(events[-1])
        assert code in (1, 2), said
        assert events[-1].get("outcome", "stayed") == "stayed", said
        assert image.name in said or "vda" in said
        assert image.read_bytes() == harmed
    finally:
        image.write_bytes(before)
    assert images_of(lab, target, OFF) == []
    assert_defined_only_on(lab, OFF, source)
