"""The journal's file: SQLite in WAL mode, 0600, one writer; its schema, and what is kept.

All of it blocks and belongs to the journal's own thread (`run.journal`). A batch is one
transaction: a kill at any instant leaves the batches before it whole. A verdict is on the disk
itself (`synchronous = FULL`) before anybody hears that it was kept.
"""

import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

BUSY_S = 2.0
"""How long another process may hold the file."""
KEPT_DAYS = 400
KEPT_COUNT = 20_000
KEPT_BYTES = 512 * 2**20
"""Retention: by age, by number, by size; the oldest go."""

_STEPS = (
    """
    CREATE TABLE migrations (
        id TEXT PRIMARY KEY, fleet TEXT NOT NULL, open INTEGER NOT NULL,
        vm TEXT NOT NULL, uuid TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
        started REAL NOT NULL, ended REAL, outcome TEXT, line BLOB
    ) WITHOUT ROWID;
    CREATE INDEX by_start ON migrations (fleet, started);
    CREATE INDEX by_open ON migrations (open) WHERE open;
    CREATE TABLE states (id TEXT PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE charts (id TEXT PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE samples (n INTEGER PRIMARY KEY, id TEXT NOT NULL, body BLOB NOT NULL);
    CREATE INDEX by_migration ON samples (id);
    """,
    """
    CREATE TABLE evacuations (
        id TEXT PRIMARY KEY, fleet TEXT NOT NULL, open INTEGER NOT NULL, host TEXT NOT NULL,
        started REAL NOT NULL, body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE away (
        fleet TEXT NOT NULL, uuid TEXT NOT NULL, home TEXT NOT NULL, since REAL NOT NULL,
        body BLOB NOT NULL, PRIMARY KEY (fleet, uuid, home)
    ) WITHOUT ROWID;
    CREATE TABLE maintenance (
        fleet TEXT NOT NULL, host TEXT NOT NULL, since REAL NOT NULL, PRIMARY KEY (fleet, host)
    ) WITHOUT ROWID;
    """,
)
"""What makes version n + 1 of the schema from version n; never changed, only added to.

`line`: a `Past` as JSON; `states`: a `Migration`; `samples`: those of one that goes on, a `Sample`
each; `charts`: those of one that has ended, compressed in one piece; `evacuations`: an
`Evacuation`; `away`: an `Away`, of a VM that left `home` in an evacuation and is not back.
"""
VERSION = len(_STEPS)


class NewerSchemaError(Exception):
    """The file was written by a newer version of this program."""


def opened(path: Path, now_s: float) -> sqlite3.Connection:
    """Open it, made or brought up to this version's schema.

    A file that is no journal, or a broken one, is put aside under another name and a new one made.

    Raises:
        sqlite3.Error, OSError: It cannot be had now.
        NewerSchemaError: Its schema is not known here; it is left alone.
    """
    try:
        return _opened(path)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # The latter: sqlite3 cannot even say what is broken, the damage being part of its words.
        if isinstance(error, sqlite3.OperationalError) or not path.exists():
            raise
        put_aside(path, str(error), now_s)
        return _opened(path)


def put_aside(path: Path, why: str, now_s: float) -> Path:
    """Keep a broken file, with what belongs to it, under another name."""
    aside = path.with_name(f"{path.name}.broken-{now_s:.0f}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}+")
    log.error("%s is broken (%s): kept as %s", path, why, aside)
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return aside


def _opened(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    conn = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _check(conn)
        conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        _bring_up(conn)
    except BaseException:
        conn.close()
        raise
    return conn


def _check(conn: sqlite3.Connection) -> int:
    """The schema's version. Raises NewerSchemaError, before anything is written."""
    version = int(conn.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise NewerSchemaError(f"schema {version}, known here: {VERSION}")
    return version


def _bring_up(conn: sqlite3.Connection) -> None:
    conn.execute("BEGIN IMMEDIATE")
    version = _check(conn)
    for step in _STEPS[version:]:
        for statement in step.split(";"):
            conn.execute(statement)
    conn.execute(f"PRAGMA user_version = {VERSION}")
    conn.execute("COMMIT")


def expire(conn: sqlite3.Connection, now_s: float) -> int:
    """Forget what is too old, too many or too large; how many went. `now_s`: epoch seconds."""
    gone = _ids(
        conn,
        "SELECT id FROM migrations WHERE NOT open AND started < ? UNION "
        "SELECT id FROM (SELECT id FROM migrations WHERE NOT open ORDER BY started DESC"
        " LIMIT -1 OFFSET ?)",
        (now_s - KEPT_DAYS * 86_400, KEPT_COUNT),
    )
    if _size_bytes(conn) > KEPT_BYTES:
        gone += _ids(
            conn,
            "SELECT id FROM migrations WHERE NOT open ORDER BY started"
            " LIMIT (SELECT count(*) / 4 FROM migrations)",
        )
    conn.execute("BEGIN IMMEDIATE")
    for table in ("migrations", "states", "charts", "samples"):
        conn.executemany(f"DELETE FROM {table} WHERE id = ?", [(one,) for one in gone])
    conn.execute("COMMIT")
    conn.execute("PRAGMA incremental_vacuum")
    return len(gone)


def _ids(conn: sqlite3.Connection, query: str, values: Sequence[object] = ()) -> list[str]:
    return [row[0] for row in conn.execute(query, values)]


def _size_bytes(conn: sqlite3.Connection) -> int:
    """Of what is in use: pages that were freed count not."""
    pages, free, size = (
        conn.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
