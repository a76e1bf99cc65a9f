"""A step that is not left half-way: who is cancelled in it knows what came of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T], done: Callable[[], None] = lambda: None) -> T:
    """Not cancelled half-way: who cancels it waits until it is known what came of it; `done` is
    called where it came to its end then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            done()
        raise
