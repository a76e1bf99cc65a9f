"""What has to be true after a cell, by virsh on every host, by the guest itself, by the files."""

import asyncio
from contextlib import suppress

import pytest

from backend.lab.domains import survey
from backend.lab.layout import Lab as Layout
from tests.lab.conftest import eventually
from tests.lab.faults.scene import Scene
from tests.lab.ferry import Event
from tests.lab.places import HOSTS, images_of, in_host

ANSWERS_S = 60.0
DEAD_S = 15.0
WRITES_BYTES_S, DISK_WRITES_BYTES_S = 5_000_000, 1_000_000


def set_up_guest(scene: Scene) -> None:
    """It writes all the time, and counts."""
    guest = scene.set_writer(WRITES_BYTES_S)
    if has_disk(scene):
        guest = scene.set_disk_writer(DISK_WRITES_BYTES_S)
    scene.limits = limits(scene, scene.source)
    assert guest.memory_ok
    assert guest.disk_ok
    scene.work_bytes = guest.work_bytes


def all_stands(scene: Scene) -> bool:
    """Every host answers, and the VM runs at one of them alone."""
    seen = survey(Layout(scene.lab.name))
    places = [place.state for place in seen.places.get(scene.vm, [])]
    return len(seen.up) == len(HOSTS) and places == ["running"] and scene.guest() is not None


def has_disk(scene: Scene) -> bool:
    """It has one of its own, which is copied."""
    return scene.vm == "files-1"


def limits(scene: Scene, host: str) -> tuple[str, str]:
    """Pause limit and bandwidth of the VM, as virsh has them."""
    return (
        scene.lab.virsh(host, "migrate-getmaxdowntime", scene.vm).strip(),
        scene.lab.virsh(host, "migrate-getspeed", scene.vm).strip(),
    )


def ended_as(scene: Scene, verdict: Event) -> str:
    """`outcome state` as a cell has it, after comparing the verdict with every host."""
    states = scene.states()
    running = [host for host, state in states.items() if state == "running"]
    assert len(running) <= 1, f"it runs on {running}"
    if verdict["outcome"] == "lost":
        (held,) = (host for host, state in states.items() if state in ("running", "paused"))
        if running:
            assert f"{held} calls it running" in verdict["reason"], verdict["reason"]
        return f"lost {states[held]}"
    owner = verdict["owner"]
    assert set(states) == {owner}, f"{states}, though the verdict says {owner}: {verdict['reason']}"
    assert owner == (scene.target if verdict["outcome"] == "moved" else scene.source), verdict
    said = "runs on" if states[owner] == "running" else f"is {states[owner]}"
    assert f"It {said}" in verdict["reason"], f"{states}: {verdict['reason']}"
    return f"{verdict['outcome']} {states[owner]}"


def assert_nothing_left(scene: Scene, verdict: Event, ended: str) -> None:
    """At neither end, and the verdict knows of nothing."""
    owner = verdict["owner"]
    if ended.endswith(" paused"):
        assert verdict["leftovers"] == [
            f"it is paused on {owner}: virsh resume {scene.vm} there"
        ], verdict
    else:
        assert verdict["leftovers"] == [], verdict
    qemus = [] if ended.endswith("shut off") else [owner]
    eventually(lambda: scene.qemus() == qemus, f"QEMUs of it only on {qemus}: {scene.qemus()}")
    if has_disk(scene):
        images = {host: images_of(scene.lab, host, scene.vm) for host in HOSTS}
        assert {host for host, found in images.items() if found} == {owner}, images
    if ended == "stayed running":
        assert limits(scene, owner) == scene.limits


def assert_whole(scene: Scene) -> None:
    """The guest answers, its memory and its disk are good, and nothing it wrote is lost."""
    eventually(lambda: scene.guest() is not None, f"{scene.vm} answers", ANSWERS_S)
    guest = scene.guest()
    assert guest is not None
    assert guest.memory_ok
    assert guest.disk_ok
    if not scene.restarted:
        assert guest.work_bytes >= scene.work_bytes


def set_right(scene: Scene, verdict: Event, ended: str) -> None:
    """As an operator would after reading the verdict: it runs again."""
    if ended.startswith("lost"):
        for one in verdict["leftovers"]:
            if "systemctl restart libvirtd" in one:  # `libvirt on HOST waits ...`
                scene.restart_daemon(one.split()[2])
                continue
            where, remedy = one.split(": virsh ")  # `WHAT on HOST: virsh VERB VM there`
            verb, name, _there = remedy.split()
            scene.lab.virsh(where.split()[-1], verb, name)
        (home,) = scene.states()
        scene.lab.virsh(home, "start", scene.vm)
    elif ended.endswith("running") and scene.restarted:
        reset_if_dead(scene, verdict["owner"])
    elif ended.endswith("paused"):
        scene.lab.virsh(verdict["owner"], "resume", scene.vm)
    elif ended.endswith("shut off"):
        if has_disk(scene):
            path = f"/var/lib/libvirt/images/{scene.vm}.qcow2"
            in_host(scene.lab, verdict["owner"], "qemu-img", "check", path)
        scene.lab.virsh(verdict["owner"], "start", scene.vm)


def reset_if_dead(scene: Scene, owner: str) -> None:
    """A guest that was told to end and switched itself off in the instant of the handover arrives
    as it is: QEMU's word of it is lost with the source's process, so it is called running."""
    with suppress(pytest.fail.Exception):
        eventually(lambda: scene.guest() is not None, f"{scene.vm} answers", DEAD_S)
        return
    scene.mark("its guest has ended unheard: it is reset")
    scene.lab.virsh(owner, "reset", scene.vm)


async def assert_moves_again(scene: Scene) -> None:
    """The next migration of it works."""
    (home,) = scene.states()
    target = next(host for host in HOSTS if host != home)
    words = (scene.vm, "--to", target, *scene.words)
    events, code = await asyncio.to_thread(scene.ferry.migrate, *words)
    assert (code, events[-1].get("outcome")) == (0, "moved"), events[-1]
    assert set(scene.states()) == {target}
    assert_whole(scene)
