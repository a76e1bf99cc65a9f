"""The journal: what it is told outlives the engine, and its file's troubles stop nothing."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.model import (
    Migration,
    Outcome,
    PastFilter,
    Phase,
    Policy,
    Sample,
    Verdict,
)
from backend.run import journal as journal_module
from backend.run import journal_file, journal_rows
from backend.run.journal import Journal
from backend.run.journal_rows import thinned

BEGUN = 1_790_000_000.0
NOW = BEGUN + 86_400
POLICY = Policy(name="balanced", pause_ms=300)


def state(one: str = "a1", **changes: object) -> Migration:
    base = Migration(one, "db-1", "u-1", "kvm-a", "kvm-b", BEGUN, POLICY, phase=Phase.MEMORY)
    return replace(base, **changes)  # type: ignore[arg-type]


def ended(one: str = "a1", outcome: Outcome = Outcome.MOVED, **changes: object) -> Migration:
    was = state(one, **changes)
    owner = was.target if outcome is Outcome.MOVED else was.source
    verdict = Verdict(
        one, was.vm, was.source, was.target, outcome, owner, "seen at both ends", 12.0, 13.5, 90
    )
    return replace(was, verdict=verdict)


def sample(t_s: float, pass_number: int = 1) -> Sample:
    return Sample(t_s, pass_number, 1000, 2000, 500, 25e6, None)


class Said(list[str]):
    """The sentences that were told, and whether the last one took them back."""

    def __init__(self) -> None:
        super().__init__()
        self.well = asyncio.Event()

    def take(self, sentence: str) -> None:
        self.append(sentence)
        self.well.set() if not sentence else self.well.clear()


def content(path: Path) -> bytes:
    return path.read_bytes()


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content), 512):
        content[place : place + 256] = b"\xa5" * 256
    path.write_bytes(content)
    path.with_name(path.name + "-wal").unlink(missing_ok=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
async def journal(path: Path, said: Said) -> AsyncIterator[Journal]:
    made = Journal(path, lambda: NOW, "lab", said.take)
    yield made
    await made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "AGAIN_S", 0.01)
    monkeypatch.setattr(journal_file, "BUSY_S", 0.0)


async def again(path: Path, fleet: str = "lab") -> Journal:
    return Journal(path, lambda: NOW, fleet)


async def test_the_next_engine_finds_what_ran_and_its_chart(journal: Journal, path: Path) -> None:
    journal.migration(state())
    for n in range(5):
        journal.sample("a1", sample(n / 5))
    newest = state(pause_limit_ms=120)
    journal.migration(newest)
    assert await journal.written()
    other = await again(path)
    assert await other.unended() == ((newest, tuple(sample(n / 5) for n in range(5))),)
    assert await other.past(PastFilter()) == ()
    await other.close()


async def test_an_ended_one_is_past_and_keeps_its_chart(journal: Journal, path: Path) -> None:
    journal.migration(state())
    journal.sample("a1", sample(0.2))
    journal.migration(ended())
    journal.sample("a1", sample(0.4))
    journal.migration(ended())
    other = await again(path)
    assert await journal.written()
    assert await other.unended() == ()
    assert await other.find("a1") == (ended(), (sample(0.2), sample(0.4)))
    (line,) = await other.past(PastFilter())
    assert (line.id, line.outcome, line.owner, line.pause_ms) == ("a1", "moved", "kvm-b", 90)
    assert line.ended == BEGUN + 13.5
    await other.close()


async def test_one_nobody_has_concluded_stays_open(journal: Journal) -> None:
    unknown = ended(outcome=Outcome.UNKNOWN)
    assert unknown.verdict is not None
    unknown = replace(unknown, verdict=replace(unknown.verdict, owner=None))
    journal.migration(unknown)
    assert [one.id for one, _ in await journal.unended()] == ["a1"]
    journal.migration(ended())
    assert await journal.unended() == ()


async def test_what_is_asked_for_is_found(journal: Journal) -> None:
    journal.migration(ended("a1"))
    journal.migration(ended("a2", Outcome.STAYED, started=BEGUN + 10, vm="web"))
    journal.migration(ended("a3", started=BEGUN + 20, source="kvm-c", uuid="u-3"))

    async def found(**wanted: object) -> list[str]:
        lines = await journal.past(PastFilter(**wanted))  # type: ignore[arg-type]
        return [line.id for line in lines]

    assert await found() == ["a1", "a2", "a3"]
    assert await found(limit=2) == ["a2", "a3"]
    assert await found(vm="web") == ["a2"]
    assert await found(vm="u-3") == ["a3"]
    assert await found(host="kvm-c") == ["a3"]
    assert await found(host="kvm-b", outcome=Outcome.MOVED) == ["a1", "a3"]
    assert await found(since=BEGUN + 5, until=BEGUN + 15) == ["a2"]
    assert await found(vm="' OR 1=1 --") == []


async def test_fleets_do_not_mix_but_any_report_opens(journal: Journal, path: Path) -> None:
    journal.migration(ended("a1"))
    journal.migration(state("a2"))
    await journal.written()
    other = await again(path, "rack 7")
    assert await other.past(PastFilter()) == ()
    assert await other.unended() == ()
    assert (await other.find("a1") or (None,))[0] == ended("a1")
    assert await other.known("a2")
    assert not await other.known("a3")
    await other.close()


async def test_only_its_owner_reads_it(journal: Journal, path: Path) -> None:
    was = os.umask(0)
    try:
        journal.migration(state())
        await journal.written()
    finally:
        os.umask(was)
    for one in path.parent.iterdir():
        assert stat.S_IMODE(one.stat().st_mode) & 0o077 == 0, one


async def test_no_file_is_no_trouble(said: Said) -> None:
    journal = Journal(None, lambda: NOW, "lab", said.take)
    journal.migration(ended())
    assert await journal.written()
    assert await journal.past(PastFilter()) == ()
    await journal.close()
    assert said == []


@pytest.mark.usefixtures("impatient")
async def test_a_locked_file_is_told_and_tried_again(
    journal: Journal, path: Path, said: Said
) -> None:
    journal.migration(state())
    await journal.written()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    journal.migration(ended())
    assert not await journal.written()
    assert "locked" in journal.trouble
    assert str(path) in said[-1]
    holder.execute("ROLLBACK")
    holder.close()
    await asyncio.wait_for(said.well.wait(), 5)
    assert [line.id for line in await journal.past(PastFilter())] == ["a1"]


@pytest.mark.usefixtures("impatient")
async def test_a_full_disk_costs_nothing_once_there_is_room(
    journal: Journal, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.migration(state())
    await journal.written()
    conn = journal._conn
    assert conn is not None
    (pages,) = conn.execute("PRAGMA page_count").fetchone()
    conn.execute(f"PRAGMA max_page_count = {pages}")
    journal.migration(ended("a2", virsh="x" * 100_000))
    assert not await journal.written()
    assert "full" in journal.trouble
    conn.execute("PRAGMA max_page_count = 100000")
    await asyncio.wait_for(said.well.wait(), 5)
    assert (await journal.find("a2") or (None,))[0] == ended("a2", virsh="x" * 100_000)


@pytest.fixture(params=[b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 4096])
def junk(request: pytest.FixtureRequest, path: Path) -> bytes:
    path.write_bytes(request.param)
    return bytes(request.param)


async def test_a_broken_file_is_kept_and_a_new_one_begun(path: Path, junk: bytes) -> None:
    journal = await again(path)
    journal.migration(ended())
    assert await journal.written()
    assert [line.id for line in await journal.past(PastFilter())] == ["a1"]
    (aside,) = path.parent.glob("journal.db.broken-*")
    assert content(aside) == junk
    await journal.close()


async def test_a_file_that_breaks_meanwhile_is_begun_anew_with_what_runs(
    journal: Journal, path: Path, said: Said
) -> None:
    journal.migration(state("a1"))
    await journal.written()
    journal.migration(ended("a0", virsh="y" * 50_000))
    await journal.written()
    journal._close()  # what sqlite holds in memory would hide it
    spoil(path)
    journal.migration(ended("a2"))
    assert await journal.written() or await journal.written()
    assert any("broken" in sentence for sentence in said)
    other = await again(path)
    assert [one.id for one, _ in await other.unended()] == ["a1"]
    assert [line.id for line in await other.past(PastFilter())] == ["a2"]
    await other.close()


async def test_a_newer_versions_file_is_left_alone(path: Path, said: Said) -> None:
    conn = sqlite3.connect(path)
    conn.execute(f"PRAGMA user_version = {journal_file.VERSION + 1}")
    conn.close()
    before = content(path)
    journal = Journal(path, lambda: NOW, "lab", said.take)
    journal.migration(ended())
    assert not await journal.written()
    assert "newer version" in said[-1]
    assert content(path) == before
    await journal.close()


async def test_a_state_of_another_version_is_passed_over(journal: Journal, path: Path) -> None:
    journal.migration(state("a1"))
    journal.migration(state("a2", started=BEGUN + 1))
    await journal.written()
    conn = sqlite3.connect(path)
    conn.execute("UPDATE states SET body = '{\"id\": 7}' WHERE id = 'a1'")
    conn.commit()
    conn.close()
    assert [one.id for one, _ in await journal.unended()] == ["a2"]
    assert await journal.find("a1") is None


async def test_the_oldest_are_forgotten_but_never_one_that_is_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "KEPT_COUNT", 3)
    journal = await again(path)
    old = NOW - (journal_file.KEPT_DAYS + 1) * 86_400
    journal.migration(state("open", started=old))
    journal.migration(ended("old", started=old))
    journal.sample("old", sample(1.0))
    for n in range(5):
        journal.migration(ended(f"n{n}", started=BEGUN + n))
    await journal.close()
    later = await again(path)
    assert [line.id for line in await later.past(PastFilter())] == ["n2", "n3", "n4"]
    assert [one.id for one, _ in await later.unended()] == ["open"]
    assert await later.find("old") is None
    await later.close()


def test_a_thinned_chart_keeps_its_corners() -> None:
    samples = tuple(sample(n / 5, 1 + n // 1000) for n in range(10_000))
    thin = thinned(samples, 500)
    assert len(thin) <= 600
    assert (thin[0], thin[-1]) == (samples[0], samples[-1])
    for turn in range(1000, 10_000, 1000):
        assert {samples[turn - 1], samples[turn]} <= set(thin)
    assert thinned(samples[:500], 500) == samples[:500]


async def test_one_that_runs_all_night_stays_small(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_rows, "MOST_OPEN_SAMPLES", 100)
    journal.migration(state())
    for n in range(1000):
        journal.sample("a1", sample(n / 5))
        if n % 50 == 0:
            await journal.written()
    ((_, samples),) = await journal.unended()
    assert 100 <= len(samples) <= 300
    assert (samples[0], samples[-1]) == (sample(0), sample(999 / 5))
    times = [one.t_s for one in samples]
    assert times == sorted(times)
