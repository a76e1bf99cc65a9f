"""Migrations begun by somebody else: with virsh, or by another user's engine."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.lab.conftest import Lab
from tests.lab.ferry import ROOT, Event, Ferry
from tests.lab.places import host_of, other, set_links
from tests.lab.test_moves import DEFAULT_PAUSE_MS, assert_only_on

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

VM = "idle-1"
WORDS = ("migrate", "--live", "--p2p", "--tls", "--persistent", "--undefinesource")
LINK = "50mbit"
BY_OTHERS = f"{VM} is moved by somebody else"


@pytest.fixture(autouse=True)
def calm(lab: Lab) -> Iterator[None]:
    lab.quiet()
    set_links(lab, LINK)
    yield
    lab.up()


@asynccontextmanager
async def moving_by_virsh(lab: Lab, source: str, target: str) -> AsyncIterator[None]:
    """A colleague's migration; waited for at the end, however it ends."""
    words = ("virsh", "-q", "-c", lab.uri(source), *WORDS, VM, f"qemu+tls://{target}/system")
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield
    finally:
        await asyncio.wait_for(process.wait(), 90)


async def shown(ferry: Ferry) -> Event:
    """The running migration that is listed, once there is one."""
    async with asyncio.timeout(30):
        while True:
            jobs = await asyncio.to_thread(ferry.json, "jobs", "--running")
            if jobs:
                assert len(jobs) == 1
                found: Event = jobs[0]
                return found


async def test_a_virsh_migration_is_shown_and_aborted(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, VM), other(lab, VM)
    async with moving_by_virsh(lab, source, target):
        job = await shown(ferry)
        assert (job["vm"], job["source"], job["foreign"]) == (VM, source, True)
        assert (job["policy"], job["encrypted"]) == ("foreign", None)
        done = await asyncio.to_thread(ferry.run, "abort", job["id"], "--json")
        verdict = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == 0, done.stderr
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert verdict["target"] == target
    assert "Aborted as asked" in verdict["reason"]
    assert_only_on(lab, VM, source)
    ids = [one["id"] for one in ferry.json("jobs")]
    assert ids.count(job["id"]) == 1
    assert not ferry.json("jobs", "--running")


@pytest.mark.long
async def test_a_virsh_migration_is_watched_to_its_verdict(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, VM), other(lab, VM)
    async with moving_by_virsh(lab, source, target):
        job = await shown(ferry)
        done = await asyncio.to_thread(ferry.run, "plan", VM, "--to", target)
        assert BY_OTHERS in done.stdout
        done = await asyncio.to_thread(ferry.run, "steer", job["id"], "--pause-ms", "250")
        assert done.returncode == 0, done.stderr
        async with ferry.following("watch", job["id"]) as watching:
            verdict = await watching.verdict()
    assert (verdict["outcome"], verdict["owner"]) == ("moved", target)
    assert verdict["pause_ms"] > 0
    assert verdict["passes"] >= 2
    assert verdict["total_s"] > 5
    assert verdict["leftovers"] == []
    assert len([one for one in watching.events if one["event"] == "sample"]) > 5
    assert_only_on(lab, VM, target)
    assert not ferry.json("jobs", "--running")


@pytest.mark.long
async def test_limits_set_on_a_virsh_migration_that_stays_are_put_back(
    lab: Lab, ferry: Ferry
) -> None:
    source, target = host_of(lab, VM), other(lab, VM)
    async with moving_by_virsh(lab, source, target):
        job = await shown(ferry)
        await asyncio.to_thread(ferry.run, "steer", job["id"], "--pause-ms", "250")
        ferry.kill_engine()
        again = await shown(ferry)
        assert again["id"] == job["id"]
        lab.virsh(source, "domjobabort", VM)
        async with ferry.following("watch", job["id"]) as watching:
            verdict = await watching.verdict()
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert int(lab.virsh(source, "migrate-getmaxdowntime", VM)) == DEFAULT_PAUSE_MS


@pytest.mark.long
async def test_one_that_leaves_the_fleet_is_not_guessed_at(lab: Lab, tmp_path: Path) -> None:
    source = host_of(lab, VM)
    target = other(lab, VM)
    part = tmp_path / "fleet.toml"
    part.write_text(without(lab.fleet.read_text(), target))
    ferry = Ferry(part, tmp_path / "state")
    try:
        async with moving_by_virsh(lab, source, target):
            job = await shown(ferry)
            assert job["target"] == "?"
            async with ferry.following("watch", job["id"]) as watching:
                verdict = await watching.verdict()
                assert await watching.process.wait() == 3
        assert (verdict["outcome"], verdict["owner"]) == ("unknown", None)
        assert "outside of this fleet" in verdict["reason"]
        assert ferry.run("engine", "stop").returncode == 0
    finally:
        ferry.stop()
    assert_only_on(lab, VM, target)


def without(fleet: str, host: str) -> str:
    """The lab's fleet file without one host."""
    head, *tables = fleet.split("[hosts.")
    kept = [one for one in tables if not one.startswith(f"{host}]")]
    return head + "".join(f"[hosts.{one}" for one in kept)


@pytest.mark.long
async def test_two_users_and_one_vm(lab: Lab, ferry: Ferry, tmp_path: Path) -> None:
    """Whoever comes second is told so; the VM moves once (and is where both wanted it)."""
    target = other(lab, VM)
    colleague = Ferry(lab.fleet, tmp_path / "state")
    try:
        for one in (ferry, colleague):
            one.run("vms")
        words = ("migrate", VM, "--to", target)
        both = [asyncio.to_thread(one.run, *words) for one in (ferry, colleague)]
        ended = await asyncio.gather(*both)
        seen = (*ferry.json("jobs"), *colleague.json("jobs"))
    finally:
        colleague.stop()
    lost = [one for one in ended if BY_OTHERS in one.stdout + one.stderr]
    assert len(lost) == 1, ended
    assert sorted(one.returncode for one in ended)[0] == 0
    assert len({one["id"] for one in seen if one["outcome"] == "moved"}) == 2
    assert_only_on(lab, VM, target)


@pytest.mark.long
async def test_the_hosts_lock_decides_and_the_loser_says_so(
    lab: Lab, ferry: Ferry, tmp_path: Path
) -> None:
    """Its look came too early: libvirt lets its call wait, and gives it up after 30 s."""
    source, target = host_of(lab, VM), other(lab, VM)
    set_links(lab, "10mbit")
    words = ("tests.lab.live_fault", str(lab.fleet), str(tmp_path), VM, target, "contested")
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *words, lab.uri(source), f"qemu+tls://{target}/system"],
        cwd=ROOT,
        check=True,
        timeout=150,
        capture_output=True,
        text=True,
    )
    verdict = json.loads(ended.stdout.splitlines()[-1])
    lab.virsh(source, "domjobabort", VM, check=False)
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert BY_OTHERS in verdict["reason"]
    assert verdict["leftovers"] == []
