"""The journal's file over the years: older versions, retention, and what operators do to it."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from backend.model import Evacuation, EvacuationState, EvacuationWish, Mode, PastFilter, Phase
from backend.run import journal as journal_module
from backend.run import journal_file
from backend.run.journal import Journal
from backend.run.journal_runs import Away, RunRows
from tests.unit.test_journal import BEGUN, NOW, Said, ended, sample, spoil, state

OLD = Path(__file__).parent / "journals"
"""Of each version a file that its own code has written from real migrations, as SQL: the schema's
next one needs `python -m tests.unit.write_journal`."""
YEAR_S = 365 * 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def said() -> Said:
    return Said()


def opened(path: Path, said: Said | None = None, now_s: float = NOW) -> Journal:
    return Journal(path, lambda: now_s, "rack 7", said.take if said is not None else print)


async def listed(journal: Journal) -> list[str]:
    return [line.id for line in await journal.past(PastFilter())]


# -- older versions ------------------------------------------------------------------------------


def restored(path: Path, version: int) -> None:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
    conn.execute("PRAGMA journal_mode = WAL")
    conn.executescript((OLD / f"version-{version}.sql").read_text())
    assert conn.execute("PRAGMA user_version").fetchone() == (version,)
    conn.close()


def test_each_version_has_its_file() -> None:
    wanted = {f"version-{version}.sql" for version in range(1, journal_file.VERSION + 1)}
    assert {one.name for one in OLD.iterdir()} == wanted, "see tests/unit/write_journal.py"


@pytest.mark.parametrize("version", range(1, journal_file.VERSION + 1))
async def test_an_older_versions_file_is_brought_forward(
    path: Path, said: Said, version: int
) -> None:
    restored(path, version)
    journal = opened(path, said)
    assert await listed(journal) == ["a1a1a1", "b2b2b2"]
    moved, stayed = await journal.find("a1a1a1"), await journal.find("b2b2b2")
    assert moved is not None
    assert stayed is not None
    assert moved[0].verdict is not None
    assert (moved[0].verdict.outcome, moved[0].verdict.owner) == ("moved", "kvm-a")
    assert len(moved[1]) > 5
    assert stayed[0].verdict is not None
    assert stayed[0].verdict.outcome == "stayed"
    ((open_one, samples),) = await journal.unended()
    assert (open_one.id, open_one.phase, len(samples)) == ("c3c3c3", Phase.MEMORY, 15)
    verdict = replace(stayed[0].verdict, id="c3c3c3")
    journal.migration(replace(open_one, verdict=verdict))
    journal.migration(ended("new"))
    assert await journal.written()
    assert await journal.unended() == ()
    rows = RunRows(journal)
    run = Evacuation("e5", EvacuationWish("kvm-b"), EvacuationState.RUNNING, started=BEGUN)
    assert await rows.keep(run)
    assert run in await rows.runs()
    await journal.close()
    assert said == []
    conn = sqlite3.connect(path)
    assert conn.execute("PRAGMA user_version").fetchone() == (journal_file.VERSION,)
    assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    conn.close()


@pytest.mark.parametrize("version", range(2, journal_file.VERSION + 1))
async def test_runs_of_an_older_version_go_on(path: Path, version: int) -> None:
    restored(path, version)
    journal = opened(path)
    rows = RunRows(journal)
    (run,) = await rows.runs()
    assert (run.id, run.host, run.state) == ("d4d4d4", "kvm-a", EvacuationState.RUNNING)
    (away,) = await rows.away_from("kvm-a")
    assert (away.vm, away.target, away.mode) == ("web-9", "kvm-b", Mode.LIVE)
    assert await rows.maintenance() == {"kvm-a": BEGUN}
    assert [roll.id for roll in await rows.rolls()] == ["e5e5e5"] * (version >= 3)
    await journal.close()


async def test_a_step_that_fails_leaves_the_older_version_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored(path, 1)
    steps = (journal_file._STEPS[0], journal_file._STEPS[1] + "; CREATE TABLE states (id)")
    monkeypatch.setattr(journal_file, "_STEPS", steps)
    journal = opened(path)
    assert await listed(journal) == []
    assert "states already exists" in journal.trouble
    await journal.close()
    monkeypatch.undo()
    later = opened(path)
    assert await listed(later) == ["a1a1a1", "b2b2b2"]
    await later.close()


# -- retention -----------------------------------------------------------------------------------


async def test_an_engine_that_runs_for_years_forgets_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "EXPIRE_EVERY_S", 0.0)
    monkeypatch.setattr(journal_file, "KEPT_COUNT", 2)
    journal = opened(path)
    for n in range(5):
        journal.migration(ended(f"n{n}", started=BEGUN + n))
        await journal.written()
    assert await listed(journal) == ["n3", "n4"]
    await journal.close()


def size_bytes(path: Path) -> int:
    return path.stat().st_size


async def test_a_file_that_is_too_large_shrinks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(path)
    for n in range(60):
        journal.migration(ended(f"n{n:02}", started=BEGUN + n, virsh="x" * 50_000))
    journal.migration(state("open", started=BEGUN - YEAR_S))
    await journal.close()
    await asyncio.to_thread(journal._thread.shutdown)
    assert size_bytes(path) > 3_000_000
    monkeypatch.setattr(journal_file, "KEPT_BYTES", 1_000_000)
    later = opened(path)
    kept = await listed(later)
    assert kept == [f"n{n:02}" for n in range(60 - len(kept), 60)]
    assert len(kept) >= 15
    assert [one.id for one, _ in await later.unended()] == ["open"]
    await later.close()
    await asyncio.to_thread(later._thread.shutdown)
    assert size_bytes(path) < 1_100_000


async def test_a_clock_that_is_years_ahead_makes_nothing_old(path: Path) -> None:
    old = NOW - (journal_file.KEPT_DAYS - 10) * 86_400
    journal = opened(path)
    journal.migration(ended("old", started=old))
    journal.migration(ended("new"))
    await journal.close()
    ahead = opened(path, now_s=NOW + 50 * YEAR_S)
    assert await listed(ahead) == ["old", "new"]
    await ahead.close()


async def test_what_cannot_be_forgotten_now_keeps_nothing_from_being_written(
    path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_conn: sqlite3.Connection, _now_s: float) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(journal_file, "expire", full)
    journal = opened(path, said)
    journal.migration(ended())
    assert await journal.written()
    assert await listed(journal) == ["a1"]
    await journal.close()
    assert said == []


# -- what is done to it --------------------------------------------------------------------------


@pytest.mark.parametrize("done", [Path.unlink, lambda path: path.rename(path.with_name("kept"))])
async def test_a_file_that_is_moved_away_is_begun_anew_with_what_runs(
    path: Path, said: Said, done: Callable[[Path], object]
) -> None:
    journal = opened(path, said)
    journal.migration(state("runs"))
    journal.migration(ended("before"))
    assert await journal.written()
    done(path)
    journal.migration(ended("after"))
    assert await journal.written()
    assert "moved away or removed" in journal.trouble
    assert said == [journal.trouble]
    assert await listed(journal) == ["after"]
    assert [one.id for one, _ in await journal.unended()] == ["runs"]
    await journal.close()
    for kept in path.parent.glob("kept"):
        conn = sqlite3.connect(kept)
        ids = {row[0] for row in conn.execute("SELECT id FROM migrations")}
        assert ids == {"runs", "before"}
        conn.close()


@pytest.fixture
def broken(path: Path) -> Path:
    path.write_bytes(b"no database at all" * 100)
    return path


async def test_one_that_is_broken_at_the_start_is_told_to_who_asks_later(
    broken: Path, said: Said
) -> None:
    journal = opened(broken, said)
    assert await listed(journal) == []
    assert "was broken" in journal.trouble
    assert said == [journal.trouble]
    journal.migration(ended())
    assert await journal.written()
    assert await listed(journal) == ["a1"]
    await journal.close()


async def test_runs_are_kept_in_a_new_file_where_the_old_one_is_broken(
    path: Path, said: Said
) -> None:
    journal = opened(path, said)
    journal.migration(state("runs"))
    await journal.written()
    journal.migration(ended("a0", virsh="y" * 50_000))
    await journal.written()
    journal._close()  # what sqlite holds in memory would hide it
    spoil(path)
    rows = RunRows(journal)
    away = Away("u1", "web-1", "kvm-a", BEGUN, "kvm-b", Mode.LIVE, "r1")
    assert await rows.went(away)
    assert await rows.away_from("kvm-a") == (away,)
    assert [one.id for one, _ in await journal.unended()] == ["runs"]
    assert "was broken" in said[-1]
    await journal.close()


async def test_what_cannot_be_written_at_all_keeps_nothing_else_from_it(
    path: Path, said: Said
) -> None:
    journal = opened(path, said)
    journal.migration(ended("a1"))
    journal.migration(ended("a2", vm="\ud800"))
    journal.sample("a1", replace(sample(1.0), pass_number=cast("int", "\ud800")))
    journal.sample("a1", sample(1.2))
    assert not await journal.written()
    assert await journal.written()
    assert await journal.find("a1") == (ended("a1"), (sample(1.2),))
    assert await listed(journal) == ["a1"]
    assert "could not take" in said[-1]
    journal.migration(ended("a3", started=BEGUN + 1))
    assert await listed(journal) == ["a1", "a3"]
    await journal.close()


async def test_at_the_end_a_file_that_was_locked_is_tried_once_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "BUSY_S", 0.0)
    journal = opened(path)
    journal.migration(state())
    await journal.written()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    journal.migration(ended())
    assert not await journal.written()
    holder.execute("ROLLBACK")
    holder.close()
    await journal.close()
    await asyncio.to_thread(journal._thread.shutdown)
    later = opened(path)
    assert await listed(later) == ["a1"]
    await later.close()
