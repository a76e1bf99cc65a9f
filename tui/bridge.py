"""The engine's published changes, brought to the screens at a pace a bad link can carry.

A task of its own folds every change into the `Store` as it comes; screens are told only on the
app's heartbeat (`StoreMoved`), so a hundred changes a second still draw once; only what brings
rows or takes them away (a host that answers, the first fleet) is drawn at once. When the engine
goes, the bridge says so in the store, keeps what was known, and connects again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from textual.message import Message

from backend.service.client import EngineUnavailable, FerryError
from backend.service.protocol import (
    Change,
    GetMigration,
    ListMigrations,
    MigrationChanged,
    MigrationReply,
    MigrationsReply,
    Reply,
    Request,
    Watch,
)
from tui.store import Link, Store

LONGEST_RETRY_S = 15.0


class EngineLink(Protocol):
    """A connection to the engine; `backend.service.client.EngineClient` is one."""

    async def call(self, request: Request) -> Reply:
        """Ask; a failure is raised as FerryError."""

    def changes(self) -> AsyncIterator[Change]:
        """What is published after a `Watch`; ends or raises when the engine is gone."""

    async def close(self) -> None:
        """Hang up."""


Connect = Callable[[], Awaitable[EngineLink]]


@dataclass
class StoreMoved(Message, bubble=False):
    """Something is known that was not; a newer one takes an older one's place in the queue."""

    version: int
    at_once: bool = False
    """To be drawn whatever the pace: rows came or went."""

    def can_replace(self, message: Message) -> bool:
        """By the next one in the queue: only the newest matters, but none loses its haste."""
        return isinstance(message, StoreMoved) and (message.at_once or not self.at_once)


class Bridge:
    """The link to the engine, and the task that listens to it."""

    def __init__(
        self,
        connect: Connect,
        store: Store,
        clock: Callable[[], float],
        noticed: Callable[[], None],
    ) -> None:
        self._connect, self._store, self._clock = connect, store, clock
        self._noticed = noticed
        self._link: EngineLink | None = None
        self._retry = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Connect, listen, and again, until cancelled."""
        wait_s = 1.0
        while True:
            try:
                self._link = await self._connect()
                wait_s = 1.0
                await self._listen(self._link)
                raise EngineUnavailable("The engine is gone.", "It is started again.")
            except FerryError as error:
                await self._gone(error, wait_s)
            except OSError as error:
                reason = f"The engine cannot be reached: {error}."
                await self._gone(EngineUnavailable(reason), wait_s)
            await self._wait(wait_s)
            wait_s = min(wait_s * 2, LONGEST_RETRY_S)

    def retry_now(self) -> None:
        """Do not wait for the next try."""
        self._retry.set()

    async def _wait(self, seconds: float) -> None:
        self._retry.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._retry.wait(), seconds)

    async def call(self, request: Request) -> Reply:
        """Ask the engine; FerryError when it refuses or is not there."""
        if self._link is None:
            raise EngineUnavailable(self._store.link.sentence or "The engine is not there yet.")
        return await self._link.call(request)

    async def close(self) -> None:
        """Hang up; migrations go on."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _listen(self, link: EngineLink) -> None:
        await link.call(Watch(samples_of=("*",)))
        self._store.set_link(Link(up=True))
        await self._catch_up(link)
        async for change in link.changes():
            rows = self._store.rows_known
            known = set(self._store.tracks)
            self._store.take(change)
            if isinstance(change, MigrationChanged) and change.migration.id not in known:
                self._fetch_soon(link, change.migration.id)
            if rows != self._store.rows_known:
                self._noticed()

    async def _catch_up(self, link: EngineLink) -> None:
        """Migrations that began before this console, each with its whole chart."""
        reply = await link.call(ListMigrations())
        if isinstance(reply, MigrationsReply):
            self._store.forget_running_but({m.id for m in reply.migrations})
            for migration in reply.migrations:
                self._store.renew(migration)
            self._soon(self._fetch_all(link, [m.id for m in reversed(reply.migrations)]))

    async def _fetch_all(self, link: EngineLink, ids: list[str]) -> None:
        """Newest first, one after the other: charts are large and the link may be thin."""
        for id in ids:
            await self._fetch(link, id)

    def _fetch_soon(self, link: EngineLink, id: str) -> None:
        self._soon(self._fetch(link, id))

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _fetch(self, link: EngineLink, id: str) -> None:
        try:
            reply = await link.call(GetMigration(id))
        except FerryError:
            return
        if isinstance(reply, MigrationReply):
            self._store.history(id, reply.samples)

    async def _gone(self, error: FerryError, wait_s: float) -> None:
        link, self._link = self._link, None
        retry_at = self._clock() + wait_s
        self._store.set_link(Link(False, error.sentence, error.remedy, retry_at))
        self._noticed()
        if link is not None:
            await link.close()
