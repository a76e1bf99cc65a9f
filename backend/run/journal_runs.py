"""Evacuations, the VMs they sent away, rolls, and hosts in maintenance: their rows in the journal.

Few and small beside samples, and each must outlive the engine: written at once, waited for.
"""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from backend.model import Evacuation, Mode, Roll

log = logging.getLogger(__name__)

KEPT_RUNS = 500
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Away:
    """A VM that left its home in an evacuation."""

    uuid: str
    vm: str
    home: str
    since: float
    """Epoch seconds of its verdict."""
    target: str
    """Where that evacuation brought it."""
    mode: Mode
    """How it left."""
    run: str
    """Id of the evacuation."""


_evacuation = msgspec.json.Decoder(Evacuation).decode
_away = msgspec.json.Decoder(Away).decode
_roll = msgspec.json.Decoder(Roll).decode


class Rows(Protocol):
    """The part of the journal that this needs."""

    @property
    def fleet(self) -> str:
        """Which fleet's rows."""
        ...

    async def change(self, work: Callable[[sqlite3.Connection], None]) -> bool:
        """One transaction; False when it could not be written (the journal says why)."""
        ...

    async def ask(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Read; `otherwise` when the file cannot be had."""
        ...


class RunRows:
    """Reads and writes them, of one fleet. Nothing raises for a file that cannot be had."""

    def __init__(self, journal: Rows) -> None:
        self._journal = journal

    async def keep(self, run: Evacuation) -> bool:
        """A run as it stands."""
        values = (run.id, self._journal.fleet, run.state.open, run.host, run.started or run.made)
        return await self._journal.change(
            lambda conn: _keep(conn, (*values, _encode(run))),
        )

    async def runs(self, *, open_only: bool = False) -> tuple[Evacuation, ...]:
        """Oldest first."""
        where = "WHERE fleet = ? AND open" if open_only else "WHERE fleet = ?"
        query = f"SELECT body FROM evacuations {where} ORDER BY started"
        rows = await self._read(query)
        return tuple(one for row in rows if (one := _decoded(_evacuation, row[0])) is not None)

    async def keep_roll(self, roll: Roll) -> bool:
        """A roll as it stands."""
        values = (roll.id, self._journal.fleet, roll.state.open, roll.started or roll.made)
        return await self._journal.change(
            lambda conn: _keep_roll(conn, (*values, _encode(roll))),
        )

    async def rolls(self) -> tuple[Roll, ...]:
        """Oldest first."""
        rows = await self._read("SELECT body FROM rolls WHERE fleet = ? ORDER BY started")
        return tuple(one for row in rows if (one := _decoded(_roll, row[0])) is not None)

    async def went(self, away: Away) -> bool:
        """A VM left its home."""
        row = (self._journal.fleet, away.uuid, away.home, away.since, _encode(away))
        return await self._journal.change(
            lambda conn: _run(conn, "INSERT OR REPLACE INTO away VALUES (?, ?, ?, ?, ?)", row),
        )

    async def came_home(self, away: Away) -> bool:
        """It is back: with it goes what it left since, on its way."""
        row = (self._journal.fleet, away.uuid, away.since)
        query = "DELETE FROM away WHERE fleet = ? AND uuid = ? AND since >= ?"
        return await self._journal.change(lambda conn: _run(conn, query, row))

    async def away_from(self, host: str) -> tuple[Away, ...]:
        """What left that host and is not back, in the order in which it left."""
        query = "SELECT body FROM away WHERE fleet = ? AND home = ? ORDER BY since"
        rows = await self._read(query, host)
        return tuple(one for row in rows if (one := _decoded(_away, row[0])) is not None)

    async def set_maintenance(self, host: str, since: float | None) -> bool:
        """Epoch seconds; None: it is over."""
        fleet = self._journal.fleet
        if since is None:
            query, row = "DELETE FROM maintenance WHERE fleet = ? AND host = ?", (fleet, host)
            return await self._journal.change(lambda conn: _run(conn, query, row))
        return await self._journal.change(
            lambda conn: _run(
                conn, "INSERT OR IGNORE INTO maintenance VALUES (?, ?, ?)", (fleet, host, since)
            ),
        )

    async def maintenance(self) -> dict[str, float]:
        """Hosts in maintenance, with epoch seconds since when."""
        rows = await self._read("SELECT host, since FROM maintenance WHERE fleet = ?")
        return {str(host): float(since) for host, since in rows}

    async def _read(self, query: str, *more: object) -> list[tuple[bytes, ...]]:
        values = (self._journal.fleet, *more)
        return await self._journal.ask(lambda conn: conn.execute(query, values).fetchall(), [])


def _keep(conn: sqlite3.Connection, row: tuple[object, ...]) -> None:
    conn.execute("INSERT OR REPLACE INTO evacuations VALUES (?, ?, ?, ?, ?, ?)", row)
    _forget_oldest(conn, "evacuations")


def _keep_roll(conn: sqlite3.Connection, row: tuple[object, ...]) -> None:
    conn.execute("INSERT OR REPLACE INTO rolls VALUES (?, ?, ?, ?, ?)", row)
    _forget_oldest(conn, "rolls")


def _forget_oldest(conn: sqlite3.Connection, table: str) -> None:
    conn.execute(
        f"DELETE FROM {table} WHERE NOT open AND id IN"
        f" (SELECT id FROM {table} ORDER BY started DESC LIMIT -1 OFFSET ?)",
        (KEPT_RUNS,),
    )


def _run(conn: sqlite3.Connection, query: str, values: tuple[object, ...]) -> None:
    conn.execute(query, values)


def _decoded(decode: Callable[[bytes], T], body: bytes) -> T | None:
    """None for what another version, or a broken disk, has written."""
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        log.warning("a run in the journal is not understood: %s", error)
        return None
