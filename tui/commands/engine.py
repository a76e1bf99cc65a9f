"""`engine`: run the engine in the foreground, ask about it, end it."""

import argparse
import asyncio
import fcntl
import os
import signal
import sys
import time

from backend.service import paths
from backend.service.client import BadInput, EngineUnavailable, FerryError
from backend.service.protocol import EngineReply, GetEngine, StopEngine
from tui.commands.session import clean, connected, print_json
from tui.render.units import counted

STOP_LIMIT_S = 15.0


def engine(options: argparse.Namespace) -> int:
    """Run, ask, or end."""
    if options.foreground:
        os.execv(sys.executable, [sys.executable, "-m", "backend.service", "--foreground"])
    if options.action == "stop":
        return asyncio.run(_stop(options.force))
    return asyncio.run(_status(options.json))


async def _status(as_json: bool) -> int:
    async with connected(None, start=False) as link:
        reply = await link.call(GetEngine())
    assert isinstance(reply, EngineReply)
    if as_json:
        print_json(reply)
        return 0
    said = (
        f"engine {reply.version}, pid {reply.pid}, up {time.time() - reply.started:.0f} s,"
        f" {counted(reply.clients, 'client')},"
        f" {counted(reply.running_migrations, 'migration')} running,"
        f" fleets: {', '.join(reply.fleets) or 'none'}"
    )
    print(clean(said))
    return 0


async def _stop(force: bool) -> int:
    pid = _locked_by()
    if pid is None:
        print("No engine is running.")
        return 0
    if not await _asked(force):
        # It holds the lock, so the pid in it is the engine's.
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_S
    while _locked_by() == pid:
        if time.monotonic() > deadline:
            raise BadInput(
                f"The engine (pid {pid}) does not end.",
                f"Migrations go on in the hosts if you end it by hand: kill -9 {pid}",
            )
        await asyncio.sleep(0.05)
    print(f"The engine (pid {pid}) has ended. Running migrations go on in the hosts.")
    return 0


async def _asked(force: bool) -> bool:
    """Whether it was told to end; False for one of another version, or deaf. Raises FerryError
    where it understands and refuses."""
    greeted = False
    try:
        async with connected(None, start=False) as link:
            greeted = True
            await link.call(StopEngine(force=force))
    except FerryError as error:
        if greeted and not isinstance(error, EngineUnavailable):
            raise
        return False
    return True


def _locked_by() -> int | None:
    """The pid of the engine that holds the lock; None when nobody does."""
    try:
        lock = os.open(paths.lock_path(), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(lock, 20) or b"0") or None
    finally:
        os.close(lock)
    return None
