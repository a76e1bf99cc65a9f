"""Whether files of one path on several hosts look like one file: read only, nothing is written.

A shared file has one inode number and one time of birth wherever it is seen (NFS hands the
server's numbers on). That is good evidence for a table; a plan proves it with a token.
"""

from collections.abc import Mapping, Sequence

from backend.remote.shell import Shell, run_script

FileMark = tuple[int, int]
"""Inode number and time of birth (epoch seconds, 0 where the file system does not keep it)."""

_SCRIPT = r"""
export LC_ALL=C
for f in "$@"; do stat -L -c '%i %W' -- "$f" 2>/dev/null || echo none; done
"""


async def file_marks(shell: Shell, paths: Sequence[str]) -> dict[str, FileMark | None]:
    """The mark of each path; None where there is no such file. Raises HostUnreachable."""
    if not paths:
        return {}
    lines = (await run_script(shell, _SCRIPT, *paths)).stdout.splitlines()
    lines += ["none"] * (len(paths) - len(lines))
    return {path: _mark(line) for path, line in zip(paths, lines, strict=False)}


def _mark(line: str) -> FileMark | None:
    words = line.split()
    try:
        return int(words[0]), max(0, int(words[1]))
    except (IndexError, ValueError):
        return None


def looks_shared(marks: Mapping[str, FileMark | None], own: str) -> bool | None:
    """Whether host `own` shares the file with every other host asked; None if that is not clear.

    `marks` is by host, of one path. Shared with some and not with others is not clear.
    """
    mine = marks.get(own)
    others = [mark for host, mark in marks.items() if host != own]
    if mine is None or not others:
        return None
    same = [mark is not None and _same(mine, mark) for mark in others]
    return True if all(same) else None if any(same) else False


def _same(one: FileMark, other: FileMark) -> bool:
    births_agree = 0 in (one[1], other[1]) or one[1] == other[1]
    return one[0] == other[0] and births_agree
