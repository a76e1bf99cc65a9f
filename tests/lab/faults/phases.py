"""How a migration is brought into each phase, and kept there until it is let go: nothing is timed.

Where a link is so slow that the phase would last for minutes, letting go is a fast link.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from backend.lab.control import LinkWish, change_link
from tests.lab.faults.scene import Scene
from tests.lab.places import HOSTS

SLOW_BITS_S, FAST_BITS_S = 16_000_000, 1_000_000_000
MEMORY_VM, DISK_VM = "idle-1", "files-1"
SENT_BYTES = 1_000_000
FETCHED_BYTES, POST_COPY_BITS_S = 20_000_000, 40_000_000
"""A target that has fetched less may end with its stream, and with a slower link it is mute."""
LONG_PAUSE_MS = 120_000
"""With it a slow link is the switchover's: all that is left is sent while the VM stands still."""


@dataclass(frozen=True, slots=True)
class Held:
    """A phase: the VM for it, more words of the command, what is done before, and how it is met."""

    meet: Callable[[Scene], Awaitable[None]]
    vm: str = MEMORY_VM
    words: tuple[str, ...] = ()
    point: str | None = None
    """Where the engine stands still; None: the link holds it."""
    slow_bits_s: int = SLOW_BITS_S

    def set_up(self, scene: Scene) -> None:
        """Before the command."""
        if self.point is not None:
            scene.hold(self.point)
        else:
            set_links(scene, self.slow_bits_s)


def let_go(scene: Scene) -> None:
    """It may go on, and quickly."""
    scene.release()
    set_links(scene, FAST_BITS_S)


def set_links(scene: Scene, bits_s: int) -> None:
    """Of all hosts; a cut stays one."""
    wish = LinkWish(in_bits_s=bits_s, out_bits_s=bits_s)
    for host in HOSTS:
        change_link(scene.lab.name, host, wish)


async def has_begun(scene: Scene) -> None:
    """Its first event tells its id."""
    await scene.running.until(event="phase", phase="prepare", state="active")


async def in_prepare(scene: Scene) -> None:
    await has_begun(scene)
    await scene.stands_at("prepare")


async def in_disk(scene: Scene) -> None:
    await scene.running.until(event="disk", done_bytes=lambda done: done > SENT_BYTES)


async def in_memory(scene: Scene) -> None:
    await scene.running.until(event="sample", sent_bytes=lambda sent: sent > SENT_BYTES)


async def in_switchover(scene: Scene) -> None:
    await in_memory(scene)
    await asyncio.to_thread(scene.ferry.run, "steer", scene.vm, "--pause-ms", str(LONG_PAUSE_MS))
    await scene.running.until(event="phase", phase="switchover", state="active")


async def in_post_copy(scene: Scene) -> None:
    """Until it runs at the target: a stream that breaks before leaves nothing to go on with."""
    await in_memory(scene)
    await asyncio.to_thread(scene.ferry.run, "steer", scene.vm, "post-copy")
    asked = await scene.running.until(event="sample", post_copy_requests=lambda asked: asked > 0)
    fetched = asked["sent_bytes"] + FETCHED_BYTES
    await scene.running.until(event="sample", sent_bytes=lambda sent: sent > fetched)


async def in_verify(scene: Scene) -> None:
    await has_begun(scene)
    await scene.stands_at("verify")


HOLDS = {
    "prepare": Held(in_prepare, point="prepare"),
    "disk": Held(in_disk, vm=DISK_VM, words=("--remove-source",)),
    "memory": Held(in_memory),
    "switchover": Held(in_switchover),
    "post-copy": Held(
        in_post_copy, words=("--policy", "must-finish"), slow_bits_s=POST_COPY_BITS_S
    ),
    "verify": Held(in_verify, point="verify"),
}
