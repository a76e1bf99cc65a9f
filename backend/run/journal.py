"""The journal: what was intended, seen, decided and concluded, of every migration.

What happens is told to it on the event loop and costs nothing there; a thread of its own writes
it. It never raises for a file that cannot be had: migrations go on, what waits is kept in memory
(samples within bounds), `trouble` says so in a sentence, and it tries again.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from backend.errors import BadInput
from backend.model import Migration, Now, Past, PastFilter, Sample
from backend.run import journal_file, journal_rows
from backend.run.journal_file import transact
from backend.run.journal_rows import Batch, Whole, write

log = logging.getLogger(__name__)

T = TypeVar("T")

_TROUBLES = (sqlite3.Error, OSError, journal_file.NewerSchemaError, UnicodeDecodeError)
"""Of the file; the last is sqlite3's own where its words quote damaged bytes."""

WRITE_EVERY_S = 0.5
"""Samples wait so long; what an engine that dies must not forget does not wait."""
AGAIN_S = 5.0
"""Between attempts to write what could not be written."""
MOST_WAITING = 50_000
"""Samples kept for a file that cannot be written."""
MOST_ASKED = 1_000_000
"""Migrations in one answer; far more than are kept."""
CLOSE_S = 3.0
READ_S = 10.0
EXPIRE_EVERY_S = 6 * 3600.0
"""An engine may run for years."""


class Journal:
    """One fleet's migrations in the file at `path` (one file for all fleets); None keeps nothing.

    `on_trouble` is told each new sentence (empty: it is well again).
    """

    def __init__(
        self,
        path: Path | None,
        now: Now,
        fleet: str = "",
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._fleet = fleet
        self._on_trouble = on_trouble
        self._now = now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._conn: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """Device and inode of the file that is open."""
        self._expire_s = 0.0
        """When it is due, by `time.monotonic()`."""
        self._waiting = Batch()
        self._running: dict[str, Migration] = {}
        self._awaiting: list[asyncio.Future[bool]] = []
        self._told = asyncio.Event()
        self._urgent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self._lost = ""
        """Why a new file had to be begun, for as long as this engine lives."""
        self._renewed = False
        """In a new file what runs must be written once more."""

    @property
    def trouble(self) -> str:
        """Why it is not being kept, or what it has lost, in a sentence; empty when all is well."""
        return self._trouble or self._lost

    # -- telling it ----------------------------------------------------------------------------

    def migration(self, state: Migration) -> None:
        """A migration began, went on or ended; soon on the disk when it must not be forgotten."""
        if self._path is None:
            return
        was = self._running.pop(state.id, None)
        self._waiting.states[state.id] = state
        if state.running:
            self._running[state.id] = state
        self._tell(urgent=was is None or _weighty(state) != _weighty(was))

    def sample(self, migration_id: str, sample: Sample) -> None:
        """One more sample."""
        if self._path is not None:
            self._waiting.samples.append((migration_id, sample))
            if len(self._waiting.samples) > MOST_WAITING:
                del self._waiting.samples[: MOST_WAITING // 2 : 2]
            self._tell(urgent=False)

    async def written(self, limit_s: float = CLOSE_S) -> bool:
        """Wait until all that was told is on the disk; False when it cannot be (see `trouble`)."""
        if self._path is None or self._trouble:
            return self._path is None
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._awaiting.append(done)
        self._tell(urgent=True)
        try:
            async with asyncio.timeout(limit_s):
                return await done
        except TimeoutError:
            log.warning("the journal is slow: not written within %.0f s", limit_s)
            return False

    async def close(self) -> None:
        """Write what waits, within bounds, and let go."""
        if self._task is not None:
            await self.written()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            if self._trouble:
                await self._write()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    # -- asking it -----------------------------------------------------------------------------

    async def past(self, wanted: PastFilter) -> tuple[Past, ...]:
        """Ended migrations of this fleet, oldest first. Raises BadInput."""
        if not 0 < wanted.limit <= MOST_ASKED:
            raise BadInput(f"A limit must be above 0, and at most {MOST_ASKED:,}.")
        return await self._read(lambda conn: journal_rows.past(conn, self._fleet, wanted), ())

    async def find(self, wanted: str) -> Whole | None:
        """One by its id, with its chart; of another fleet, too."""
        return await self._read(lambda conn: journal_rows.find(conn, wanted), None)

    async def known(self, wanted: str) -> bool:
        """Whether that id is taken."""
        return await self._read(lambda conn: journal_rows.known(conn, wanted), False)

    async def unended(self) -> tuple[Whole, ...]:
        """Those that nobody has concluded, or that are to be tried again, oldest first."""
        return await self._read(lambda conn: journal_rows.unended(conn, self._fleet), ())

    # -- for what is few and must be there at once ---------------------------------------------

    @property
    def fleet(self) -> str:
        """Which fleet's rows are read and written."""
        return self._fleet

    async def change(self, work: Callable[[sqlite3.Connection], None]) -> bool:
        """One transaction of its own, at once; False when it could not be written."""
        if self._path is None:
            return True
        try:
            async with asyncio.timeout(READ_S):
                await self._in_thread(lambda: self._changed(lambda c: transact(c, work)))
        except (*_TROUBLES, TimeoutError) as error:
            log.warning("writing the journal: %s", error)
            self._say(_sentence(self._path, error, "written"))
            self._tell(urgent=False)
            return False
        return True

    async def ask(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Read; `otherwise` when the file cannot be had."""
        return await self._read(work, otherwise)

    async def _read(self, ask: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        if self._path is None:
            return otherwise
        await self.written()
        try:
            async with asyncio.timeout(READ_S):
                return await self._in_thread(lambda: ask(self._opened()))
        except (*_TROUBLES, TimeoutError) as error:
            log.warning("reading the journal: %s", error)
            self._say(_sentence(self._path, error, "read"))
            self._tell(urgent=False)
            return otherwise

    # -- writing -------------------------------------------------------------------------------

    def _tell(self, urgent: bool) -> None:
        self._told.set()
        if urgent:
            self._urgent.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep_writing(), name="journal")

    async def _keep_writing(self) -> None:
        while True:
            await self._told.wait()
            if self._trouble:
                await asyncio.sleep(AGAIN_S)
            else:
                await self._gather()
            self._told.clear()
            self._urgent.clear()
            awaiting, self._awaiting = self._awaiting, []
            well = await self._write()
            for one in awaiting:
                if not one.done():
                    one.set_result(well)

    async def _gather(self) -> None:
        """Let more come, unless it cannot wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WRITE_EVERY_S):
                await self._urgent.wait()

    async def _write(self) -> bool:
        batch, self._waiting = self._waiting, Batch()
        try:
            await self._in_thread(lambda: self._changed(lambda c: write(c, self._fleet, batch)))
        except _TROUBLES as error:
            log.warning("writing the journal: %s", error)
            self._waiting = batch.then(self._waiting)
            self._say(_sentence(self._path, error, "written"))
            self._told.set()
            return False
        except Exception:
            log.exception("writing the journal")
            rest = journal_rows.sound(batch)
            self._waiting = rest.then(self._waiting) if rest != batch else self._waiting
            self._lost = f"The journal {self._path} lacks what it could not take; the log says why."
            self._on_trouble(self.trouble)
            self._told.set()
            return False
        self._say("")
        return True

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_trouble(self.trouble)

    # -- in the thread -------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            if self._renewed:
                self._renewed = False
                self._waiting = Batch(states=dict(self._running)).then(self._waiting)
                self._on_trouble(self.trouble)
                self._tell(urgent=True)

    def _changed(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Done; in a new file where the old one turns out to be broken."""
        try:
            work(self._opened())
        except _TROUBLES as error:
            if not journal_file.is_broken(error):
                raise
            self._put_aside(error)
            work(self._opened())

    def _opened(self) -> sqlite3.Connection:
        assert self._path is not None
        if self._conn is not None and self._file != _identity(self._path):
            # SQLite would leave its log behind, where the new file's is to be.
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._close()
            self._renew(f"The journal {self._path} was moved away or removed while it was open.")
        if self._conn is None:
            try:
                self._conn = journal_file.opened(self._path)
            except _TROUBLES as error:
                if not journal_file.is_broken(error):
                    raise
                self._put_aside(error)
                self._conn = journal_file.opened(self._path)
            self._file = _identity(self._path)
        self._expire(self._conn)
        return self._conn

    def _expire(self, conn: sqlite3.Connection) -> None:
        """Now and then. It may fail: what it would have forgotten is there the next time."""
        if time.monotonic() >= self._expire_s:
            self._expire_s = time.monotonic() + EXPIRE_EVERY_S
            try:
                gone = journal_file.expire(conn, self._now())
            except sqlite3.OperationalError as error:
                log.warning("forgetting old migrations: %s", error)
            else:
                log.info("%d old migrations were forgotten", gone)

    def _put_aside(self, error: Exception) -> None:
        assert self._path is not None
        self._close()
        aside = journal_file.put_aside(self._path, str(error), self._now())
        self._renew(f"The journal {self._path} was broken: it is kept as {aside}.")

    def _renew(self, why: str) -> None:
        self._lost = f"{why} A new one is begun, and the history with it."
        self._renewed = True

    def _close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(sqlite3.Error):
                conn.close()


def _weighty(state: Migration) -> tuple[object, ...]:
    """What an engine that dies must not forget."""
    return (
        state.phase,
        state.called_at,
        state.verdict,
        state.volumes,
        state.prepared,
        state.carried,
        state.changed,
        state.suspended,
        state.post_copy,
        state.hold,
        state.abort_asked,
    )


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _sentence(path: Path | None, error: Exception, what: str) -> str:
    if isinstance(error, journal_file.NewerSchemaError):
        return (
            f"The journal {path} is a newer version's: it is left alone, and nothing is kept."
            " Use that version, or move the file away."
        )
    reason = "it did not answer in time" if isinstance(error, TimeoutError) else str(error)
    return (
        f"The journal {path} cannot be {what} ({reason}). Migrations go on; the history may lack"
        " them. Make room, or see who holds the file: it is tried again."
    )
