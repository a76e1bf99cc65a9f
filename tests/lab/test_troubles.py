"""What goes wrong while a VM moves: the verdict is right, and the VM runs exactly once."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab
from tests.lab.ferry import Ferry
from tests.lab.places import host_of, other
from tests.lab.test_moves import assert_only_on, slow_links

pytestmark = pytest.mark.lab

CUT_S = 5.0


@pytest.fixture(autouse=True)
def calm(lab: Lab) -> Iterator[None]:
    """Silent writers and slow links; whatever was killed or cut is mended afterwards."""
    lab.quiet()
    slow_links(lab)
    yield
    lab.up()


def daemon(lab: Lab, host: str) -> int:
    return int((lab.fleet.parent / "hosts" / host / "run" / "libvirtd.pid").read_text())


async def test_the_targets_daemon_dies(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        os.kill(daemon(lab, target), signal.SIGKILL)
        await running.until(event="phase", phase="verify", state="active")
        await asyncio.to_thread(lab.up)
        verdict = await running.verdict()
        assert await running.process.wait() == 1
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert_only_on(lab, "idle-1", source)


async def test_the_sources_daemon_dies(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        os.kill(daemon(lab, source), signal.SIGKILL)
        await running.until(event="phase", phase="verify", state="active")
        await asyncio.to_thread(lab.up)
        verdict = await running.verdict()
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert_only_on(lab, "idle-1", source)


async def test_the_targets_link_is_cut_for_a_while(lab: Lab, ferry: Ferry) -> None:
    target = other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        await asyncio.to_thread(lab.set_link, target, "down")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.verdict(), CUT_S)
        await asyncio.to_thread(lab.set_link, target, "up")
        verdict = await running.verdict()
        assert await running.process.wait() == 0
    assert (verdict["outcome"], verdict["owner"]) == ("moved", target)
    assert_only_on(lab, "idle-1", target)


async def test_the_guest_shuts_down_meanwhile(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        await asyncio.to_thread(lab.virsh, source, "destroy", "idle-1")
        verdict = await running.verdict()
        assert await running.process.wait() == 1
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert "shut off" in verdict["reason"]
    assert verdict["leftovers"] == []
    assert "idle-1" not in lab.virsh(target, "list", "--all", "--name").split()


async def test_a_second_migration_of_it_is_refused(lab: Lab, ferry: Ferry) -> None:
    target = other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        second = await asyncio.to_thread(ferry.run, "migrate", "idle-1", "--to", target)
        assert second.returncode == 2
        assert "idle-1" in second.stderr
        verdict = await running.verdict()
    assert verdict["outcome"] == "moved"
