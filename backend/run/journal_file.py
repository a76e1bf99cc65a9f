"""The journal's file: SQLite in WAL mode, 0600, one writer; its schema, and what is kept.

All of it blocks and belongs to the journal's own thread (`run.journal`). A batch is one
transaction: a kill at any instant leaves the batches before it whole. A verdict is on the disk
itself (`synchronous = FULL`) before anybody hears that it was kept.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

BUSY_S = 2.0
"""How long another process may hold the file."""
KEPT_DAYS = 400
KEPT_COUNT = 20_000
KEPT_BYTES = 512 * 2**20
"""Retention: by age, by number, by size; the oldest go."""
FREED_PAGES = 20_000
"""Given back to the disk at one time: about a second's work."""
LOG_BYTES = 16 * 2**20
"""What is kept of the write-ahead log after a large transaction."""

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
    """
    CREATE TABLE rolls (
        id TEXT PRIMARY KEY, fleet TEXT NOT NULL, open INTEGER NOT NULL,
        started REAL NOT NULL, body BLOB NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""What makes version n + 1 of the schema from version n; never changed, only added to.

`line`: a `Past` as JSON; `states`: a `Migration`; `samples`: those of one that goes on, a `Sample`
each; `charts`: those of one that has ended, compressed in one piece; `evacuations`: an
`Evacuation`; `away`: an `Away`, of a VM that left `home` in an evacuation and is not back;
`rolls`: a `Roll`.
"""
VERSION = len(_STEPS)


class NewerSchemaError(Exception):
    """The file was written by a newer version of this program."""


def is_broken(error: Exception) -> bool:
    """It says that the file is no journal, or a damaged one; anything else may pass."""
    # The latter: sqlite3 cannot even say what is broken, the damage being part of its words.
    return type(error) is sqlite3.DatabaseError or isinstance(error, UnicodeDecodeError)


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


def opened(path: Path) -> sqlite3.Connection:
    """Open it, made or brought up to this version's schema.

    Raises:
        sqlite3.Error, OSError, UnicodeDecodeError: It cannot be had now, or is broken.
        NewerSchemaError: Its schema is not known here; it is left alone.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    conn = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _check(conn)
        conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        transact(conn, _bring_up)
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
    version = _check(conn)
    for step in _STEPS[version:]:
        for statement in step.split(";"):
            conn.execute(statement)
    conn.execute(f"PRAGMA user_version = {VERSION}")


def transact(conn: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]) -> None:
    """All that `work` does or nothing of it. Raises sqlite3.Error."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        work(conn)
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def expire(conn: sqlite3.Connection, now_s: float) -> int:
    """Forget what is too old, too many or too large; how many went. `now_s`: epoch seconds.

    Ages are counted from the newest migration at most: a clock that is years ahead makes none old.
    """
    newest = conn.execute("SELECT max(started) FROM migrations").fetchone()[0]
    gone = _forget(
        conn,
        "SELECT id FROM migrations WHERE NOT open AND started < ? UNION "
        "SELECT id FROM (SELECT id FROM migrations WHERE NOT open ORDER BY started DESC"
        " LIMIT -1 OFFSET ?)",
        (min(now_s, newest or now_s) - KEPT_DAYS * 86_400, KEPT_COUNT),
    )
    while _size_bytes(conn) > KEPT_BYTES and (
        large := _forget(
            conn,
            "SELECT id FROM migrations WHERE NOT open ORDER BY started"
            " LIMIT (SELECT 1 + count(*) / 16 FROM migrations)",
        )
    ):
        gone += large
    # As a script: `execute` takes one step only, and each step frees one page.
    conn.executescript(f"PRAGMA incremental_vacuum({FREED_PAGES})")
    return gone


def _forget(conn: sqlite3.Connection, which: str, values: Sequence[object] = ()) -> int:
    gone = conn.execute(which, values).fetchall()

    def delete(conn: sqlite3.Connection) -> None:
        for table in ("migrations", "states", "charts", "samples"):
            conn.executemany(f"DELETE FROM {table} WHERE id = ?", gone)

    if gone:
        transact(conn, delete)
    return len(gone)


def _size_bytes(conn: sqlite3.Connection) -> int:
    """Of what is in use: pages that were freed count not."""
    pages, free, size = (
        conn.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
