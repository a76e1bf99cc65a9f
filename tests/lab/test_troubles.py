"""What goes wrong while a VM moves: the verdict is right, and the VM runs exactly once."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab, eventually
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


@pytest.mark.long
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


@pytest.mark.long
async def test_a_qemu_that_hangs_makes_only_its_own_row_old(lab: Lab, ferry: Ferry) -> None:
    host, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    lab.run("vm", "web-1", "--write", "0")
    if (home := host_of(lab, "web-1")) != host:
        assert ferry.migrate("web-1", "--to", host)[1] == 0, home
    qemu = int((lab.fleet.parent / "hosts" / host / "run" / "qemu/idle-1.pid").read_text())
    seen: set[str] = set()

    def troubles() -> dict[str, str]:
        seen.update(one["state"] for one in ferry.json("hosts"))
        return {vm["name"]: vm["trouble"] for vm in ferry.json("vms") if vm["trouble"]}

    assert troubles() == {}
    os.kill(qemu, signal.SIGSTOP)
    try:
        told = "its row says so"
        await asyncio.to_thread(eventually, lambda: set(troubles()) == {"idle-1"}, told, 40)
        refused = ferry.run("migrate", "idle-1", "--to", target)
        assert refused.returncode == 2
        assert "does not answer libvirt" in refused.stdout + refused.stderr
        events, code = ferry.migrate("web-1", "--to", target)
        assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
    finally:
        os.kill(qemu, signal.SIGCONT)
    await asyncio.to_thread(eventually, lambda: troubles() == {}, "it answers again", 40)
    assert seen == {"up"}, "its host was never lost"
    events, code = ferry.migrate("idle-1", "--to", target)
    assert code == 0, events[-1]
