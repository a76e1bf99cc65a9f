"""The engine as it is, but for two things a test decides: where it stands still, and what time its
clock shows. Run in place of `python -m backend.service`; it reads the directory `held` beside its
socket.

`held/prepare` and `held/verify` are points: while such a file is there, a migration stands still
at that point, and `held/prepare.met` tells that one does. `held/clock` is by how many seconds the
clock is wrong.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.model import Now
from backend.run.migration import MigrationRun
from backend.run.new_volumes import NewVolumes
from backend.service import __main__ as service
from backend.service import paths

FOLDER = "held"
LOOK_EVERY_S = 0.02
POINTS: dict[str, tuple[type, str]] = {
    "prepare": (NewVolumes, "create"),
    "verify": (MigrationRun, "_verify"),
}
"""A point's name -> the method before which it lies."""


def hold(point: str, folder: Path) -> None:
    """The method begins once nothing holds that point."""
    owner, name = POINTS[point]
    inner: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def held(self: object, *args: Any, **named: Any) -> Any:
        while (folder / point).exists():
            (folder / f"{point}.met").touch()
            await asyncio.sleep(LOOK_EVERY_S)
        return await inner(self, *args, **named)

    setattr(owner, name, held)


def wrong_clock(folder: Path) -> Now:
    """The machine's, and what a test says that it is wrong by."""

    def now() -> float:
        wrong_s = 0.0
        with suppress(OSError, ValueError):
            wrong_s = float((folder / "clock").read_text())
        return time.time() + wrong_s

    return now


def main() -> int:
    folder = paths.state_directory() / FOLDER
    folder.mkdir(exist_ok=True)
    for point in POINTS:
        hold(point, folder)
    return service.main(wrong_clock(folder))


if __name__ == "__main__":
    sys.exit(main())
