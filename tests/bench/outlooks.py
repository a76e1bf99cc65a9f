"""What the engine says of a running migration, read as a console does: beside the command."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.model import Migration
from backend.service.client import EngineClient, FerryError
from backend.service.protocol import FleetChoice, MigrationChanged, Watch

SECOND_PASS = 2


@dataclass(slots=True)
class AfterPass2:
    """The first outlook after pass 2 that gives a time; None: there was none."""

    t_s: float | None = None
    """When, since the migrate call."""
    left_s: float | None = None
    """Until the switchover."""
    pause_ms: float | None = None
    end_s: float | None = None
    """When the migrate call was then expected to return."""
    trouble: str = ""


@contextmanager
def followed(fleet: Path, vm_name: str) -> Iterator[AfterPass2]:
    """Watches the next migration of that VM meanwhile."""
    found = AfterPass2()
    ended = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_follow(fleet, vm_name, found, ended)), daemon=True
    )
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


async def _follow(fleet: Path, vm_name: str, found: AfterPass2, ended: threading.Event) -> None:
    waiting = asyncio.create_task(asyncio.to_thread(ended.wait))
    try:
        client = await EngineClient.connect(FleetChoice(path=str(fleet)))
    except (FerryError, OSError) as error:
        found.trouble = str(error)
        return
    reading = asyncio.create_task(_read(client, vm_name, found))
    await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
    reading.cancel()
    for result in await asyncio.gather(reading, return_exceptions=True):
        if isinstance(result, Exception):
            found.trouble = str(result)
    await client.close()


async def _read(client: EngineClient, vm_name: str, found: AfterPass2) -> None:
    await client.call(Watch(fleet=False, migrations=True))
    async for change in client.changes():
        if isinstance(change, MigrationChanged) and change.migration.vm == vm_name:
            _take(change.migration, found)


def _take(migration: Migration, found: AfterPass2) -> None:
    sample, outlook = migration.sample, migration.outlook
    if found.t_s is not None or not migration.running or sample is None or outlook is None:
        return
    if sample.pass_number > SECOND_PASS and outlook.left_s is not None:
        found.t_s = sample.t_s
        found.left_s = outlook.left_s.mid
        found.end_s = outlook.total_s.mid if outlook.total_s else None
        found.pause_ms = outlook.pause_ms.mid if outlook.pause_ms else None
