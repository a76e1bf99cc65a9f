"""A migration whose world changes on the way: the link, the VM, both; it still ends as agreed."""

import asyncio
import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab
from tests.lab.ferry import Event, Ferry, Running
from tests.lab.places import host_of, other
from tests.lab.test_moves import assert_only_on, slow_links

pytestmark = pytest.mark.lab

BUDGET_MS = 300
ACCIDENT = 1.5
CUT_S = 30


@pytest.fixture(autouse=True)
def alone(lab: Lab) -> Iterator[None]:
    lab.quiet()
    slow_links(lab)
    yield
    lab.up()


async def sending(running: Running, mb: int = 20) -> None:
    await running.until(event="sample", sent_bytes=lambda sent: sent > mb * 1_000_000)


def assert_agreed(lab: Lab, name: str, verdict: Event, target: str) -> None:
    assert (verdict["outcome"], verdict["owner"]) == ("moved", target), verdict["reason"]
    assert verdict["pause_ms"] <= ACCIDENT * BUDGET_MS
    assert_only_on(lab, name, target)


def assert_nothing_repeats(events: list[Event]) -> None:
    """Pause limits only rise, and no other action is taken twice."""
    made = [one for one in events if one["event"] == "decision" and one["by"] == "engine"]
    limits = [one["pause_limit_ms"] for one in events if one["event"] == "sample"]
    assert limits == sorted(limits)
    counts = Counter(one["action"] for one in made)
    assert not [
        action
        for action, count in counts.items()
        if count > 1 and action in ("post-copy", "suspend", "abort")
    ]


@pytest.mark.long
async def test_a_link_that_halves(lab: Lab, ferry: Ferry) -> None:
    target = other(lab, "cache-1")
    lab.set_writer("cache-1", "6MB/s", "60M")
    async with ferry.migrating("cache-1", "--to", target) as running:
        await sending(running)
        await asyncio.to_thread(lab.set_link, target, "100mbit")
        verdict = await running.verdict()
    assert_agreed(lab, "cache-1", verdict, target)
    assert_nothing_repeats(running.events)


@pytest.mark.long
async def test_a_vm_that_gets_busy_on_the_way(lab: Lab, ferry: Ferry) -> None:
    target = other(lab, "cache-1")
    async with ferry.migrating("cache-1", "--to", target) as running:
        await sending(running)
        await asyncio.to_thread(lab.set_writer, "cache-1", "60MB/s", "100M")
        verdict = await running.verdict()
    assert_agreed(lab, "cache-1", verdict, target)
    assert verdict["throttle_percent"] >= 50
    assert_nothing_repeats(running.events)


@pytest.mark.long
async def test_a_link_that_drops_and_comes_back(lab: Lab, ferry: Ferry) -> None:
    """Nothing is decided while nothing is sent; where libvirt gives up, it is tried once more."""
    source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        await sending(running)
        await asyncio.to_thread(lab.set_link, target, "down")
        before = len(running.events)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.verdict(), CUT_S)
        meanwhile = [one for one in running.events[before:] if one["event"] == "decision"]
        await asyncio.to_thread(lab.set_link, target, "up")
        assert await asyncio.wait_for(running.ended(), 120) == 0
    assert {one["action"] for one in meanwhile} <= {"note"}
    *first, verdict = [one for one in running.events if one["event"] == "verdict"]
    assert_agreed(lab, "idle-1", verdict, target)
    for one in first:
        assert (one["outcome"], one["owner"], one["again"]) == ("stayed", source, True)
        assert "link was lost" in one["reason"]


@pytest.mark.long
async def test_a_second_attempt_can_be_called_off(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    with contextlib.ExitStack() as mended:
        async with ferry.migrating("idle-1", "--to", target) as running:
            await sending(running)
            mended.enter_context(unreachable(lab, source, target))
            verdict = await running.until(event="verdict")
            assert (verdict["outcome"], verdict["again"]) == ("stayed", True)
            assert (await asyncio.to_thread(ferry.run, "abort", "idle-1")).returncode == 0
            assert await asyncio.wait_for(running.ended(), 20) == 1
    assert_only_on(lab, "idle-1", source)


@contextlib.contextmanager
def unreachable(lab: Lab, source: str, target: str) -> Iterator[None]:
    """The operator reaches both, the source does not reach the target."""
    address = str(lab.host(target)["address"])
    words = ("ip", "-n", lab.netns(source), "route")
    subprocess.run([*words, "add", "blackhole", address], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run([*words, "del", "blackhole", address], check=True, timeout=10)
