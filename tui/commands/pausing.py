"""Ctrl-C while a run is followed: it is paused, and left only then."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from backend.service.client import FerryError
from tui.commands.session import clean, warn

EXIT_NEEDS_YOU = 3


async def until_left(
    following: Coroutine[Any, Any, int],
    pause: Callable[[], Awaitable[None]],
    quiet: Callable[[], bool],
    said: str,
) -> int:
    """The exit code of `following`, or 3 where it was left.

    Ctrl-C says `said` and awaits `pause`; one that is `quiet` then is left at once, any other by
    a second Ctrl-C.
    """
    left = asyncio.Event()
    pauses: set[asyncio.Task[None]] = set()

    async def pausing() -> None:
        try:
            await pause()
        except FerryError as error:
            warn(str(error))
        if quiet():
            left.set()

    def interrupted() -> None:
        if pauses:
            left.set()
            return
        print(clean(said), file=sys.stderr)
        pauses.add(asyncio.create_task(pausing()))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    reading = asyncio.create_task(following)
    leaving = asyncio.create_task(left.wait())
    try:
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else EXIT_NEEDS_YOU
    except FerryError as error:
        warn(str(error))
        return EXIT_NEEDS_YOU
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        for task in (reading, leaving, *pauses):
            task.cancel()
        await asyncio.gather(reading, leaving, *pauses, return_exceptions=True)
