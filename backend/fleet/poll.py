"""Reading the VMs of one host, each second and after each event.

The bulk calls pass by a QEMU that somebody else waits for (NOWAIT); who meets one that has just
hung waits for it, and then looks again on a new connection. So it costs one look, not the host.
Where many hang (their storage is gone) the QEMUs are asked more and more seldom: libvirt has few
threads, and each that waits for one is lost to all.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from backend.errors import CallTimedOut, HypervisorError
from backend.fleet.guests import Guests
from backend.fleet.lanes import Lanes, Use
from backend.hypervisor import domains
from backend.hypervisor.connection import Connection

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_S = 1.0
POLL_GAP_S = 0.1
"""Between two polls at least, however many events come."""
POLL_LIMIT_S = 5.0
"""Statistics that take longer than this mean that somebody does not answer."""
LOOKS_AT_ONCE = 2
SELDOM_S, MOST_SELDOM_S = 5.0, 60.0
"""Between looks at the QEMUs, once several have hung; doubled each time."""
CONFIGS_AT_ONCE = 50
"""Each is two remote calls; the lane serves nobody else meanwhile."""


class Poll:
    """Of one host; what it reads goes to its `guests`."""

    def __init__(
        self,
        host: str,
        lanes: Lanes,
        guests: Guests,
        moving: Callable[[], Mapping[tuple[str, str], int]],
        seen: Callable[[bool], None],
    ) -> None:
        """`moving`: see `HostWatch`. `seen` is told after each look; True when an event had asked
        for it."""
        self.looks = 0
        """How often its VMs have been read, all in all."""
        self.wake = asyncio.Event()
        """Set by an event: the next look need not wait."""
        self._host = host
        self._lanes = lanes
        self._guests = guests
        self._moving = moving
        self._seen = seen
        self._next_s = 0.0
        self._seldom_s = SELDOM_S

    async def run(self) -> str:
        """Until the host does not answer in time."""
        while True:
            begun = time.monotonic()
            try:
                await self.look()
            except HypervisorError as error:
                # One VM's trouble is not the host's: it did answer.
                log.warning("%s: %s", self._host, error)
            await asyncio.sleep(POLL_GAP_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S - (time.monotonic() - begun)):
                    await self.wake.wait()

    async def look(self) -> None:
        """Once; once more where a QEMU held that up, then without any. Raises FerryError."""
        for _ in range(LOOKS_AT_ONCE if time.monotonic() >= self._next_s else 0):
            try:
                await self._look()
            except CallTimedOut:
                if not await self._lanes.renewed(Use.STATISTICS):
                    raise
            else:
                self._seldom_s = SELDOM_S
                return
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._seldom_s
            self._seldom_s = min(MOST_SELDOM_S, 2 * self._seldom_s)
        self._guests.take_states(await self._ask(domains.read_states, "say what its VMs do"))
        await self._seen_all()

    async def read_new_configs(self) -> None:
        """Definitions that are not known or may have changed. Raises FerryError."""
        wanted = self._guests.without_config()
        for at in range(0, len(wanted), CONFIGS_AT_ONCE):
            uuids = wanted[at : at + CONFIGS_AT_ONCE]
            read = partial(domains.read_configs, uuids=uuids)
            raw = await self._lanes.call(Use.CONTROL, read, 10.0, "list its VMs")
            self._guests.take_configs(raw)

    async def _look(self) -> None:
        now_s = time.monotonic()
        sizes = self._guests.sizes_due(now_s)
        read = partial(domains.read_statistics, blocks=sizes)
        raw = await self._ask(read, "give its statistics")
        self._guests.take_statistics(raw, time.monotonic())
        if sizes:
            self._guests.sizes_read_at_s = now_s
        await self._read_jobs()
        await self._seen_all()

    async def _seen_all(self) -> None:
        await self.read_new_configs()
        self.looks += 1
        self._seen(self.wake.is_set())
        self.wake.clear()

    async def _read_jobs(self) -> None:
        moving = self._moving()
        uuids = [u for u in self._guests.to_ask_for_jobs() if (u, self._host) not in moving]
        if not uuids:
            return
        asked: list[str] = []
        read = partial(domains.read_active_jobs, uuids=uuids, asked=asked)
        try:
            self._guests.take_jobs(await self._ask(read, "list its jobs"))
        except CallTimedOut:
            self._guests.unheard(asked[-1:])
            raise

    async def _ask(self, function: Callable[[Connection], T], what: str) -> T:
        return await self._lanes.call(Use.STATISTICS, function, self._limit_s(), what)

    def _limit_s(self) -> float:
        pauses = [ms for (_, source), ms in self._moving().items() if source == self._host]
        return POLL_LIMIT_S + max(pauses, default=0) / 1000
