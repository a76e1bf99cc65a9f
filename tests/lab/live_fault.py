"""An engine of its own that begins one live migration and dies at one step; run as a process.

python -m tests.lab.live_fault FLEET STATE VM TARGET STEP
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from backend.fleet.config import load
from backend.hypervisor import migrate
from backend.model import MoveOptions
from backend.run.contest import Contest
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


def contested(vm: str, source_uri: str, target_uri: str) -> None:
    """Somebody is quicker."""

    async def quicker(contest: Contest) -> None:
        words = ("migrate", "--live", "--p2p", "--tls", "--persistent", "--undefinesource")
        await asyncio.create_subprocess_exec(
            "virsh", "-q", "-c", source_uri, *words, vm, target_uri, start_new_session=True
        )
        async with asyncio.timeout(30):
            while not await contest._moves():  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    setattr(Contest, "must_be_free", quicker)  # noqa: B010 - mypy sees a method


async def main(fleet: str, state: str, vm: str, target: str, step: str, *uris: str) -> None:
    if uris:
        contested(vm, *uris)
    else:
        setattr(*BEFORE[step], _die)
    news = News()
    kept = Path(state) / "virt-ferry"
    engine = Engine(
        load(Path(fleet)),
        news,
        lambda: None,
        time.time,
        open_moves=kept / "open",
        journal=kept / "journal.db",
    )
    engine.begin()
    plans, started = await engine.start((vm,), target, MoveOptions())
    assert started, [f.sentence for plan in plans for f in plan.findings if f.severity == "block"]
    async with asyncio.timeout(VERDICT_LIMIT_S):
        verdict = await news.verdict
    said = ("outcome", "owner", "reason", "leftovers")
    print(json.dumps({key: getattr(verdict, key) for key in said}), flush=True)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:8]))
