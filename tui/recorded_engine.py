"""A recording in an engine's place: the console plays it on a machine that has none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from backend.model import Past, past_of
from backend.service.client import BadInput
from backend.service.protocol import (
    Change,
    Done,
    FleetChanged,
    GetMigration,
    ListMigrations,
    ListPast,
    MigrationReply,
    MigrationsReply,
    PastReply,
    Reply,
    Request,
    Watch,
)
from tui.replay import Recording


class RecordedEngine:
    """An `EngineLink` that knows some ended migrations, and no hosts."""

    def __init__(self, recordings: tuple[Recording, ...]) -> None:
        self._recordings = {one.migration.id: one for one in recordings}

    async def connect(self) -> Self:
        """For the app's constructor."""
        return self

    async def call(self, request: Request) -> Reply:
        """What can be told of a recording. Raises BadInput."""
        match request:
            case Watch():
                return Done()
            case ListMigrations():
                return MigrationsReply(())
            case ListPast():
                return PastReply(self._past())
            case GetMigration(id=id) if id in self._recordings:
                return MigrationReply(self._recordings[id].migration, self._recordings[id].samples)
        raise BadInput("This is a recording: there is no engine to ask.")

    def _past(self) -> tuple[Past, ...]:
        every = (past_of(one.migration) for one in self._recordings.values())
        return tuple(sorted((one for one in every if one), key=lambda one: one.started))

    async def changes(self) -> AsyncIterator[Change]:
        """An empty fleet, and nothing more."""
        yield FleetChanged(whole=True)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing to hang up."""
