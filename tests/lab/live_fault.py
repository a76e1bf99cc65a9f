"""An engine of its own that begins one live migration and dies at one step; run as a process.

python -m tests.lab.live_fault FLEET STATE VM TARGET STEP
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from backend.fleet.config import load
from backend.hypervisor import migrate
from backend.model import MoveOptions
from backend.run.engine import Engine
from backend.run.migration import MigrationRun
from tests.lab.cold_fault import VERDICT_LIMIT_S, News

BEFORE: dict[str, tuple[Any, str]] = {
    "before the call": (MigrationRun, "_final_order"),
    "at the call": (migrate, "run"),
}
"""A step's name -> where the engine dies."""


def _die(*_args: object, **_named: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(fleet: str, state: str, vm: str, target: str, step: str) -> None:
    setattr(*BEFORE[step], _die)
    news = News()
    kept = Path(state) / "virt-ferry"
    engine = Engine(load(Path(fleet)), news, lambda: None, None, kept / "open", kept / "journal.db")
    engine.begin()
    plans, started = await engine.start((vm,), target, MoveOptions())
    assert started, [f.sentence for plan in plans for f in plan.findings if f.severity == "block"]
    async with asyncio.timeout(VERDICT_LIMIT_S):
        await news.verdict


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
