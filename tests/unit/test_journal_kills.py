"""A writer that is killed at random points never loses a verdict that it was told is kept."""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.model import PastFilter
from backend.run.journal import Journal
from tests.unit.test_journal import NOW, ended, sample, state

HERE = Path(__file__).parent
SAMPLES = 20
MOST_TOLD = 40
"""Verdicts of one life, before the moment of its end is chosen."""
LATEST_S = 0.03
"""After the last of these: a whole round of a writer takes a few ms."""
MANY = 120

WRITER = f"""
import asyncio, sys
from pathlib import Path
sys.path[:0] = [{str(HERE.parents[1])!r}]
from backend.run.journal import Journal
from tests.unit.test_journal import NOW, ended, sample, state

async def main():
    journal = Journal(Path(sys.argv[1]), lambda: NOW, "lab")
    for n in range(10_000):
        one = f"{{sys.argv[2]}}-{{n}}"
        journal.migration(state(one))
        for k in range({SAMPLES}):
            journal.sample(one, sample(k / 5))
        await asyncio.sleep(0)
        journal.migration(ended(one))
        if await journal.written():
            print(one, flush=True)

asyncio.run(main())
"""
"""Tells each verdict once the journal says that it is kept."""


@dataclass
class Lives:
    """What writers have told, and how they ended."""

    path: Path
    chance: random.Random
    told: list[str] = field(default_factory=list)
    kills: int = 0
    amid: int = 0
    """Kills that left a migration begun and not ended, or something in the log still."""

    async def one(self) -> None:
        """A writer's life, to its kill."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, str(self.path), str(self.kills)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(self.chance.randrange(1, MOST_TOLD)):
            self.told.append((await process.stdout.readline()).decode().strip())
        await asyncio.sleep(self.chance.uniform(0, LATEST_S))
        process.send_signal(signal.SIGKILL)
        self.told += (await process.stdout.read()).decode().split()
        assert await process.wait() == -signal.SIGKILL
        self.kills += 1

    async def check(self) -> None:
        """As the next engine finds it: every verdict that was told, whole, with its chart."""
        journal = Journal(self.path, lambda: NOW, "lab")
        lines = await journal.past(PastFilter(limit=1_000_000))
        assert set(self.told) <= {line.id for line in lines}
        chart = tuple(sample(k / 5) for k in range(SAMPLES))
        for one in self.told[-MOST_TOLD:]:
            assert await journal.find(one) == (ended(one), chart)
        left = await journal.unended()
        assert all(found == state(found.id) for found, _ in left)
        self.amid += bool(left)
        assert journal.trouble == ""
        await journal.close()
        with sqlite3.connect(self.path) as conn:
            assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            conn.execute("UPDATE migrations SET open = 0")
        conn.close()


async def test_a_kill_at_any_instant_loses_no_verdict(tmp_path: Path) -> None:
    lives = Lives(tmp_path / "journal.db", random.Random())
    for _ in range(6):
        await lives.one()
    await lives.check()
    assert len(lives.told) >= lives.kills


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_many_kills_lose_no_verdict(tmp_path: Path) -> None:
    """`pytest -m long -s tests/unit/test_journal_kills.py`; VIRT_FERRY_SEED repeats one."""
    seed = int(os.environ.get("VIRT_FERRY_SEED") or random.SystemRandom().randrange(10**6))
    print(f"\nseed {seed}")
    lives, begun_s = Lives(tmp_path / "journal.db", random.Random(seed)), time.monotonic()
    for _ in range(MANY):
        await lives.one()
        await lives.check()
    print(
        f"{lives.kills} kills, {len(lives.told)} verdicts told, none lost; {lives.amid} kills came"
        f" between a migration's begin and its verdict; {time.monotonic() - begun_s:.0f} s"
    )
    assert lives.amid
