"""One `virt-ferry run` per fleet and user: a lock held by the process, gone with it."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import BadInput
from backend.service import paths
from backend.service.protocol import FleetChoice


@contextmanager
def only_run(choice: FleetChoice) -> Iterator[None]:
    """Be the one that acts by this fleet's rules. Raises BadInput where another process is."""
    lock = os.open(_path(choice), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 20).decode() or "not known"
            raise BadInput(
                f"`virt-ferry run` is at work for this fleet already (pid {pid}): two would act"
                " twice.",
                f"Leave it to that one, or end it first: kill {pid}.",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def _path(choice: FleetChoice) -> Path:
    """The same file by another name is the same fleet."""
    named = os.path.realpath(choice.path) if choice.path else " ".join(sorted(choice.uris))
    tag = hashlib.sha256(named.encode()).hexdigest()[:16]
    return paths.state_directory() / f"run-{tag}.lock"
