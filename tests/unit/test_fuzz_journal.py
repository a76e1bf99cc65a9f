"""The journal's file, its user's alone and damaged in every way: what can be read is read, the
rest is left out or told in a sentence, and nothing else comes out."""

import asyncio
import sqlite3
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.model import Migration, PastFilter, Sample
from backend.run.journal import Journal
from backend.service.protocol import MigrationChanged, SampleArrived
from tests.console.recorded import load
from tests.hostile import ALL_AT_ONCE, spoilt

CHANGES = [one.change for one in load("cache-abort") if one.change is not None]
LAST = [one.migration for one in CHANGES if isinstance(one, MigrationChanged)][-1]
SAMPLES = [one.sample for one in CHANGES if isinstance(one, SampleArrived)][:20]
FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def kept(path: Path, migration: Migration = LAST) -> None:
    """A journal of one migration that has ended and one that has not."""
    journal = Journal(path, time.time, "lab")
    journal.migration(migration)
    for sample in SAMPLES:
        journal.sample(migration.id, sample)
    assert await journal.written()
    going_on = spoilt(migration, lambda text: f"{text}2" if text == migration.id else text)
    journal.migration(_without_verdict(going_on))
    for sample in SAMPLES:
        journal.sample(going_on.id, sample)
    assert await journal.written()
    await journal.close()


def _without_verdict(migration: Migration) -> Migration:
    return replace(migration, verdict=None)


async def asked_everything(path: Path) -> None:
    """All that an engine asks of it, and one more thing told to it."""
    journal = Journal(path, time.time, "lab")
    for found, samples in [*await journal.unended(), await journal.find(LAST.id) or (LAST, ())]:
        assert isinstance(found, Migration)
        assert all(isinstance(one, Sample) for one in samples)
    await journal.past(PastFilter())
    await journal.past(PastFilter(vm=ALL_AT_ONCE, host="'; DROP TABLE states; --", limit=5))
    await journal.known(LAST.id)
    journal.migration(LAST)
    await journal.written()
    assert journal.trouble == "" or journal.trouble.endswith(".")
    await journal.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal's file with nothing left in its log."""
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    asyncio.run(kept(path))
    with sqlite3.connect(path) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    return path.read_bytes()


def modes(directory: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in directory.iterdir()}


async def test_its_files_are_its_users_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", time.time, "lab")
    journal.migration(LAST)
    assert await journal.written()
    found = modes(tmp_path)
    assert found.keys() >= {"journal.db", "journal.db-wal"}
    assert set(found.values()) == {0o600}
    await journal.close()


async def test_a_migration_of_harmful_names_comes_back_as_it_was(tmp_path: Path) -> None:
    harm = ALL_AT_ONCE.replace("\ud800", "")
    harmful = spoilt(LAST, lambda text: text if text == LAST.id else harm + text)
    await kept(tmp_path / "journal.db", harmful)
    journal = Journal(tmp_path / "journal.db", time.time, "lab")
    found = await journal.find(harmful.id)
    assert found is not None
    assert found[0] == harmful
    (line,) = await journal.past(PastFilter(vm=harmful.vm))
    assert line.vm == harmful.vm
    await journal.close()


@FEW
@given(st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=40)), max_size=4))
def test_a_damaged_file_stops_nothing(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, damage: list[tuple[int, bytes]]
) -> None:
    data = bytearray(whole)
    for at, piece in damage:
        at %= len(data)
        data[at : at + len(piece)] = piece[: len(data) - at]
    path = tmp_path_factory.mktemp("damaged") / "journal.db"
    path.write_bytes(data)
    path.chmod(0o600)
    asyncio.run(asked_everything(path))


values = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20)
    | st.sampled_from((b"{}", b"[" * 50_000, b"null"))
)


@FEW
@given(st.sampled_from(("states", "samples", "charts")), values)
def test_rows_of_another_shape_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, table: str, value: object
) -> None:
    path = tmp_path_factory.mktemp("odd") / "journal.db"
    path.write_bytes(whole)
    path.chmod(0o600)
    conn = sqlite3.connect(path)
    try:
        conn.execute(f"UPDATE OR IGNORE {table} SET body = ?", (value,))
        conn.execute("UPDATE migrations SET line = ?", (value,))
        conn.commit()
    except sqlite3.IntegrityError:
        return
    finally:
        conn.close()
    asyncio.run(asked_everything(path))


def test_damage_that_sqlite_cannot_put_into_words_is_put_aside(
    tmp_path: Path, whole: bytes
) -> None:
    """Its message quotes the damaged schema, which is no text any more."""
    path = tmp_path / "journal.db"
    path.write_bytes(whole.replace(b"CREATE TABLE migrations", b"CREATE TABLE migr\x80tions"))
    path.chmod(0o600)
    asyncio.run(asked_everything(path))
    assert [one.name for one in tmp_path.glob("journal.db.broken-*")]
