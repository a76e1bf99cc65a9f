"""Reports on the disk: private, and never in another file's place unasked."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from backend.service.client import BadInput, own_version
from tui import recording
from tui.export import markdown, page
from tui.render import units
from tui.render.ink import clean
from tui.replay import Recording

ENDINGS = (".html", ".md", ".jsonl")


def made_now() -> str:
    """When a report is made, and by what."""
    return f"Made {units.stamp(time.time())} by virt-ferry {own_version()}."


def written_as(ending: str, recordings: Sequence[Recording]) -> bytes:
    """A file's content: one of `ENDINGS`."""
    if ending == ".jsonl":
        return recording.encode(recordings)
    form = page.page if ending == ".html" else markdown.document
    return form(recordings, made_now()).encode()


def write(path: Path, content: bytes, force: bool = False) -> None:
    """A new file, 0600; nothing of it stays where it could not be written. Raises BadInput."""
    name = clean(str(path))
    try:
        if force:
            _replace(path, content)
        else:
            _create(path, content)
    except FileExistsError:
        raise BadInput(
            f"{name} exists and is left as it is.", "Name another, or --force."
        ) from None
    except OSError as error:
        raise BadInput(f"{name} cannot be written: {error.strerror}.", "Name another.") from None


def _create(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _replace(path: Path, content: bytes) -> None:
    """What was there stays until the new one is whole."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    _create(scratch, content)
    try:
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def default_name(vm: str, started: float) -> str:
    """A name for the report of a VM's migration, of harmless characters; `started`: epoch s."""
    word = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in vm)
    day = time.strftime("%Y-%m-%d", time.localtime(started))
    return f"{word.lstrip('.-')[:60] or 'vm'}-{day}.html"
