"""A move of a run that is made ready while others still send over its link, and sends nothing
before they have left it: no pause is made longer by the first bytes of the next move, and no time
is lost to its beginning.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from backend.model import Outlook, Word
from backend.run.told import Told

PATIENCE_S = 600.0
"""After so long it goes all the same. Not sooner: one that writes much, and takes far longer than
was foreseen, keeps its link for itself; what has ended, however, is not waited for."""


class LinkWait:
    """Of one move: `left_to` by its run whenever another went on, `over` awaited by the move."""

    def __init__(self, ahead: Mapping[str, str]) -> None:
        """`ahead`: those that will have left its link soon, UUID -> name."""
        self._ahead = dict(ahead)
        self._free = asyncio.Event()

    @property
    def ahead(self) -> tuple[str, ...]:
        """UUIDs of those that it still waits for; empty once it may send."""
        return () if self._free.is_set() else tuple(self._ahead)

    def left_to(self, sending: Collection[str]) -> None:
        """`sending`: UUIDs of all that are still on their links."""
        if not any(uuid in sending for uuid in self._ahead):
            self._free.set()

    async def over(self, told: Told) -> None:
        """Returns when the link is free; the operator is told what for it waits."""
        if self._free.is_set():
            return
        names = ", ".join(self._ahead.values())
        told.update(outlook=Outlook(Word.STARTING, f"ready; sends once {names} has left its link"))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._free.wait()
        except TimeoutError:
            self._free.set()
            told.note("note", f"{names} has not left the link in {PATIENCE_S:g} s: it sends beside")


Waits = Callable[[], Awaitable[None]]
"""Returns when the first byte may be sent."""
