"""Whose files these are: what decides what is run, or is believed later, is nobody else's to write.

A file that tells us what to do (fleet file, SSH configuration) may be root's too; what the engine
itself keeps (its state) is its user's alone. Permissions are asked of the opened file where it is
read here, so that it cannot be another one by then.
"""

import os
import shlex
import stat
from pathlib import Path

from backend.errors import BadInput

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_own(path: Path, what: str) -> bytes:
    """A file of ours or root's that nobody else may write to; `what` begins the sentence.

    Raises:
        BadInput: It is not a file, somebody else's, or others may write to it.
        OSError: It cannot be opened or read.
    """
    # Without NONBLOCK a FIFO would hold us up for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _judge(os.fstat(descriptor), path, what, (os.getuid(), 0))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def require_private(path: Path, what: str) -> None:
    """A file, directory or socket that is ours; nothing happens where there is none.

    Raises:
        BadInput: It is somebody else's, or others may write to it, or it is a link.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise BadInput(
            f"{what} {path} is a link to another place.", f"Run: rm {shlex.quote(str(path))}"
        )
    _judge_writers(status, path, what, (os.getuid(),))


def _judge(status: os.stat_result, path: Path, what: str, owners: tuple[int, ...]) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"{what} {path} is not a file.", "Name a text file.")
    _judge_writers(status, path, what, owners)


def _judge_writers(status: os.stat_result, path: Path, what: str, owners: tuple[int, ...]) -> None:
    named = shlex.quote(str(path))
    if status.st_uid not in owners:
        raise BadInput(
            f"{what} {path} belongs to another user (uid {status.st_uid}).",
            f"See that its content is yours, then run: chown {os.getuid()} {named}"
            f" && chmod go-w {named}",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise BadInput(f"{what} {path} can be written by other users.", f"Run: chmod go-w {named}")
