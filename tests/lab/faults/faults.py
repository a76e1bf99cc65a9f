"""How each fault happens, and how it is mended."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from backend.lab.layout import Lab as Layout
from tests.lab.conftest import ROOT, eventually
from tests.lab.faults.scene import Scene, raise_daemons
from tests.lab.ferry import COMMAND
from tests.lab.places import IMAGES, in_host

SHORT_S, LONG_S = 5.0, 60.0
UNREACHABLE_S = 10.0
"""Longer than the engine waits for an answer."""
JUMP_S = 3 * 3600.0
DISK_BYTES = 2**20
"""So much room is left to a disk that fills up."""
ENDS_S = 60.0
ASK_AGAIN_S = 15.0
ANY_TIME = "any time"
"""In place of a phase: which it is, is not known, and it may be over."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`happen` while the phase is held; `lasts_s` after it was let go, it is mended."""

    happen: Callable[[Scene, str], Awaitable[None]]
    mend: Callable[[Scene], Awaitable[None]] | None = None
    lasts_s: float = 0.0
    set_up: Callable[[Scene], None] | None = None
    """Before the migration begins."""


async def in_thread(function: Callable[..., object], *arguments: object) -> None:
    await asyncio.to_thread(function, *arguments)


# -- processes -----------------------------------------------------------------------------------


async def kill_console(scene: Scene, _phase: str) -> None:
    scene.running.process.kill()
    await scene.running.process.wait()


async def kill_engine(scene: Scene, _phase: str) -> None:
    scene.ferry.kill_engine()
    await scene.running.process.wait()


def kill_daemon(end: str) -> Callable[[Scene, str], Awaitable[None]]:
    async def happen(scene: Scene, _phase: str) -> None:
        os.kill(scene.pid(getattr(scene, end), "libvirtd"), signal.SIGKILL)

    return happen


def kill_qemu(end: str) -> Callable[[Scene, str], Awaitable[None]]:
    async def happen(scene: Scene, phase: str) -> None:
        scene.restarted = end == "source" or phase in ("post-copy", "verify", ANY_TIME)
        host = getattr(scene, end)
        try:
            os.kill(scene.pid(host, f"qemu/{scene.vm}"), signal.SIGKILL)
        except FileNotFoundError:
            assert phase == ANY_TIME
        if phase in ("prepare", "verify"):  # else its libvirt may still say that it runs
            off = partial(scene.shut_off_on, host)
            await asyncio.to_thread(eventually, off, f"{host} has seen it end", 30)

    return happen


async def kill_sshd(scene: Scene, _phase: str) -> None:
    for one in scene.processes("sshd"):
        if one.host in (scene.source, scene.target):
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)


async def repair(scene: Scene) -> None:
    """Daemons that are gone start again. Not `lab up`, which also mends the VMs."""
    await in_thread(raise_daemons, Layout(scene.lab.name))


# -- the network ---------------------------------------------------------------------------------


async def cut(scene: Scene, _phase: str) -> None:
    await in_thread(scene.lab.set_link, scene.target, "down")


async def restore(scene: Scene) -> None:
    await in_thread(scene.lab.set_link, scene.target, "up")


async def break_stream(scene: Scene, phase: str) -> None:
    """End QEMU's connections at the source, of memory and disks."""
    inside = ["ip", "netns", "exec", scene.lab.netns(scene.source)]
    words = [*inside, "ss", "-K", "-tn", "dport", "ge", ":49152"]
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, timeout=10)
    assert phase == ANY_TIME or b":491" in done.stdout, "there was no stream to break"


def blackhole(scene: Scene, verb: str) -> None:
    address = next(h.address for h in Layout(scene.lab.name).hosts if h.name == scene.source)
    done = scene.lab.in_operator("ip", "route", verb, "blackhole", f"{address}/32")
    assert done.returncode == 0, done.stderr


async def hide_source(scene: Scene, _phase: str) -> None:
    await in_thread(blackhole, scene, "add")


async def show_source(scene: Scene) -> None:
    await in_thread(blackhole, scene, "del")


# -- the guest -----------------------------------------------------------------------------------


def guest_ends(request: str) -> Callable[[Scene, str], Awaitable[None]]:
    async def happen(scene: Scene, _phase: str) -> None:
        scene.restarted = True
        await in_thread(scene.tell_guest, request)
        told_s = [time.monotonic()]

        def has_ended() -> bool:
            """One that is at its switchover may not hear it; after the end it is too late."""
            if scene.guest() is None or scene.running.process.returncode is not None:
                return True
            if time.monotonic() - told_s[0] >= ASK_AGAIN_S:
                told_s[0] = time.monotonic()
                scene.tell_guest(request)
            return False

        silent = f"{scene.vm} answers no more"  # else the phase may be over before it has ended
        await in_thread(eventually, has_ended, silent, ENDS_S)

    return happen


async def suspend_guest(scene: Scene, phase: str) -> None:
    hosts = [scene.target if phase in ("post-copy", "verify") else scene.source]
    if phase == ANY_TIME:
        hosts = [host for host, state in scene.states().items() if state == "running"]
    for host in hosts:
        suspend = partial(scene.lab.virsh, host, "suspend", scene.vm, check=phase != ANY_TIME)
        await asyncio.to_thread(suspend)


# -- the operator --------------------------------------------------------------------------------


async def second_migration(scene: Scene, _phase: str) -> None:
    words = ("migrate", scene.vm, "--to", scene.target)
    done = await asyncio.to_thread(scene.ferry.run, *words)
    assert done.returncode == 2, done.stdout
    assert scene.vm in done.stderr
    assert "Traceback" not in done.stderr


async def abort(scene: Scene, phase: str) -> None:
    """It waits for the verdict, so it runs beside; where it is too late it is refused."""
    asking = await asyncio.create_subprocess_exec(
        *(*COMMAND, "abort", scene.vm, "--json"),
        env=dict(scene.ferry.environment),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    scene.beside.append(asking)
    if phase in ("post-copy", "verify"):
        _, said = await asking.communicate()
        assert asking.returncode == 2, said
        assert b"Traceback" not in said
    elif phase == ANY_TIME:
        await asking.communicate()
    else:
        await scene.running.until(event="decision", action="abort")


# -- a disk, a clock -----------------------------------------------------------------------------


def small_disk(scene: Scene) -> None:
    """The target's pool lies on a small file system from now on."""
    in_host(scene.lab, scene.target, "mount", "-t", "tmpfs", "-o", "size=150m", "tight", IMAGES)
    scene.lab.virsh(scene.target, "pool-refresh", "default")
    scene.closing.append(lambda: large_disk(scene))


def large_disk(scene: Scene) -> None:
    in_host(scene.lab, scene.target, "umount", IMAGES)
    scene.lab.virsh(scene.target, "pool-refresh", "default")


async def fill_disk(scene: Scene, _phase: str) -> None:
    script = f"fallocate -l $(($(df -B1 --output=avail {IMAGES} | tail -1) - {DISK_BYTES}))"
    await in_thread(in_host, scene.lab, scene.target, "sh", "-c", f"{script} {IMAGES}/fill")


async def jump(scene: Scene, _phase: str) -> None:
    (scene.held / "clock").write_text(str(JUMP_S))


FAULTS = {
    "console killed": Fault(kill_console),
    "engine killed": Fault(kill_engine),
    "source's libvirtd killed": Fault(kill_daemon("source"), repair),
    "target's libvirtd killed": Fault(kill_daemon("target"), repair),
    "source's QEMU killed": Fault(kill_qemu("source")),
    "target's QEMU killed": Fault(kill_qemu("target")),
    "link cut for 5 s": Fault(cut, restore, SHORT_S),
    "link cut for 60 s": Fault(cut, restore, LONG_S),
    "stream broken": Fault(break_stream),
    "sshd killed": Fault(kill_sshd, repair),
    "host unreachable to the engine": Fault(hide_source, show_source, UNREACHABLE_S),
    "guest shuts down": Fault(guest_ends("poweroff")),
    "guest crashes": Fault(guest_ends("crash")),
    "guest is suspended": Fault(suspend_guest),
    "second migration": Fault(second_migration),
    "abort": Fault(abort),
    "target disk full": Fault(fill_disk, set_up=small_disk),
    "clock jump": Fault(jump),
}
