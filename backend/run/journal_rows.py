"""What is written to the journal's file and read from it: rows <-> the model's nouns."""

import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from backend.model import Migration, Outcome, Past, PastFilter, Sample, past_of
from backend.run.journal_file import transact

log = logging.getLogger(__name__)

KEPT_SAMPLES = 1500
"""Of one that has ended: more than any chart has columns."""
MOST_OPEN_SAMPLES = 12_000
"""Of one that goes on, about forty minutes; beyond it the older half is thinned."""
Whole = tuple[Migration, tuple[Sample, ...]]
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_state = msgspec.json.Decoder(Migration).decode
_sample = msgspec.json.Decoder(Sample).decode
_chart = msgspec.json.Decoder(tuple[Sample, ...]).decode
_line = msgspec.json.Decoder(Past).decode


@dataclass(slots=True)
class Batch:
    """What one transaction writes: the newest state of each migration, and samples by its id."""

    states: dict[str, Migration] = field(default_factory=dict)
    samples: list[tuple[str, Sample]] = field(default_factory=list)

    def then(self, later: "Batch") -> "Batch":
        """Both, the later one's states winning."""
        return Batch(self.states | later.states, self.samples + later.samples)


def sound(batch: Batch) -> Batch:
    """Without what cannot be written at all, which would keep all else from the file."""
    return Batch(
        {one: state for one, state in batch.states.items() if _can_be_written(state)},
        [(one, sample) for one, sample in batch.samples if _can_be_written(sample)],
    )


def _can_be_written(noun: object) -> bool:
    try:
        _encode(noun)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        log.error("not kept in the journal: a %s: %s", type(noun).__name__, error)
        return False
    return True


def write(conn: sqlite3.Connection, fleet: str, batch: Batch) -> None:
    """All of it or nothing. Raises sqlite3.Error."""
    transact(conn, lambda conn: _write(conn, fleet, batch))


def _write(conn: sqlite3.Connection, fleet: str, batch: Batch) -> None:
    conn.executemany(
        "INSERT INTO samples (id, body) VALUES (?, ?)",
        [(one, _encode(sample)) for one, sample in batch.samples],
    )
    for one in {one for one, _ in batch.samples}:
        _thin_open(conn, one)
    for state in batch.states.values():
        _write_state(conn, fleet, state)


def unended(conn: sqlite3.Connection, fleet: str) -> tuple[Whole, ...]:
    """Those without a verdict that says who owns the VM, or whose second attempt is still to come;
    oldest first."""
    rows = conn.execute(
        "SELECT id, body FROM migrations JOIN states USING (id)"
        " WHERE open AND fleet = ? ORDER BY started",
        (fleet,),
    ).fetchall()
    return tuple(one for row in rows if (one := _whole(conn, *row)) is not None)


def find(conn: sqlite3.Connection, wanted: str) -> Whole | None:
    """One by its id, whichever fleet it is of."""
    row = conn.execute("SELECT id, body FROM states WHERE id = ?", (wanted,)).fetchone()
    return _whole(conn, *row) if row else None


def known(conn: sqlite3.Connection, wanted: str) -> bool:
    """Whether that id is taken."""
    return bool(conn.execute("SELECT 1 FROM migrations WHERE id = ?", (wanted,)).fetchone())


def past(conn: sqlite3.Connection, fleet: str, wanted: PastFilter) -> tuple[Past, ...]:
    """The newest that fit, oldest first."""
    clauses = {
        "(vm = ? OR uuid = ?)": wanted.vm,
        "(source = ? OR target = ?)": wanted.host,
        "outcome = ?": wanted.outcome.value if wanted.outcome else None,
        "started >= ?": wanted.since,
        "started <= ?": wanted.until,
    }
    asked = {clause: value for clause, value in clauses.items() if value is not None}
    values = [value for clause, value in asked.items() for _ in range(clause.count("?"))]
    where = " AND ".join(["fleet = ?", "line IS NOT NULL", *asked])
    rows = conn.execute(
        f"SELECT line FROM migrations WHERE {where} ORDER BY started DESC LIMIT ?",
        (fleet, *values, wanted.limit),
    ).fetchall()
    lines = (_decoded(_line, body, "a line") for (body,) in reversed(rows))
    return tuple(line for line in lines if line is not None)


def thinned(samples: Sequence[Sample], most: int = KEPT_SAMPLES) -> tuple[Sample, ...]:
    """Evenly fewer, but the first and last of each pass stay: the chart keeps its corners."""
    if len(samples) <= most:
        return tuple(samples)
    step = -(-len(samples) // most)
    turns = {
        place
        for n in range(1, len(samples))
        if samples[n].pass_number != samples[n - 1].pass_number
        for place in (n - 1, n)
    }
    if len(turns) > most // 2:
        turns = set()
    last = len(samples) - 1
    return tuple(one for n, one in enumerate(samples) if n % step == 0 or n in turns or n == last)


def _write_state(conn: sqlite3.Connection, fleet: str, state: Migration) -> None:
    line, verdict = past_of(state), state.verdict
    unknown = verdict and verdict.outcome is Outcome.UNKNOWN and verdict.owner is None
    is_open = verdict is None or bool(unknown) or verdict.again
    conn.execute(
        "INSERT INTO migrations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO"
        " UPDATE SET open = excluded.open, target = excluded.target, ended = excluded.ended,"
        " outcome = excluded.outcome, line = excluded.line",
        (
            state.id,
            fleet,
            is_open,
            state.vm,
            state.uuid,
            state.source,
            state.target,
            state.started,
            line.ended if line else None,
            line.outcome.value if line else None,
            _encode(line) if line else None,
        ),
    )
    conn.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (state.id, _encode(state)))
    if not is_open:
        _close_chart(conn, state.id)


def _thin_open(conn: sqlite3.Connection, one: str) -> None:
    (count,) = conn.execute("SELECT count(*) FROM samples WHERE id = ?", (one,)).fetchone()
    if count > MOST_OPEN_SAMPLES:
        conn.execute(
            "DELETE FROM samples WHERE n IN (SELECT n FROM (SELECT n, row_number() OVER"
            " (ORDER BY n) AS place FROM samples WHERE id = ?) WHERE place < ? AND place % 2 = 0)",
            (one, count // 2),
        )


def _close_chart(conn: sqlite3.Connection, one: str) -> None:
    """The samples of one that has ended become one piece; late ones join it."""
    late = _samples(conn, one)
    if late:
        body = zlib.compress(_encode(thinned((*_closed_chart(conn, one), *late))))
        conn.execute("INSERT OR REPLACE INTO charts VALUES (?, ?)", (one, body))
        conn.execute("DELETE FROM samples WHERE id = ?", (one,))


def _whole(conn: sqlite3.Connection, one: str, body: bytes) -> Whole | None:
    state = _decoded(_state, body, one)
    if state is None:
        return None
    return state, (*_closed_chart(conn, one), *_samples(conn, one))


def _closed_chart(conn: sqlite3.Connection, one: str) -> tuple[Sample, ...]:
    row = conn.execute("SELECT body FROM charts WHERE id = ?", (one,)).fetchone()
    return _uncompressed(row[0], one) if row else ()


def _samples(conn: sqlite3.Connection, one: str) -> tuple[Sample, ...]:
    rows: Iterable[tuple[bytes]] = conn.execute(
        "SELECT body FROM samples WHERE id = ? ORDER BY n", (one,)
    )
    found = (_decoded(_sample, body, one) for (body,) in rows)
    return tuple(sample for sample in found if sample is not None)


def _uncompressed(body: bytes, one: str) -> tuple[Sample, ...]:
    try:
        return _chart(zlib.decompress(body))
    except (zlib.error, msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        log.warning("the chart of %s is damaged: %s", one, error)
        return ()


def _decoded(decode: Callable[[bytes], T], body: bytes, what: str) -> T | None:
    """None for what another version, or a broken disk, has written."""
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        log.warning("the journal's %s is not understood: %s", what, error)
        return None
