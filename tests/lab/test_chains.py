"""Chains of images move whole: read through libvirt's and qemu-img's eyes, and by a guest."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import (
    HOSTS,
    IMAGES,
    assert_defined_only_on,
    host_of,
    in_host,
    of,
    only_at_home,
    other,
    outside,
    qemu_img,
)
from tests.lab.test_cold import OFF

pytestmark = [pytest.mark.lab, pytest.mark.long]

MIB = 2**20
ELSEWHERE = "/var/lib/libvirt/elsewhere"
NAMES = (f"{OFF}-base.qcow2", f"{OFF}-mid.qcow2", f"{OFF}.qcow2")
BASE, MID, TOP = (f"{IMAGES}/{name}" for name in NAMES)


@pytest.fixture(autouse=True)
def chain(lab: Lab) -> Iterator[str]:
    """Its disk is the top of a chain of three, the references relative and absolute; afterwards
    one image, where it was. The VM's host."""
    only_at_home(lab, OFF)
    home = host_of(lab, OFF)
    whole = lab.fleet.parent / "whole.qcow2"
    xml = lab.virsh(home, "dumpxml", "--inactive", OFF)
    shutil.copy(outside(lab, home, TOP), whole)
    outside(lab, home, TOP).rename(outside(lab, home, BASE))
    in_host(lab, home, "sh", "-c", f"cd {IMAGES} && {overlay(NAMES[0], NAMES[1])}")
    in_host(lab, home, "sh", "-c", overlay(MID, TOP))
    write(lab, home, MID, 700 * MIB, 5)
    write(lab, home, TOP, 800 * MIB, 7)
    refresh(lab)
    yield home
    for host in HOSTS:
        lab.virsh(host, "destroy", OFF, check=False)
        lab.virsh(host, "undefine", OFF, check=False)
        for left in outside(lab, host, IMAGES).glob(f"{OFF}*"):
            left.unlink()
        shutil.rmtree(outside(lab, host, ELSEWHERE), ignore_errors=True)
        lab.virsh(host, "pool-destroy", "elsewhere", check=False)
    shutil.copy(whole, outside(lab, home, TOP))
    define(lab, home, xml)
    whole.unlink()
    refresh(lab)


def overlay(below: str, above: str) -> str:
    return f"qemu-img create -q -f qcow2 -F qcow2 -b {below} {above}"


def write(lab: Lab, host: str, path: str, at: int, byte: int) -> None:
    in_host(lab, host, "qemu-io", "-f", "qcow2", "-c", f"write -P {byte} {at} {MIB}", path)


def refresh(lab: Lab) -> None:
    for host in HOSTS:
        lab.virsh(host, "pool-refresh", "default")


def define(lab: Lab, host: str, xml: str) -> None:
    document = lab.fleet.parent / "chain.xml"
    document.write_text(xml)
    lab.virsh(host, "define", str(document))
    document.unlink()


def chain_of(lab: Lab, host: str, path: str) -> list[str]:
    """Paths from the top down, as the host's qemu-img sees them."""
    said = in_host(lab, host, "qemu-img", "info", "--output=json", "--backing-chain", path)
    return [image["filename"] for image in json.loads(said)]


def as_seen(lab: Lab, host: str, path: str) -> Path:
    """What a guest sees in an image, as a file of this machine."""
    inside = f"{IMAGES}/seen.raw"
    in_host(lab, host, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, inside)
    raw = lab.fleet.parent / f"seen-{host}-{path.replace('/', '-')}.raw"
    shutil.move(outside(lab, host, inside), raw)
    return raw


def same(one: Path, two: Path) -> bool:
    equal = "identical" in qemu_img("compare", "-f", "raw", "-F", "raw", one, two)
    for path in (one, two):
        path.unlink()
    return equal


def names_in(lab: Lab, host: str, folder: str = IMAGES) -> list[str]:
    return sorted(one.name for one in outside(lab, host, folder).glob(f"{OFF}*"))


def test_a_chain_arrives_whole_and_a_shared_base_is_not_removed(
    lab: Lab, ferry: Ferry, chain: str
) -> None:
    source, target = chain, other(lab, OFF)
    clone = f"{IMAGES}/{OFF}-clone.qcow2"
    in_host(lab, source, "sh", "-c", overlay(BASE, clone))
    seen = as_seen(lab, source, TOP)
    size = sum(outside(lab, source, path).stat().st_blocks * 512 for path in (BASE, MID, TOP))
    (plan,) = ferry.json("plan", OFF, "--to", target)
    (disk,) = [one for one in plan["disks"] if one["action"] == "copy"]
    assert [one["destination"] for one in disk["layers"]] == [MID, BASE]
    events, code = ferry.migrate(OFF, "--to", target, "--remove-source")
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["leftovers"]) == (0, "moved", []), verdict
    assert verdict["kept"] == [f"kept: {BASE} on {source}: {clone} lies on it"]
    assert len(verdict["disks"]) == 3
    assert all("every byte is equal" in said for said in verdict["disks"])
    assert "all that the guest sees" in verdict["disks"][-1]
    assert chain_of(lab, target, TOP) == [TOP, MID, BASE]
    assert names_in(lab, target) == sorted(NAMES)
    assert names_in(lab, source) == sorted([NAMES[0], Path(clone).name])
    for path in (BASE, MID, TOP):
        in_host(lab, target, "qemu-img", "check", path)
    copied = sum(outside(lab, target, path).stat().st_blocks * 512 for path in (BASE, MID, TOP))
    assert copied <= 1.05 * size
    assert same(seen, as_seen(lab, target, TOP))
    progress = [one["progress"] for one in of(events, "disk")]
    assert progress == sorted(progress)
    assert_defined_only_on(lab, OFF, target)
    lab.virsh(target, "start", OFF)
    eventually(lambda: lab.vm(OFF)["memory_ok"] is True, "it runs from its chain", 40)
    lab.virsh(target, "destroy", OFF)


def test_a_base_that_is_there_is_used_when_it_is_the_same_and_else_nothing_is_moved(
    lab: Lab, ferry: Ferry, chain: str
) -> None:
    source, target = chain, other(lab, OFF)
    there = outside(lab, target, BASE)
    shutil.copy(outside(lab, source, BASE), there)
    write(lab, target, BASE, 900 * MIB, 9)
    wrong = there.read_bytes()
    refresh(lab)
    events, code = ferry.migrate(OFF, "--to", target)
    assert (code, events[-1]["outcome"], events[-1]["leftovers"]) == (1, "stayed", [])
    assert "which was there already, cannot be used" in events[-1]["reason"]
    assert (names_in(lab, target), there.read_bytes()) == ([NAMES[0]], wrong)
    assert_defined_only_on(lab, OFF, source)
    shutil.copy(outside(lab, source, BASE), there)
    before, seen = there.stat().st_mtime_ns, as_seen(lab, source, TOP)
    events, code = ferry.migrate(OFF, "--to", target)
    assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
    assert "holds the same" in events[-1]["disks"][0]
    assert there.stat().st_mtime_ns == before, "it was written to"
    assert chain_of(lab, target, TOP) == [TOP, MID, BASE]
    assert same(seen, as_seen(lab, target, TOP))


def test_in_a_pool_elsewhere_each_is_told_its_new_path(lab: Lab, ferry: Ferry, chain: str) -> None:
    source, target = chain, other(lab, OFF)
    lab.virsh(target, "pool-create-as", "elsewhere", "dir", "--target", ELSEWHERE, "--build")
    seen = as_seen(lab, source, TOP)
    words = ("--to", target, "--disk", "vda=elsewhere:new.qcow2")
    events, code = ferry.migrate(OFF, *words)
    assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
    new = f"{ELSEWHERE}/new.qcow2"
    assert chain_of(lab, target, new) == [new, *(f"{ELSEWHERE}/{n}" for n in (NAMES[1], NAMES[0]))]
    assert same(seen, as_seen(lab, target, new))
    assert names_in(lab, source) == sorted(NAMES)
    lab.virsh(target, "start", OFF)
    eventually(lambda: lab.vm(OFF)["memory_ok"] is True, "it runs from its chain", 40)


async def test_an_abort_in_the_middle_takes_all_layers_away(
    lab: Lab, ferry: Ferry, chain: str
) -> None:
    target = other(lab, OFF)
    async with ferry.migrating(OFF, "--to", target, "--bandwidth", "60MB/s") as moving:
        await moving.until(event="decision", reason=lambda said: f"{MID}.part" in said)
        done = await asyncio.to_thread(ferry.run, "abort", OFF)
        verdict = await moving.verdict()
    assert done.returncode == 0 or verdict["outcome"] == "moved"
    assert (verdict["outcome"], verdict["leftovers"]) == ("stayed", []), verdict
    assert names_in(lab, target) == []
    assert_defined_only_on(lab, OFF, chain)
    assert chain_of(lab, chain, TOP)[1:] == [MID, BASE]


async def test_an_engine_that_dies_in_the_middle_leaves_no_layer(
    lab: Lab, ferry: Ferry, chain: str
) -> None:
    target = other(lab, OFF)
    async with ferry.migrating(OFF, "--to", target, "--bandwidth", "60MB/s") as moving:
        await moving.until(event="decision", reason=lambda said: f"{MID}.part" in said)
        ferry.kill_engine()
        await moving.ended()
    ferry.run("hosts")  # begins an engine, which takes up what is open
    eventually(lambda: names_in(lab, target) == [], "no layer is left", 60)
    assert_defined_only_on(lab, OFF, chain)


def test_between_pools_the_base_stays(lab: Lab, ferry: Ferry, chain: str) -> None:
    lab.virsh(chain, "pool-create-as", "elsewhere", "dir", "--target", ELSEWHERE, "--build")
    in_host(lab, chain, "qemu-img", "rebase", "-u", "-F", "qcow2", "-b", NAMES[1], TOP)
    seen = as_seen(lab, chain, TOP)
    words = ("--mode", "storage", "--disk", "vda=elsewhere", "--remove-source")
    events, code = ferry.migrate(OFF, *words)
    assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
    new = f"{ELSEWHERE}/{NAMES[2]}"
    assert chain_of(lab, chain, new) == [new, MID, BASE]
    assert same(seen, as_seen(lab, chain, new))
    assert names_in(lab, chain) == sorted(NAMES[:2])


def test_one_image_is_made_of_them_as_asked(lab: Lab, ferry: Ferry, chain: str) -> None:
    target, seen = other(lab, OFF), as_seen(lab, chain, TOP)
    events, code = ferry.migrate(OFF, "--to", target, "--flatten")
    assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
    assert chain_of(lab, target, TOP) == [TOP]
    assert same(seen, as_seen(lab, target, TOP))
