"""An engine of its own that moves one VM (cold, or its disk between pools) and meets a fault at one
step; run as a process, so that the fault may be its own death. Prints the verdict as one JSON line,
or dies.

    python -m tests.lab.cold_fault FLEET STATE VM TARGET STEP FAULT POOL [MODE]

TARGET `-`: its disk moves to that pool of its own host.

The step is held (its code does not go on) until the fault has happened: nothing is timed.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from backend.fleet.config import load
from backend.model import (
    Advising,
    Decision,
    DiskChoice,
    Evacuation,
    FleetSnapshot,
    Migration,
    Mode,
    MoveOptions,
    Roll,
    Sample,
    Verdict,
)
from backend.run.cold_disks import ColdDisks
from backend.run.cold_move import ColdRun
from backend.run.cold_state import SmallState
from backend.run.cold_target import ColdTarget
from backend.run.engine import Engine
from backend.run.idle_disks import IdleDisks
from backend.run.new_volumes import NewVolumes
from backend.run.shutdown import Shutdown
from backend.run.storage_end import StorageEnd
from backend.run.storage_move import StorageRun

VERDICT_LIMIT_S = 150.0

BEFORE: dict[str, tuple[type, str]] = {
    "create": (NewVolumes, "make"),
    "copy": (ColdDisks, "_copied"),
    "verify": (ColdDisks, "_verified"),
    "rename": (NewVolumes, "rename"),
    "carry": (SmallState, "carry"),
    "define": (ColdTarget, "define"),
    "hand-over": (ColdTarget, "hand_over"),
    "release": (ColdTarget, "release"),
    "repoint": (IdleDisks, "_define"),
    "follow": (StorageEnd, "_snapshots_follow"),
    "shut-down": (Shutdown, "down"),
    "start": (ColdRun, "_start_there"),
    "mirror": (StorageRun, "_start"),
    "switch": (StorageRun, "_pivot"),
    "judge": (StorageEnd, "_settled"),
}
"""A step's name -> the method before which the fault comes."""


class News:
    """Waits for a verdict."""

    def __init__(self) -> None:
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    def fleet(self, fleet: FleetSnapshot) -> None:
        """Nothing."""

    def migration(self, migration: Migration) -> None:
        """Its first verdict."""
        if migration.verdict is not None and not self.verdict.done():
            self.verdict.set_result(migration.verdict)

    def sample(self, migration_id: str, sample: Sample) -> None:
        """Nothing."""

    def decision(self, migration_id: str, decision: Decision) -> None:
        """Nothing."""

    def advising(self, advising: Advising) -> None:
        """Nothing is shown."""

    def evacuation(self, run: Evacuation) -> None:
        """Nothing."""

    def roll(self, roll: Roll) -> None:
        """Nothing."""

    def trouble(self, sentence: str) -> None:
        """Nothing."""

    async def kept(self) -> bool:
        """By the engine."""
        return True


def hold_before(step: str, fault: Callable[[], Awaitable[None]]) -> None:
    """The step begins once the fault has happened."""
    owner, name = BEFORE[step]
    inner = getattr(owner, name)
    met = False

    async def held(self: object, *args: Any, **named: Any) -> Any:
        nonlocal met
        if not met:
            met = True
            await fault()
        return await inner(self, *args, **named)

    setattr(owner, name, held)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(
    fleet: str,
    state: str,
    vm: str,
    target: str,
    step: str,
    fault: str,
    pool: str,
    wanted: str | None = None,
) -> None:
    news = News()
    engine = Engine(
        load(Path(fleet)), news, lambda: None, time.time, None, Path(state) / "virt-ferry" / "open"
    )
    engine.begin()

    async def happen() -> None:
        if fault == "kill":
            _die()
        elif fault == "abort":
            # From outside of the step, as an operator would: the step may be cancelled by it.
            aborting.append(asyncio.create_task(engine.abort(vm)))
            await asyncio.sleep(0)
        else:
            words = fault.split()
            await asyncio.to_thread(subprocess.run, words, check=True, capture_output=True)

    aborting: list[asyncio.Task[None]] = []
    hold_before(step, happen)
    own_host = target == "-"
    mode = Mode.STORAGE if own_host else Mode(wanted) if wanted else None
    options = MoveOptions(disks=(DiskChoice("vda", pool),), mode=mode)
    plans, started = await engine.start((vm,), None if own_host else target, options)
    if not started:
        blocking = [f.sentence for plan in plans for f in plan.findings if f.severity == "block"]
        print(json.dumps({"refused": blocking}))
        return
    async with asyncio.timeout(VERDICT_LIMIT_S):
        verdict = await news.verdict
    print(
        json.dumps(
            {
                "outcome": verdict.outcome,
                "owner": verdict.owner,
                "reason": verdict.reason,
                "leftovers": verdict.leftovers,
            }
        ),
        flush=True,
    )
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:9]))
