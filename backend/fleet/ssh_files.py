"""The SSH configurations that a fleet reads: each can name a command to run (ProxyCommand), so it
must be ours. OpenSSH refuses such a file too; asyncssh does not look."""

import shlex
from pathlib import Path

from backend.errors import BadInput
from backend.ownership import read_own

_WHAT = "The SSH configuration"
_MOST_FILES = 256


def own_configs(named: str | None) -> None:
    """Check the file that a fleet names (None: the user's own, if there is one) and all that it
    includes.

    Raises:
        BadInput: One of them is somebody else's, can be written by others, or cannot be read.
    """
    home = Path("~/.ssh/config").expanduser()
    first = Path(named) if named is not None else home
    if named is None and not first.exists():
        return
    left, seen = [first], set[Path]()
    while left and len(seen) < _MOST_FILES:
        path = left.pop()
        if path not in seen:
            seen.add(path)
            left += _included(_text(path), home.parent)


def _text(path: Path) -> str:
    try:
        return read_own(path, _WHAT).decode("utf-8", "replace")
    except OSError as error:
        raise BadInput(
            f"{_WHAT} {path} cannot be read: {error.strerror}.",
            "Name one that is there, or leave ssh_config out of the fleet file.",
        ) from None


def _included(text: str, home: Path) -> list[Path]:
    """As asyncssh finds them: relative ones in ~/.ssh, those that are not there left out."""
    found: list[Path] = []
    for line in text.splitlines():
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() == "include":
            for pattern in _words(rest):
                found += _matching(pattern, home)
    return found


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError:
        return rest.split()


def _matching(pattern: str, home: Path) -> list[Path]:
    try:
        path = Path(pattern).expanduser()
        base = Path(path.anchor) if path.anchor else home
        inside = str(path.relative_to(path.anchor)) if path.anchor else str(path)
        return [one for one in base.glob(inside) if one.is_file()]
    except (OSError, RuntimeError, ValueError):
        return []
