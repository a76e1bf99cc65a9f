"""Writes the file of this version that later ones must bring forward:

    .venv/bin/python -m tests.unit.write_journal

makes tests/unit/journals/version-N.sql, once, when N has become the schema's version.
"""

import asyncio
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

from backend.model import (
    Evacuation,
    EvacuationState,
    EvacuationWish,
    Migration,
    Mode,
    Phase,
    Roll,
    RollState,
    RollWish,
    Sample,
)
from backend.run import journal_file
from backend.run.journal import Journal
from backend.run.journal_runs import Away, RunRows
from backend.service.protocol import MigrationChanged, SampleArrived
from tests.console.recorded import load

HERE = Path(__file__).parent
AT = 1_790_000_000.0
EVERY = 12
"""Of the recorded samples."""


def recorded(name: str) -> tuple[list[Migration], list[Sample]]:
    """A real migration: its states and its samples."""
    changes = [entry.change for entry in load(name)]
    states = [one.migration for one in changes if isinstance(one, MigrationChanged)]
    return states, [one.sample for one in changes if isinstance(one, SampleArrived)]


def named(state: Migration, id: str) -> Migration:
    """The same under another id."""
    return replace(state, id=id, verdict=state.verdict and replace(state.verdict, id=id))


async def fill(path: Path) -> None:
    """One that moved, one that stayed, one that goes on; a run, a VM away, a roll."""
    journal = Journal(path, lambda: AT, "rack 7")
    moved, chart = recorded("db")
    stayed, open_chart = recorded("cache-abort")
    on_its_way = [one for one in stayed if one.verdict is None and one.phase is Phase.MEMORY]
    for id, state, samples in (
        ("a1a1a1", moved[-1], chart),
        ("b2b2b2", stayed[-1], []),
        ("c3c3c3", on_its_way[-1], open_chart),
    ):
        for sample in samples[::EVERY]:
            journal.sample(id, sample)
        journal.migration(named(state, id))
    rows = RunRows(journal)
    wish = EvacuationWish("kvm-a")
    assert await rows.keep(Evacuation("d4d4d4", wish, EvacuationState.RUNNING, started=AT))
    away = Away("u-9", "web-9", "kvm-a", AT + 100, "kvm-b", Mode.LIVE, "d4d4d4")
    assert await rows.went(away)
    assert await rows.set_maintenance("kvm-a", AT)
    roll = Roll("e5e5e5", RollWish(("kvm-a", "kvm-b")), RollState.RUNNING, started=AT)
    assert await rows.keep_roll(roll)
    await journal.close()


def main() -> None:
    """Write it, unless it is there."""
    out = HERE / "journals" / f"version-{journal_file.VERSION}.sql"
    if out.exists():
        raise SystemExit(f"{out} is there: what that version wrote stays as it is.")
    with tempfile.TemporaryDirectory() as base:
        path = Path(base) / "journal.db"
        asyncio.run(fill(path))
        with sqlite3.connect(path) as conn:
            lines = [f"PRAGMA user_version = {journal_file.VERSION};", *conn.iterdump()]
        conn.close()
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
