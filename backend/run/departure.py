"""Waiting for the moment to begin: a pause that is to fall at a set time, a link to be left."""

import asyncio
import time

from backend.model import Outlook, Word
from backend.run.link_wait import LinkWait
from backend.run.told import Told

UNKNOWN_TAKES_S = 60.0
"""Taken for a migration whose time is not known."""


class Departure:
    """Waits until the forecast says that the pause will fall at the time that was set; then, with
    all ready, until those before it have left its link."""

    def __init__(self, told: Told, link: LinkWait | None = None) -> None:
        self._told = told
        self._link = link
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Stop waiting: an abort was asked for."""
        self._woken.set()

    async def wait(self) -> bool:
        """True when it is time, False when it was aborted meanwhile."""
        state = self._told.state
        if state.at is None:
            return not state.abort_asked
        starts = state.at - self._takes_s()
        now_s = self._told.now()
        if starts > now_s:
            starting, pausing = _clock(starts, now_s), _clock(state.at, now_s)
            reason = f"starts at {starting}, so that the pause falls at {pausing}"
            self._told.update(outlook=Outlook(Word.STARTING, reason))
            self._told.note("note", reason)
        while (left_s := starts - self._told.now()) > 0 and not self._woken.is_set():
            try:
                async with asyncio.timeout(min(left_s, 30.0)):
                    await self._woken.wait()
            except TimeoutError:
                continue
        return not self._told.state.abort_asked

    async def link_free(self) -> bool:
        """True when it may send, False when it was aborted meanwhile."""
        if self._link is not None and not self._woken.is_set():
            over = asyncio.create_task(self._link.over(self._told))
            woken = asyncio.create_task(self._woken.wait())
            try:
                await asyncio.wait({over, woken}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                over.cancel()
                woken.cancel()
        return not self._told.state.abort_asked

    def _takes_s(self) -> float:
        """Until the pause; one that is held there can be early."""
        forecast = self._told.state.forecast
        if forecast is None or forecast.total_s is None:
            return UNKNOWN_TAKES_S
        return forecast.total_s.high if self._told.state.hold else forecast.total_s.mid


def _clock(at: float, now_s: float) -> str:
    far = abs(at - now_s) > 86_400 / 2
    return time.strftime("%Y-%m-%d %H:%M:%S" if far else "%H:%M:%S", time.localtime(at))
