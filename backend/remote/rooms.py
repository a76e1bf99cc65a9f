"""Directories on a host, there or not, and the room below them: many at once over SSH."""

import re
from dataclasses import dataclass

from backend.remote.shell import Shell, run_script

_ROOMS_SCRIPT = r"""
export LC_ALL=C
for d in "$@"; do
  if [ -d "$d" ]; then
    u=$d; s=there
    [ -r "$d" ] && [ -z "$(ls -A -- "$d" 2>&1 | head -n 1)" ] && s=empty
  elif [ -e "$d" ] || [ -L "$d" ]; then s=taken; u=
  else u=$(dirname -- "$d"); if [ -d "$u" ]; then s=free; else s=far; u=; fi
  fi
  k=-; [ -n "$u" ] && k=$(df -Pk -- "$u" 2>/dev/null | tail -n 1 | tr -s '\t' ' ')
  echo "$s $k"
done
"""

_AVAILABLE = re.compile(r" \d+ +\d+ +(\d+) +\d+% ")


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """Where a directory is, or could be made."""

    there: bool
    """It is a directory."""
    empty: bool
    """And nothing is in it."""
    could_be: bool
    """Nothing has its name, and the directory above it is there."""
    available_bytes: int | None = None
    """Of the file system that it lies on, or would."""


async def probe_rooms(shell: Shell, paths: tuple[str, ...]) -> dict[str, RoomFacts]:
    """Each directory, or where it would be. Raises HostUnreachable."""
    if not paths:
        return {}
    printed = (await run_script(shell, _ROOMS_SCRIPT, *paths)).stdout.splitlines()
    return dict(zip(paths, map(parse_room, printed), strict=False))


def parse_room(line: str) -> RoomFacts:
    """A word, and the last line of `df -Pk`."""
    state, _, rest = line.partition(" ")
    found = _AVAILABLE.search(f" {rest} ")
    available = int(found.group(1)) * 1024 if found else None
    return RoomFacts(state in ("there", "empty"), state == "empty", state == "free", available)
