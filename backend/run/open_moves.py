"""What an engine that dies must not forget: each move in several steps, as it stands, in a file
of its own that is there before the first thing is made and gone after the verdict."""

import logging
import os
from pathlib import Path

import msgspec

from backend.model import Migration

log = logging.getLogger(__name__)


class OpenMoves:
    """A directory of them, 0700; no directory: nothing is kept. Never raises for a file that
    cannot be written or read: a move goes on without it, and says so."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def keep(self, state: Migration) -> bool:
        """Write it, whole or not at all, before anything else happens; False if it could not."""
        if self._directory is None:
            return True
        path = self._path(state.id)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(state))
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            log.warning("keeping %s: %s", path, error)
            return False
        return True

    def keep_running(self, state: Migration) -> None:
        """As it stands, until it has its verdict: then it is `forget`'s."""
        if state.running and not self.keep(state):
            log.warning("move %s goes on without its file", state.id)

    def forget(self, migration_id: str) -> None:
        """It has a verdict that stands."""
        if self._directory is not None:
            try:
                self._path(migration_id).unlink(missing_ok=True)
            except OSError as error:
                log.warning("forgetting %s: %s", migration_id, error)

    def found(self) -> tuple[Migration, ...]:
        """Those that an engine before this one has left open, oldest first."""
        if self._directory is None or not self._directory.is_dir():
            return ()
        states = (self._read(path) for path in self._directory.glob("*.json"))
        return tuple(sorted((one for one in states if one), key=lambda state: state.started))

    def _read(self, path: Path) -> Migration | None:
        try:
            state = msgspec.json.decode(path.read_bytes(), type=Migration)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            log.warning("reading %s: %s", path, error)
            return None
        if path != self._path(state.id):
            log.warning("reading %s: it says that it is %r", path, state.id)
            return None
        return state

    def _path(self, migration_id: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{migration_id}.json"
