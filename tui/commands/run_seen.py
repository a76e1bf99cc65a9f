"""What the engine has published of moves and runs, and waiting for how they end."""

import asyncio
from collections.abc import AsyncIterator, Callable

from backend.model import Evacuation, EvacuationState, Migration
from backend.service.protocol import Change, EvacuationChanged, MigrationChanged

KEPT = 500
"""Ended migrations that are remembered: a start's reply may come after its end was told."""


class Seen:
    """Outlives the connection: the next engine goes on with the same ids."""

    def __init__(self, observe: Callable[[Change], None] = lambda _: None) -> None:
        """`observe` is told every change."""
        self._observe = observe
        self._migrations: dict[str, Migration] = {}
        self._runs: dict[str, Evacuation] = {}
        self._changed = asyncio.Condition()

    async def follow(self, changes: AsyncIterator[Change]) -> None:
        """Until the connection ends, which it raises."""
        async for change in changes:
            await self.take(change)

    async def take(self, change: Change) -> None:
        """One change."""
        self._observe(change)
        if isinstance(change, MigrationChanged):
            self._migrations.pop(change.migration.id, None)
            self._migrations[change.migration.id] = change.migration
            self._forget()
        elif isinstance(change, EvacuationChanged):
            self._runs[change.evacuation.id] = change.evacuation
        else:
            return
        async with self._changed:
            self._changed.notify_all()

    async def ended(self, begun: Migration) -> Migration:
        """That migration with its verdict; where it is tried again, the last attempt."""
        self._migrations.setdefault(begun.id, begun)
        async with self._changed:
            await self._changed.wait_for(lambda: self._over(begun.id))
        second = self._second(begun.id)
        return self._migrations[begun.id] if second is None else await self.ended(second)

    async def changes_of(self, begun: Evacuation) -> AsyncIterator[Evacuation]:
        """That run whenever it changed, until it has ended or waits for somebody."""
        self._runs.setdefault(begun.id, begun)
        told = begun
        yield told
        while told.state.open and told.state is not EvacuationState.INTERRUPTED:
            told = await self._after(told)
            yield told

    async def _after(self, told: Evacuation) -> Evacuation:
        async with self._changed:
            await self._changed.wait_for(lambda: self._runs[told.id] != told)
        return self._runs[told.id]

    @property
    def running(self) -> tuple[Migration, ...]:
        """Without a verdict."""
        return tuple(one for one in self._migrations.values() if one.running)

    def _over(self, id: str) -> bool:
        verdict = self._migrations[id].verdict
        return verdict is not None and (not verdict.again or self._second(id) is not None)

    def _second(self, id: str) -> Migration | None:
        """The attempt after that one."""
        return next((one for one in self._migrations.values() if one.after == id), None)

    def _forget(self) -> None:
        ended = [key for key, one in self._migrations.items() if not one.running]
        for key in ended[:-KEPT]:
            del self._migrations[key]
