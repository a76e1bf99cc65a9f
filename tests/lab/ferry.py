"""Runs `virt-ferry` as an operator would: as a process, judged by its lines and exit code."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Event = dict[str, Any]
COMMAND = (sys.executable, "-m", "tui.command")
ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 180.0


class Ferry:
    """The command line on one fleet, with a state directory (so an engine) of its own."""

    def __init__(self, fleet: Path, state: Path) -> None:
        self.fleet = fleet
        self.state = state

    @property
    def environment(self) -> Mapping[str, str]:
        """What its processes see."""
        own = {"XDG_STATE_HOME": str(self.state), "VIRT_FERRY_FLEET": str(self.fleet)}
        return {**os.environ, **own}

    def run(self, *words: str, **replaced: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, *words],
            capture_output=True,
            text=True,
            env={**self.environment, **replaced},
            timeout=LIMIT_S,
            cwd=ROOT,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """Run a command with --json and read its one object."""
        return json.loads(self.run(*words, "--json").stdout)

    def migrate(self, *words: str) -> tuple[list[Event], int]:
        """Run `migrate ... --json` to its end: its lines and exit code."""
        done = self.run("migrate", *words, "--json")
        assert done.stdout, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()], done.returncode

    @asynccontextmanager
    async def migrating(self, *words: str) -> AsyncIterator["Running"]:
        """A `migrate ... --json` that runs meanwhile; killed at the end if it still does."""
        async with self.following("migrate", *words) as running:
            yield running

    @asynccontextmanager
    async def following(self, *words: str) -> AsyncIterator["Running"]:
        """Any command with --json that runs meanwhile; killed at the end if it still does."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *words,
            "--json",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self.environment),
            cwd=ROOT,
        )
        running = Running(process)
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def kill_engine(self) -> None:
        """As a crash would."""
        lock = self.state / "virt-ferry" / "engine.lock"
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)

    def stop(self) -> None:
        """End the engine."""
        self.run("engine", "stop", "--force")


class Running:
    """A migrate command that has not ended: its events as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[Event] = []

    async def until(self, **wanted: object) -> Event:
        """Read on until an event has these values (a callable judges its field)."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                event = await self._next()
                if all(_is(event.get(key), value) for key, value in wanted.items()):
                    return event

    async def verdict(self) -> Event:
        """Read to the end."""
        return await self.until(event="verdict")

    async def ended(self) -> int:
        """Read on until it ends by itself; its exit code."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(json.loads(line))
        return await self.process.wait()

    async def _next(self) -> Event:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = await self.process.stdout.readline()
        if not line:
            raise AssertionError((await self.process.stderr.read()).decode() or "it ended early")
        event: Event = json.loads(line)
        self.events.append(event)
        return event


def _is(value: object, wanted: object) -> bool:
    return bool(wanted(value)) if callable(wanted) else value == wanted
