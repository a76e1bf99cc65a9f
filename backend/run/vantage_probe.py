"""One probe from one vantage: it runs until it is closed, and keeps what it saw."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from backend.errors import FerryError
from backend.remote.pinger import Probed, Probing
from backend.run.gap_meter import GapMeter
from backend.run.vantage import Place, Vantage

log = logging.getLogger(__name__)

Pinger = Callable[[Place, str, bool], AsyncIterator[Probing | Probed]]
"""Place, address, by TCP -> what was seen, until closed."""


class VantageProbe:
    """`news` is set whenever an answer came or it ended; `ended` says why it did."""

    def __init__(
        self, vantage: Vantage, address: str, tcp: bool, pinger: Pinger, news: asyncio.Event
    ) -> None:
        self.vantage = vantage
        self.tcp = tcp
        self.how = Probing("tcp" if tcp else "icmp", 20)
        self.meter = GapMeter(self.how.interval_ms)
        self.ended = ""
        self._news = news
        self._counting = False
        self._task = asyncio.create_task(
            self._run(pinger, address), name=f"probe-{address}-{vantage.name}"
        )

    @property
    def answered(self) -> bool:
        """At least once."""
        return self.meter.first_answer_s is not None

    def broke(self, stall_s: float) -> str:
        """Why nothing came for `stall_s` seconds, not even that there was no answer; or empty."""
        line_s = self.meter.last_line_s
        if self.ended or line_s is None or time.monotonic() - line_s <= stall_s:
            return self.ended
        return "its connection stalled"

    @property
    def words(self) -> str:
        """`every 20 ms by ping, seen from kvm-c, which ...`."""
        by = "ping" if self.how.kind == "icmp" else "TCP connects"
        return f"probed every {self.how.interval_ms} ms by {by}, {self.vantage.meaning}"

    def open_window(self) -> None:
        """What is seen from now on counts."""
        self._counting = True
        self.meter.open_window()

    def stop(self) -> asyncio.Task[None]:
        """Have it end, here and there; the task to wait for."""
        self._task.cancel()
        return self._task

    async def _run(self, pinger: Pinger, address: str) -> None:
        try:
            async with aclosing(pinger(self.vantage.place, address, self.tcp)) as stream:  # type: ignore[type-var]
                async for seen in stream:
                    self._take(seen)
            self.ended = self.ended or "it ended early"
        except FerryError as error:
            self.ended = error.sentence
        except Exception as error:
            log.exception("probing %s from %s", address, self.vantage.name)
            self.ended = f"a fault of our own: {error!r}"
        self._news.set()

    def _take(self, seen: Probing | Probed) -> None:
        if isinstance(seen, Probing):
            self.how, self.meter = seen, GapMeter(seen.interval_ms)
            if self._counting:
                self.meter.open_window()
            if seen.kind == "none":
                self.ended = "that host has nothing to probe with (ping, python3 or bash)"
            return
        self.meter.feed(seen.at_s, seen.number, seen.answered, time.monotonic())
        if seen.answered:
            self._news.set()


async def close_all(probes: list[VantageProbe]) -> None:
    """End them all, and wait for that; they end even if the waiting is cancelled."""
    ending = [probe.stop() for probe in probes]
    if ending:
        await asyncio.wait(ending)
