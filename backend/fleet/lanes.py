"""The two libvirt connections of one host, each made anew when a call on it got stuck.

A QEMU that hangs never answers its libvirt, which keeps whoever asked for it waiting: then the
lane is given up. That is one VM's trouble. The host is lost only when libvirt says that a
connection has ended, or where no new one can be made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from backend.errors import FerryError, HostUnreachable
from backend.hypervisor.connection import Connection, Lane

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_LIMIT_S = 8.0
RENEW_LIMIT_S = 3.0
"""A new connection to a libvirt that was heard seconds ago."""


class Use(StrEnum):
    """What a lane is for."""

    CONTROL = "control"
    """What operators and migrations ask."""
    STATISTICS = "statistics"
    """What the tables show, each second."""


class Lanes:
    """Of one host; `open` each, `close` both."""

    def __init__(self, host: str, greet: Callable[[Lane], Awaitable[None]]) -> None:
        """`greet(lane)`: what each new control lane is told, as which events are wanted."""
        self._host = host
        self._greet = greet
        self._uri = ""
        self._lanes: dict[Use, Lane] = {}
        self._renewals: dict[Use, asyncio.Task[None]] = {}
        self._lost: asyncio.Future[str] | None = None

    def begin(self) -> None:
        """Before the first is opened, each time."""
        self._lost = asyncio.get_running_loop().create_future()

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done with the reason once the host is lost."""
        assert self._lost is not None
        return self._lost

    @property
    def usable(self) -> bool:
        """Controls can be carried, or soon can again."""
        lane = self._lanes.get(Use.CONTROL)
        return lane is not None and (lane.alive or self._renewing(Use.CONTROL))

    @property
    def known(self) -> bool:
        """It has been reached, and not been let go of."""
        return Use.CONTROL in self._lanes

    async def open(self, use: Use, uri: str) -> None:
        """Raises FerryError."""
        self._uri = uri
        await self._open(use, CONNECT_LIMIT_S)

    async def call(
        self, use: Use, function: Callable[[Connection], T], timeout_s: float, what: str
    ) -> T:
        """As `Lane.call`, on a new connection if the one before was given up."""
        await self.renewed(use)
        lane = self._lanes.get(use)
        if lane is None:
            raise HostUnreachable(f"{self._host} is not connected now.")
        return await lane.call(function, timeout_s, what)

    async def renewed(self, use: Use) -> bool:
        """Wait for a connection that is being made; whether there is one now."""
        renewal = self._renewals.get(use)
        if renewal is not None:
            await asyncio.wait({renewal})
        lane = self._lanes.get(use)
        return lane is not None and lane.alive

    async def another(self, purpose: str) -> Lane:
        """A connection of its own, for a long call; the caller closes it. Raises FerryError."""
        lane = Lane(self._host, purpose, self._uri)
        await lane.open(CONNECT_LIMIT_S)
        return lane

    async def close(self) -> None:
        """Let go of both."""
        renewals, self._renewals = [*self._renewals.values()], {}
        for one in renewals:
            one.cancel()
        await asyncio.gather(*renewals, return_exceptions=True)
        lanes, self._lanes = [*self._lanes.values()], {}
        await asyncio.gather(*(lane.close() for lane in lanes), return_exceptions=True)

    def lose(self, reason: str) -> None:
        """The host is lost, as whoever carries the connections has seen."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(f"The connection was lost: {reason}.")

    # -- inside --------------------------------------------------------------------------------

    def _renewing(self, use: Use) -> bool:
        return use in self._renewals and not self._renewals[use].done()

    async def _open(self, use: Use, limit_s: float) -> None:
        lane = Lane(self._host, use, self._uri)
        await lane.open(limit_s)
        lane.on_closed = lambda reason: self._on_closed(use, lane, reason)
        self._lanes[use] = lane
        if use is Use.CONTROL:
            await self._greet(lane)

    def _on_closed(self, use: Use, lane: Lane, reason: str) -> None:
        if self._lanes.get(use) is not lane:
            return
        if lane.given_up:
            log.info("%s: a call on its %s lane got stuck: a new one", self._host, use)
            self._renewals[use] = asyncio.create_task(self._renew(use), name=f"renew-{self._host}")
        else:
            self.lose(reason)

    async def _renew(self, use: Use) -> None:
        try:
            async with asyncio.timeout(RENEW_LIMIT_S):
                await self._open(use, RENEW_LIMIT_S)
        except (FerryError, TimeoutError) as error:
            log.info("%s: no new %s lane: %s", self._host, use, error)
            self.lose("it did not answer, and took no new one")
