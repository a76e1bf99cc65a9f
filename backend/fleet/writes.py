"""How much each running VM of a host writes, measured all the time, and at once when asked.

On a libvirt connection of its own: a calculation can wait half a minute behind a job that began
just before, and then holds up neither the tables nor the controls. What refuses is not measured.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from backend.errors import FerryError
from backend.fleet.readings import long_mean
from backend.fleet.write_turns import Measurable, Turns
from backend.hypervisor import dirty_rate
from backend.hypervisor.connection import Connection, Lane
from backend.hypervisor.dirty_rate import DirtyRate, Refusal, Status
from backend.model import Now, Reading

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S = 2.0
"""How soon a new VM is noticed."""
CALL_LIMIT_S = 5.0
_READ_AFTER_S = 0.1
"""QEMU needs a moment to compare the pages."""
_AGAIN_AFTER_S = 0.4
_GIVE_UP_S = 10.0
_AFTER_ERROR_S = 5.0
_LEAST_CHANGE = 0.1
"""Of a figure: less is not worth a client's attention."""

Seen = tuple[Mapping[str, Measurable], frozenset[str]]
"""Who may be measured now, and all UUIDs on the host."""


class WriteMeter:
    """One host's. `run` while the host is up; `close` after."""

    def __init__(
        self,
        host: str,
        see: Callable[[], Seen],
        open_lane: Callable[[str], Awaitable[Lane]],
        now: Now,
    ) -> None:
        self.figures: dict[str, tuple[float, float]] = {}
        """UUID -> bytes/s and epoch seconds: what the tables show. Changes only by more than the
        counting error, and anew after a job ran on the VM."""
        self._host = host
        self._see = see
        self._open_lane = open_lane
        self._now = now
        self._lane: Lane | None = None
        self._turns = Turns()
        self._wake = asyncio.Event()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._late_s: dict[str, float] = {}
        self._outdated: set[str] = set()

    def readings(self, uuid: str) -> tuple[Reading, ...]:
        """Of the last 90 s, oldest first."""
        return self._turns.readings(uuid, self._now())

    async def measured(
        self, uuid: str, min_period_s: int, within_s: float, limit_s: float
    ) -> tuple[Reading, ...]:
        """Its readings, once one over `min_period_s` (1-8) or longer is there that ended after this
        call, or in the `within_s` before it.

        Waits at most `limit_s` and gives what there is, at once if the VM cannot be measured now.
        Never raises.
        """
        newer_than_s = self._now() - within_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self._has(uuid, min_period_s, newer_than_s) and self._able(uuid):
                    self._turns.ask(uuid, min_period_s)
                    self._wake.set()
                    await self._news(uuid)
        return self.readings(uuid)

    async def run(self) -> None:
        """Measure, until cancelled."""
        while True:
            try:
                await self._round()
            except FerryError as error:
                log.info("%s: measuring writes: %s", self._host, error)
                await self._recover()
            except Exception:
                log.exception("measuring writes on %s", self._host)
                await self._recover()
            await self._sleep()

    async def close(self) -> None:
        """Let go of the connection."""
        lane, self._lane = self._lane, None
        if lane is not None:
            await lane.close()

    def _has(self, uuid: str, min_period_s: int, newer_than_s: float) -> bool:
        return any(
            one.period_s >= min_period_s and one.at > newer_than_s for one in self.readings(uuid)
        )

    def _able(self, uuid: str) -> bool:
        self._look()
        return self._turns.able(uuid)

    async def _news(self, uuid: str) -> None:
        """Until a round of it has ended, well or not."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(uuid, set())
        waiting.add(news)
        try:
            await news
        finally:
            waiting.discard(news)

    def _tell(self, uuid: str) -> None:
        for news in self._waiting.pop(uuid, set()):
            if not news.done():
                news.set_result(None)

    def _look(self) -> None:
        able, known = self._see()
        self._turns.see(able, known, time.monotonic())
        # What a job teaches is newer; what is measured after it is newer still.
        self._outdated = {uuid for uuid in self.figures if uuid not in able} | (
            self._outdated & known
        )
        for uuid in [uuid for uuid in self.figures if uuid not in known]:
            del self.figures[uuid]
        for uuid in [uuid for uuid in self._waiting if uuid not in able]:
            self._tell(uuid)

    async def _sleep(self) -> None:
        at_s = self._turns.next_s()
        wait_s = LOOK_EVERY_S if at_s is None else at_s + _READ_AFTER_S - time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(LOOK_EVERY_S, max(_READ_AFTER_S, wait_s))):
                await self._wake.wait()
        self._wake.clear()

    async def _round(self) -> None:
        """Read what has ended, then start what is due."""
        self._look()
        ended = self._turns.ended(time.monotonic())
        if ended:
            read = partial(dirty_rate.read, uuids=tuple(ended))
            self._take(ended, await self._call(read, "tell what VMs write"))
        due = self._turns.due(time.monotonic())
        if due:
            for uuid in due:
                self._turns.begun(uuid, time.monotonic())
            start = partial(dirty_rate.start, periods_s=due)
            for uuid, why in (await self._call(start, "measure what VMs write")).items():
                self._refused(uuid, never=why is Refusal.NEVER)

    async def _call(self, function: Callable[[Connection], T], what: str) -> T:
        if self._lane is None or not self._lane.alive:
            await self.close()
            self._lane = await self._open_lane("writes")
        return await self._lane.call(function, CALL_LIMIT_S, what)

    def _take(self, ended: Mapping[str, int], found: Mapping[str, DirtyRate]) -> None:
        now_s, at = time.monotonic(), self._now()
        for uuid, period_s in ended.items():
            rate = found.get(uuid)
            # Without a record: another call of libvirt's own held the VM for a moment.
            unread = rate is None or rate.status is Status.MEASURING
            if unread and self._patient(uuid):
                self._turns.wait(uuid, _AGAIN_AFTER_S)
                continue
            self._late_s.pop(uuid, None)
            if rate is None or rate.rate_bytes_s is None or rate.period_s != period_s:
                self._refused(uuid)
                continue
            if self._turns.measured(uuid, rate.rate_bytes_s, at, now_s):
                self._publish(uuid, at)
            self._tell(uuid)

    def _patient(self, uuid: str) -> bool:
        """A busy host takes longer; one that never ends is somebody else's, or broken."""
        self._late_s[uuid] = self._late_s.get(uuid, 0.0) + _AGAIN_AFTER_S
        return self._late_s[uuid] < _GIVE_UP_S

    def _refused(self, uuid: str, never: bool = False) -> None:
        self._turns.refused(uuid, time.monotonic(), never)
        self._tell(uuid)

    async def _recover(self) -> None:
        """Of what ran nothing is known any more; the connection is made anew if it must be."""
        for uuid in self._turns.running():
            self._refused(uuid)
        await asyncio.sleep(_AFTER_ERROR_S)

    def _publish(self, uuid: str, at: float) -> None:
        mean = long_mean(self.readings(uuid))
        if mean is None:
            return
        rate, error = mean
        shown = None if uuid in self._outdated else self.figures.get(uuid)
        if shown is None or abs(rate - shown[0]) > max(2 * error, _LEAST_CHANGE * shown[0]):
            self.figures[uuid] = (rate, at)
            self._outdated.discard(uuid)
