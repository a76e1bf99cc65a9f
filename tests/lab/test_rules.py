"""Rules carried out by `virt-ferry run` on real hosts: what a dry run says is done, and once."""

import asyncio
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Event, Ferry
from tests.lab.places import (
    HOSTS,
    assert_defined_only_on,
    host_of,
    in_host,
    of,
    outside,
    set_links,
)

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(600)]

FULL, EMPTY, MIDDLE = HOSTS
MEMINFO = "/var/lib/libvirt/meminfo"
EVEN = """
[rules.even]
kind = "balance"
level = "automatic"
measure = "memory"
above_percent = 80
rounds = 1
gain_percent = 1
cooldown_s = 600
"""


def uses_memory(lab: Lab, host: str, percent: int) -> None:
    """From now on the host's own /proc says so: the lab's hosts share this machine's memory."""
    real = Path("/proc/meminfo").read_text()
    found = re.search(r"^MemTotal: +(\d+)", real)
    assert found is not None
    free = int(found[1]) * (100 - percent) // 100
    told = re.sub(r"^(MemAvailable|MemFree): +\d+", rf"\g<1>: {free}", real, flags=re.MULTILINE)
    outside(lab, host, MEMINFO).write_text(told)


@pytest.fixture
def settled(lab: Lab, ferry: Ferry) -> None:
    """Two VMs run on the first host, and nobody watches any more."""
    lab.run("quiet")
    set_links(lab, "1gbit")
    for vm in ("idle-1", "web-1"):
        if host_of(lab, vm) != FULL:
            events, code = ferry.migrate(vm, "--to", FULL)
            assert code == 0, events
    ferry.stop()


@pytest.fixture
def loaded(lab: Lab, settled: None) -> Iterator[None]:
    """One host is nearly full, one nearly empty."""
    for host, percent in ((FULL, 90), (EMPTY, 20), (MIDDLE, 50)):
        uses_memory(lab, host, percent)
        in_host(lab, host, "mount", "--bind", MEMINFO, "/proc/meminfo")
    yield
    for host in HOSTS:
        in_host(lab, host, "umount", "/proc/meminfo")
    set_links(lab, "1gbit")


def with_rules(lab: Lab, tmp_path: Path, rules: str) -> Ferry:
    """The command line on the lab's hosts with these rules, and an engine of its own."""
    fleet = tmp_path / "fleet.toml"
    fleet.touch(0o600)
    fleet.write_text(lab.fleet.read_text() + rules)
    return Ferry(fleet, tmp_path / "state")


def dry_run(ferry: Ferry) -> list[Event]:
    """What it says it would do."""
    done = ferry.run("run", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def who_goes_where(order: Event) -> list[tuple[str, str, str]]:
    return [(move["vm"], move["source"], move["target"]) for move in order["moves"]]


@pytest.mark.usefixtures("loaded")
async def test_what_a_dry_run_says_is_what_is_done(lab: Lab, tmp_path: Path) -> None:
    ferry = with_rules(lab, tmp_path, EVEN)
    try:
        [said] = of(dry_run(ferry), "order")
        [(vm, source, target)] = who_goes_where(said)
        assert (source, target) == (FULL, EMPTY)
        assert "memory of kvm-a was above 80 %" in said["reason"]
        assert said["moves"][0]["forecast"]["converges"]
        assert host_of(lab, vm) == FULL, "a dry run moves nothing"

        done = await asyncio.to_thread(ferry.run, "run", "--once", "--json")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, events
        [order] = of(events, "order")
        assert who_goes_where(order) == who_goes_where(said)
        [verdict] = of(events, "verdict")
        assert (verdict["vm"], verdict["outcome"], verdict["owner"]) == (vm, "moved", EMPTY)
        assert_defined_only_on(lab, vm, EMPTY)
        assert [one["vm"] for one in ferry.json("history")] == [vm]

        again = dry_run(ferry)
        assert of(again, "order") == [], "loads from before the move say nothing"
    finally:
        ferry.stop()


@pytest.mark.usefixtures("loaded")
async def test_two_do_not_act_twice_and_one_that_is_killed_loses_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    ferry = with_rules(lab, tmp_path, EVEN)
    try:
        async with ferry.following("run") as run:
            await run.until(event="began")
            second = await asyncio.to_thread(ferry.run, "run", "--once")
            assert second.returncode == 2
            assert f"pid {run.process.pid}" in second.stderr
            assert "Traceback" not in second.stderr
            set_links(lab, "30mbit")
            begun = await run.until(event="started")
            run.process.kill()
        third = await asyncio.to_thread(ferry.run, "run", "--once", "--json")
        events = [json.loads(line) for line in third.stdout.splitlines()]
        assert third.returncode == 0, third.stderr
        assert of(events, "order") == [], "what the killed one began still moves"
        set_links(lab, "1gbit")
        eventually(lambda: len(ferry.json("history")) == 1, "the move has its verdict", 60)
        [verdict] = ferry.json("history")
        assert (verdict["id"], verdict["outcome"]) == (begun["id"], "moved")
        assert_defined_only_on(lab, begun["vm"], EMPTY)
    finally:
        ferry.stop()


@pytest.mark.usefixtures("loaded")
async def test_it_stops_cleanly_and_leaves_a_move_to_the_engine(lab: Lab, tmp_path: Path) -> None:
    ferry = with_rules(lab, tmp_path, EVEN)
    try:
        async with ferry.following("run") as run:
            await run.until(event="began")
            set_links(lab, "30mbit")
            begun = await run.until(event="started")
            run.process.send_signal(signal.SIGTERM)
            stopped = await run.until(event="stopped")
            assert stopped["running"] == [begun["id"]]
            assert "the engine goes on" in stopped["sentence"]
            assert await run.ended() == 0
        set_links(lab, "1gbit")
        watched = await asyncio.to_thread(ferry.run, "watch", begun["id"])
        assert watched.returncode == 0, watched.stdout
        assert_defined_only_on(lab, begun["vm"], EMPTY)
    finally:
        ferry.stop()


LONG, BEHIND = "long-1", "/var/lib/libvirt/images/long-1.raw"
LONG_MIB = 3000
"""Over 100 Mbit/s more than four minutes, and by the late end of its forecast more than seven."""
WINDOW_S = 300


@pytest.fixture
def long_one(lab: Lab, settled: None) -> Iterator[None]:
    """A VM that is shut off, with much to copy, and links that need their time for it."""
    set_links(lab, "100mbit")
    with outside(lab, FULL, BEHIND).open("wb") as image:
        block = bytes(range(256)) * 4096
        for _ in range(LONG_MIB):
            image.write(block)
    document = lab.fleet.with_name("long.xml")
    document.write_text(
        f"<domain type='qemu'><name>{LONG}</name><memory unit='MiB'>64</memory>"
        "<vcpu>1</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
        f"<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{BEHIND}'/><target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
    lab.virsh(FULL, "define", str(document))
    yield
    for host in HOSTS:
        lab.virsh(host, "undefine", LONG, check=False)
        outside(lab, host, BEHIND).unlink(missing_ok=True)
    set_links(lab, "1gbit")


def clock(epoch: float) -> str:
    return time.strftime("%H:%M", time.localtime(epoch))


def knows_the_link(ferry: Ferry, vm: str, until: float) -> None:
    """The engine has probed the way to each target a moment ago."""

    def known() -> bool:
        plans = ferry.json("plan", vm)
        return all(plan["forecast"] and plan["forecast"]["total_s"] for plan in plans)

    eventually(known, "the links are probed", until - time.time())


@pytest.mark.usefixtures("long_one")
async def test_a_drain_begins_nothing_that_would_not_end_in_its_window(
    lab: Lab, tmp_path: Path
) -> None:
    now = time.time()
    until = 60 * (int(now + WINDOW_S) // 60 + 1)
    rule = f"""
[rules.night]
kind = "drain"
level = "automatic"
host = "{FULL}"
at = "{clock(now - 60)}"
until = "{clock(until)}"
"""
    ferry = with_rules(lab, tmp_path, rule)
    try:
        here = [vm["name"] for vm in lab.status()["vms"] if vm["host"] == FULL]
        events: list[Event] = []
        while not of(events, "order"):
            # A busy machine may not probe a link: then nothing is promised, nor begun.
            assert all("it is not known how long" in one["why"] for one in of(events, "refused"))
            assert time.time() < until, events
            knows_the_link(ferry, "idle-1", until)
            done = await asyncio.to_thread(ferry.run, "run", "--once", "--json")
            events = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 1, (done.stderr, events)
        [order] = of(events, "order")
        assert order["until"] == until
        assert LONG in [one["vm"] for one in order["stays"]]
        [ended] = of(events, "ended")
        moves = {move["vm"]: move for move in ended["moves"]}
        assert set(moves) == {*here, LONG}
        assert moves[LONG]["state"] == "left out"
        for why in (moves[LONG]["reason"], *(one["reason"] for one in order["stays"])):
            assert "the window ends" in why
            assert clock(until) in why
        went = [move for move in moves.values() if move["state"] == "moved"]
        assert went, "there was time for some"
        assert {move["vm"] for move in went} <= {one["vm"] for one in order["moves"]}
        assert all(move["ended"] <= until for move in went)
        for move in went:
            assert_defined_only_on(lab, move["vm"], move["target"])
        assert_defined_only_on(lab, LONG, FULL)

        again = ferry.run("run", "--once", "--json")
        assert of([json.loads(line) for line in again.stdout.splitlines()], "order") == []
        assert [run["host"] for run in ferry.json("evacuations")] == [FULL], "begun once"
    finally:
        ferry.run("maintenance", FULL, "off")
        ferry.stop()


PAIR = ("idle-1", "web-1")
KEY = ("--uri", "urn:virt-ferry:1", "--key", "ferry", "--live", "--config")


@pytest.fixture
def bundle(lab: Lab, settled: None) -> Iterator[None]:
    """Two VMs that go together, and prefer another host."""
    for vm in PAIR:
        tags = f'<vm with="shop" prefer="{EMPTY}"/>'
        lab.virsh(FULL, "metadata", vm, *KEY, "--set", tags)
    yield
    for vm in PAIR:
        lab.virsh(host_of(lab, vm), "metadata", vm, *KEY, "--remove", check=False)


@pytest.mark.usefixtures("bundle")
async def test_a_bundle_follows_its_tag_whole(lab: Lab, tmp_path: Path) -> None:
    ferry = with_rules(lab, tmp_path, '[rules.home]\nkind = "follow"\nlevel = "automatic"\n')
    try:
        done = await asyncio.to_thread(ferry.run, "run", "--once", "--json")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, (done.stderr, events)
        [order] = of(events, "order")
        assert sorted(who_goes_where(order)) == [(vm, FULL, EMPTY) for vm in PAIR]
        assert sorted(one["vm"] for one in of(events, "verdict")) == list(PAIR)
        for vm in PAIR:
            assert_defined_only_on(lab, vm, EMPTY)
    finally:
        ferry.stop()
