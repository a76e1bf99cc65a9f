"""Plays one cell of the table: reach the phase, let the fault happen, let go, and look."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.lab.conftest import Lab
from tests.lab.faults import checks
from tests.lab.faults.faults import Fault
from tests.lab.faults.phases import Held, let_go
from tests.lab.faults.scene import Scene
from tests.lab.ferry import Event, Ferry
from tests.lab.places import HOSTS


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a fault."""

    verdict: Event
    ended: str
    """The outcome and what became of the VM, as the table has it."""
    seconds: float


@contextmanager
def scene_of(lab: Lab, ferry: Ferry, vm: str, words: tuple[str, ...]) -> Iterator[Scene]:
    """Quick links, and a VM that writes; whatever is left afterwards is mended."""
    scene = Scene(lab, ferry, vm, "", "", words)
    try:
        (scene.source,) = scene.states()
        scene.target = next(host for host in HOSTS if host != scene.source)
        checks.set_up_guest(scene)
        scene.begin_engine()
        scene.mark("its engine and its guest are ready")
        yield scene
    finally:
        scene.mark("mending")
        let_go(scene)
        scene.close()
        if not checks.all_stands(scene):
            scene.let_go_of_halves()
            lab.up()
        scene.set_writer(0)
        scene.mark("all stands")


async def play(scene: Scene, what: Fault, hold: Held, phase: str) -> Played:
    """The fault in that phase, to the verdict and what all hosts hold then."""
    began_s = time.monotonic()
    if what.set_up is not None:
        await asyncio.to_thread(what.set_up, scene)
    await asyncio.to_thread(hold.set_up, scene)
    async with scene.ferry.migrating(scene.vm, "--to", scene.target, *hold.words) as running:
        scene.running = running
        await hold.meet(scene)
        scene.mark(f"{phase} is met")
        await what.happen(scene, phase)
        scene.mark("it has happened")
        await asyncio.to_thread(let_go, scene)
        if what.mend is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(running.ended(), what.lasts_s)
            await what.mend(scene)
            scene.mark("it is mended")
        verdict = await scene.verdict()
        scene.mark("its verdict is known")
    tell(scene, verdict)
    ended = await asyncio.to_thread(checks.ended_as, scene, verdict)
    return Played(verdict, ended, time.monotonic() - began_s)


def tell(scene: Scene, verdict: Event) -> None:
    """For who reads why a cell failed."""
    print(f"{scene.vm}: {scene.source} to {scene.target}")
    for one in scene.running.events:
        if one["event"] in ("decision", "phase"):
            print(one.get("t_s", ""), one.get("phase", one.get("action")), end=" ")
            print(one.get("state", one.get("reason")))
    print(verdict)


async def look(scene: Scene, played: Played) -> None:
    """Nothing is left, the guest is whole, and moves again."""
    verdict, ended = played.verdict, played.ended
    if not ended.startswith("lost"):
        await asyncio.to_thread(checks.assert_nothing_left, scene, verdict, ended)
    await asyncio.to_thread(scene.undo)
    await asyncio.to_thread(checks.set_right, scene, verdict, ended)
    await asyncio.to_thread(checks.assert_whole, scene)
    scene.mark("nothing is left, and it is whole")
    await checks.assert_moves_again(scene)
    scene.mark("it has moved again")
