"""Where the engine keeps its socket, lock and log, and how a long path becomes an address."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import BadInput
from backend.ownership import require_private

_OPEN_MOVES = "open"


def state_directory() -> Path:
    """The user's own state directory, made 0700 if missing.

    Raises:
        BadInput: It, or anything in it, is somebody else's or can be written by others: the engine
            would believe what they wrote.
    """
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(base) / "virt-ferry"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private(path, "The state directory")
        for directory in (path, path / _OPEN_MOVES):
            for name in os.listdir(directory) if directory.is_dir() else ():
                require_private(directory / name, "The state file")
    except OSError as error:
        raise BadInput(
            f"The state directory {path} cannot be used: {error.strerror}.",
            "Set XDG_STATE_HOME to a directory you can write.",
        ) from None
    return path


def socket_path() -> Path:
    """The engine's UNIX socket."""
    return state_directory() / "engine.sock"


def lock_path() -> Path:
    """Held (flock) by the one engine of this user; holds its pid."""
    return state_directory() / "engine.lock"


def log_path() -> Path:
    """The engine's log: tracebacks go here and nowhere else."""
    return state_directory() / "engine.log"


def history_path() -> Path:
    """What past migrations have taught (`run.history`)."""
    return state_directory() / "history.jsonl"


def journal_path() -> Path:
    """Every migration of this user's engines (`run.journal`)."""
    return state_directory() / "journal.db"


def open_moves_path() -> Path:
    """Moves in several steps that have no verdict yet (`run.open_moves`)."""
    return state_directory() / _OPEN_MOVES


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """An address for `path` within the 108 bytes of sockaddr_un, through its directory's fd."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, 0600 from its first moment."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    umask = os.umask(0o177)
    try:
        with short_address(path) as address:
            listener.bind(address)
    finally:
        os.umask(umask)
    listener.listen(32)
    listener.setblocking(False)
    return listener


def connect(path: Path) -> socket.socket:
    """A connected socket. Raises OSError when nobody listens."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_address(path) as address:
            client.connect(address)
    except OSError:
        client.close()
        raise
    client.setblocking(False)
    return client
