"""Copies of images that do not go well, and what may not happen to an image meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from backend.errors import CopyFailed, HostUnreachable
from backend.model import CopyRoute
from backend.remote import copy_job
from backend.remote.hold import hold
from backend.remote.image_copy import CopyOrder, ImageCopy
from backend.remote.images import check_image
from tests.lab.conftest import ROOT, Lab, eventually
from tests.lab.copy_pair import Pair, big, paired
from tests.lab.image_lab import MIB, QEMU, a_vm_starts, copying, damage, kill_daemon, qcow2, run

pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture
async def pair(lab: Lab) -> AsyncIterator[Pair]:
    async with paired(lab) as both:
        yield both


async def test_no_vm_starts_on_what_is_copied_or_held(pair: Pair) -> None:
    image = pair.at_source.file(big(pair))
    copy = pair.copy("big.raw", bandwidth_bytes_s=2 * MIB)
    task = asyncio.create_task(copy.run())
    await pair.moving.wait()
    assert not await asyncio.to_thread(a_vm_starts, image)
    async with hold(pair.source, [pair.at_source.path("big.raw")]) as held:
        await copy.set_bandwidth(None)
        await task
        assert held.held
        assert not await asyncio.to_thread(a_vm_starts, image)
    assert await asyncio.to_thread(a_vm_starts, image)
    assert copying(pair.lab) == []


async def test_what_a_vm_has_open_is_not_copied(pair: Pair) -> None:
    image = pair.at_source.file(big(pair, size=MIB))
    drive = f"if=none,id=d,format=raw,file={image}"
    vm = await asyncio.create_subprocess_exec(
        *QEMU,
        "-qmp",
        "stdio",
        "-drive",
        drive,
        "-device",
        "virtio-blk,drive=d",
        stdin=-1,
        stdout=-1,
    )
    assert vm.stdout is not None
    assert b"QMP" in await vm.stdout.readline()
    try:
        with pytest.raises(CopyFailed, match=r"big.raw on kvm-a is in use"):
            await pair.copy("big.raw").run()
    finally:
        vm.kill()
        await vm.wait()


async def test_an_abort_leaves_no_process(pair: Pair) -> None:
    big(pair)
    for route in (CopyRoute.DIRECT, CopyRoute.RELAY):
        task = asyncio.create_task(pair.copy("big.raw", bandwidth_bytes_s=MIB, route=route).run())
        await pair.moving.wait()
        assert copying(pair.lab)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert copying(pair.lab) == []


async def test_a_killed_client_leaves_no_process(pair: Pair) -> None:
    order = pair.order(big(pair), bandwidth_bytes_s=MIB)
    program = f"""
import asyncio
from backend.remote.image_copy import *
from backend.remote.ssh import SshHost
async def main():
    ends = [SshHost(name, {str(pair.lab.ssh_config)!r}) for name in ("kvm-a", "kvm-b")]
    for end in ends: await end.connect()
    order = CopyOrder({order.source_path!r}, {order.target_path!r},
                      target_address="kvm-b", bandwidth_bytes_s=1 << 20)
    await ImageCopy(*ends, order, lambda done, total: print(done, flush=True)).run()
asyncio.run(main())
"""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert client.stdout is not None
    await client.stdout.readline()
    assert copying(pair.lab)
    client.send_signal(signal.SIGKILL)
    await client.wait()
    await asyncio.to_thread(
        eventually, lambda: copying(pair.lab) == [], "the daemons end after their client"
    )


async def test_a_full_target_is_named(pair: Pair) -> None:
    small = pair.at_target.path("small")
    made = await pair.target.run(f"mkdir {small} && mount -t tmpfs -o size=8m none {small}")
    assert made.exit_status == 0, made.stderr
    try:
        await pair.target.run(f"touch {small}/full.raw")
        order = CopyOrder(
            pair.at_source.path(big(pair)), f"{small}/full.raw", target_address="kvm-b"
        )
        with pytest.raises(CopyFailed, match=r"full.raw on kvm-b cannot be written.*No space"):
            await ImageCopy(pair.source, pair.target, order, lambda _done, _total: None).run()
    finally:
        await pair.target.run(f"umount {small}; rmdir {small}")
    assert copying(pair.lab) == []


async def test_a_corrupt_source_is_named(pair: Pair) -> None:
    image, path = pair.at_source.file("bad"), pair.at_source.path("bad")
    qcow2(image)
    damage(image)
    assert not (await check_image(pair.source, path, "qcow2")).clean
    qcow2(pair.at_target.file("bad"), fill=False)
    with pytest.raises(CopyFailed, match=r"bad on kvm-a cannot be read"):
        await pair.copy("bad", flatten=True, source_format="qcow2").run()
    run("truncate", "-s", "100", image)
    with pytest.raises(CopyFailed, match=r"bad on kvm-a cannot be checked"):
        await check_image(pair.source, path, "qcow2")
    with pytest.raises(CopyFailed, match="no such file"):
        await pair.copy("none", to="there").run()


async def test_a_source_that_changes_meanwhile_is_told(pair: Pair) -> None:
    copy = pair.copy(big(pair), bandwidth_bytes_s=4 * MIB)
    task = asyncio.create_task(copy.run())
    await pair.moving.wait()
    # A program that knows nothing of QEMU's locks.
    os.truncate(pair.at_source.file("big.raw"), MIB)
    await copy.set_bandwidth(None)
    with pytest.raises(CopyFailed, match="was changed while it was copied"):
        await task


@contextmanager
def blackhole(lab: Lab, host: str, address: str) -> Iterator[None]:
    """Nothing comes from that address to the host, and nobody is told."""
    words = ["ip", "netns", "exec", lab.netns(host), "ip", "route"]
    subprocess.run([*words, "add", "blackhole", f"{address}/32"], check=True)
    try:
        yield
    finally:
        subprocess.run([*words, "del", "blackhole", f"{address}/32"], check=True)


async def test_a_link_between_the_hosts_that_stays_cut_is_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_job, "STALL_S", 1.0)
    monkeypatch.setattr(copy_job, "CUT_LIMIT_S", 3.0)
    task = asyncio.create_task(pair.copy(big(pair), bandwidth_bytes_s=2 * MIB).run())
    await pair.moving.wait()
    with blackhole(pair.lab, "kvm-a", pair.lab.host("kvm-b")["address"]):
        with pytest.raises(CopyFailed, match="kvm-a has not reached kvm-b"):
            await task
        assert copying(pair.lab) == []


async def test_a_host_that_is_cut_off_is_told_and_ends_what_runs_there(pair: Pair) -> None:
    task = asyncio.create_task(pair.copy(big(pair), bandwidth_bytes_s=MIB).run())
    await pair.moving.wait()
    pair.lab.set_link("kvm-b", "down")
    try:
        with pytest.raises((CopyFailed, HostUnreachable), match="kvm-b"):
            await task
        await asyncio.to_thread(
            eventually, lambda: copying(pair.lab) == [], "the cut-off daemon ends", 40
        )
    finally:
        pair.lab.set_link("kvm-b", "up")


async def test_the_daemon_at_the_target_killed_is_told(pair: Pair) -> None:
    task = asyncio.create_task(pair.copy(big(pair), bandwidth_bytes_s=MIB).run())
    await pair.moving.wait()
    kill_daemon(pair.lab, "kvm-b")
    with pytest.raises(CopyFailed, match="on kvm-b has ended"):
        await task
    assert copying(pair.lab) == []
