"""A post-copy whose source has died: its call never returns by itself.

libvirt's call (9.0) waits at the source for a target that waits for the source's QEMU. So while
it runs and the source has nothing more to say, both ends are asked whether there still is one.
"""

import asyncio
import time
from collections.abc import Sequence

from backend.fleet.host import HostWatch
from backend.model import Sample
from backend.run.settle import ask
from backend.run.told import Told
from backend.run.verdict import lost_half

QUIET_S = 2.0
"""Without a sample for so long, and so long between two questions."""
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
        if not self._told.state.post_copy or min(quiet_s, now_s - self._asked_s) < QUIET_S:
            return False
        self._asked_s = now_s
        uuid = self._told.state.uuid
        source, target = await asyncio.gather(ask(self._source, uuid), ask(self._target, uuid))
        gone = source is not None and target is not None and lost_half(source, target)
        self._count = self._count + 1 if gone else 0
        return self._count >= SURE_COUNT
