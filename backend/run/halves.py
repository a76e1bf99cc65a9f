"""A call that never returns by itself.

Of a post-copy whose source has died libvirt's call (9.0) waits at the source for a target that
waits for the source's QEMU; and of a guest that shut down just as its disks began to be mirrored,
for a mirror that is no more. So while it runs and the source has nothing more to say, both ends
are asked whether there still is a VM at the source.
"""

import asyncio
import time
from collections.abc import Sequence

from backend.fleet.host import HostWatch
from backend.model import Sample
from backend.run.settle import ask
from backend.run.told import Told
from backend.run.verdict import lost_half, waits_in_vain

QUIET_S = 2.0
"""Without a sample for so long, and so long between two questions."""
ENDED_S = 10.0
"""The same before post-copy: a source whose VM has ended mostly says so by itself, sooner."""
SURE_COUNT = 2
"""The ends are asked at different instants: it is believed the second time."""


class Halves:
    """Of one migration, while its call runs."""

    def __init__(self, told: Told, source: HostWatch, target: HostWatch) -> None:
        self._told = told
        self._source = source
        self._target = target
        self._asked_s = 0.0
        self._count = 0

    async def apart(self, samples: Sequence[Sample]) -> bool:
        """One of them is gone for good; asked now and then. `samples`: all of this migration."""
        now_s = time.monotonic()
        quiet_s = now_s - self._told.zero - (samples[-1].t_s if samples else 0.0)
        post_copy = self._told.state.post_copy
        if min(quiet_s, now_s - self._asked_s) < (QUIET_S if post_copy else ENDED_S):
            return False
        self._asked_s = now_s
        uuid = self._told.state.uuid
        source, target = await asyncio.gather(ask(self._source, uuid), ask(self._target, uuid))
        gone = lost_half if post_copy else waits_in_vain
        sure = source is not None and target is not None and gone(source, target)
        self._count = self._count + 1 if sure else 0
        return self._count >= SURE_COUNT


def never_returned(source: str) -> str:
    """What is said of its call."""
    return (
        f"Its call on {source} would not have returned. If libvirt there refuses changes of the VM:"
        " systemctl restart libvirtd there; its VMs go on."
    )
