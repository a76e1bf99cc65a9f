"""Post-copy under faults: a cut link, a call that fails although the VM moves, a broken stream.

Each ends with the right verdict, the VM once, its memory whole and nothing of it at the source.
"""

import asyncio
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab
from tests.lab.ferry import Event, Ferry, Running
from tests.lab.places import host_of, other
from tests.lab.test_moves import assert_only_on

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

VM = "cache-1"
LINK = "100mbit"
"""So slow that post-copy lasts long enough to meet every fault in its middle."""
FETCHED_BYTES = 20_000_000
STALL_S = 20
BEYOND_KEEPALIVE_S = 50
"""libvirt's own keepalive gives a connection up after 30 s."""


@pytest.fixture(autouse=True)
def busy(lab: Lab) -> Iterator[None]:
    """A VM far above slow links; whatever was cut is mended afterwards."""
    lab.quiet()
    for host in ("kvm-a", "kvm-b", "kvm-c"):
        lab.set_link(host, LINK)
    lab.set_writer(VM, "60MB/s", "100M")
    yield
    lab.up()


async def fetching(running: Running) -> None:
    """Until the VM runs at the target and has fetched some of its memory there: a stream that
    breaks before it runs leaves nothing to go on with."""
    await running.until(event="decision", action="post-copy")
    asked = await running.until(event="sample", post_copy_requests=lambda asked: asked > 0)
    fetched = asked["sent_bytes"] + FETCHED_BYTES
    await running.until(event="sample", sent_bytes=lambda sent: sent > fetched)


def said(running: Running, part: str) -> bool:
    return any(part in one["reason"] for one in running.events if one["event"] == "decision")


def assert_moved_whole(lab: Lab, verdict: Event, target: str) -> None:
    assert (verdict["outcome"], verdict["owner"]) == ("moved", target), verdict["reason"]
    assert verdict["leftovers"] == []
    assert_only_on(lab, VM, target)
    assert VM in lab.virsh(target, "list", "--all", "--persistent", "--name").split()


async def cut_for(lab: Lab, host: str, running: Running, seconds: float) -> None:
    """The host's link, while the migration's events are read."""
    await asyncio.to_thread(lab.set_link, host, "down")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(running.verdict(), seconds)
    await asyncio.to_thread(lab.set_link, host, "up")


@pytest.mark.long
async def test_a_short_cut_stalls_it_says_so_and_goes_on(lab: Lab, ferry: Ferry) -> None:
    target = other(lab, VM)
    async with ferry.migrating(VM, "--to", target, "--policy", "must-finish") as running:
        await fetching(running)
        await cut_for(lab, target, running, STALL_S)
        verdict = await running.verdict()
    assert said(running, "nothing has come for")
    assert said(running, "its pages come again")
    assert verdict["stall_ms"] >= 1000 * (STALL_S - 5)
    assert_moved_whole(lab, verdict, target)


@pytest.mark.long
async def test_a_call_that_fails_although_the_vm_moves(lab: Lab, ferry: Ferry) -> None:
    """The source is left with a definition; the verdict is asked of both, and that is removed."""
    source, target = host_of(lab, VM), other(lab, VM)
    async with ferry.migrating(VM, "--to", target, "--policy", "must-finish") as running:
        await fetching(running)
        await cut_for(lab, target, running, BEYOND_KEEPALIVE_S)
        verdict = await running.verdict()
    assert said(running, "our call ended")
    assert said(running, f"removed the one left on {source}")
    assert_moved_whole(lab, verdict, target)


async def test_a_broken_stream_is_recovered(lab: Lab, ferry: Ferry) -> None:
    """Both ends failed, the VM stands still: recovery is offered, and done when it is asked for."""
    source, target = host_of(lab, VM), other(lab, VM)
    async with ferry.migrating(VM, "--to", target, "--policy", "must-finish") as running:
        await fetching(running)
        await asyncio.to_thread(break_stream, lab, source)
        await running.until(event="decision", reason=lambda text: text.startswith("needs you"))
        done = await asyncio.to_thread(ferry.run, "steer", VM, "recover")
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
    assert said(running, "as asked") or said(running, "recovering its post-copy")
    assert_moved_whole(lab, verdict, target)


def break_stream(lab: Lab, source: str) -> None:
    """End QEMU's connections at the source; nothing of it can go on by itself."""
    words = ["ip", "netns", "exec", lab.netns(source), "ss", "-K", "-tn", "dport", "ge", ":49152"]
    subprocess.run(words, check=True, capture_output=True, timeout=10)
