"""Room that an image has reserved and not written to (preallocated), reserved for its copy too.

A copy finds nothing to carry where nothing was written, and leaves a hole there: what the guest
reads is right, yet the room that was set aside for it is not. Reserving never changes content.
"""

from collections.abc import Iterable

from backend.errors import CopyFailed, FerryError, plain
from backend.remote.images import absolute, file_stamp
from backend.remote.shell import Shell, run_script

TOLERANCE = 0.05
"""Two images of which one takes so much more than the other take the same."""
SLACK_BYTES = 64 << 10
MOST_RANGES = 20_000
_LIMIT_S = 300.0

Range = tuple[int, int]
"""Where it begins, and its length."""

# `0:  0..  2047:  34816..  36863:  2048:  last,unwritten,eof`, in KiB as -b1024 has it.
_RESERVED = r"""
export LC_ALL=C
command -v filefrag >/dev/null || exit 127
filefrag -b1024 -v -- "$1" | awk -F'[ .:]+' '
/unwritten/ { sub(/^ +/, ""); printf "%.0f %.0f\n", 1024 * $2, 1024 * ($3 - $2 + 1) }'
"""
_RESERVE = """
export LC_ALL=C
while read -r at length; do
  fallocate --keep-size --offset "$at" --length "$length" "$1" || exit 1
done <<'END'
%s
END
"""


def takes_less(there_bytes: int, here_bytes: int) -> bool:
    """By more than what counts as the same."""
    return there_bytes + SLACK_BYTES < (1 - TOLERANCE) * here_bytes


def takes_more(there_bytes: int, here_bytes: int) -> bool:
    """By more than what counts as the same."""
    return there_bytes - SLACK_BYTES > (1 + TOLERANCE) * here_bytes


async def keep_reserved(
    source: Shell,
    source_path: str,
    target: Shell,
    target_path: str,
    *,
    virtual_bytes: int | None = None,
) -> str:
    """Reserve for a copy what its original has reserved; why it was not, as a sentence's part.

    `virtual_bytes`: of an image in which what the guest sees lies elsewhere than in its copy; only
    where it takes that whole size it is reserved, and else what it takes beside its data may be
    what it has freed.
    """
    try:
        here = await file_stamp(source, source_path)
        there = await file_stamp(target, target_path)
        if here.is_block_device or not takes_less(there.allocated_bytes, here.allocated_bytes):
            return ""
        whole = here.allocated_bytes >= max(here.length_bytes, virtual_bytes or 0)
        ranges: tuple[Range, ...] = ((0, here.length_bytes),) if whole else ()
        if not whole and virtual_bytes is None:
            ranges = await _reserved(source, source_path)
        if ranges:
            await _reserve(target, target_path, ranges)
    except FerryError as error:
        why = error.sentence.rstrip(".")
        return f"the room reserved for it on {source.name} was not reserved again ({why})"
    return ""


async def _reserved(shell: Shell, path: str) -> tuple[Range, ...]:
    """Where a file has room that nothing was written to. Raises CopyFailed."""
    done = await run_script(shell, _RESERVED, absolute(path), timeout_s=_LIMIT_S)
    if done.exit_status == 127:
        raise CopyFailed(f"{shell.name} has no filefrag, so where it lies is not known.")
    figures = done.stdout.split()
    if done.exit_status != 0 or len(figures) % 2 or not all(map(str.isdigit, figures)):
        raise CopyFailed(f"{shell.name} does not tell where it lies.")
    return joined(zip(map(int, figures[::2]), map(int, figures[1::2]), strict=True))


def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Those that touch are one."""
    found: list[Range] = []
    for at, length in sorted(ranges):
        if found and at <= sum(found[-1]):
            begin = found[-1][0]
            found[-1] = (begin, max(sum(found[-1]), at + length) - begin)
        else:
            found.append((at, length))
    return tuple(found)


async def _reserve(shell: Shell, path: str, ranges: tuple[Range, ...]) -> None:
    """Never changes what is read, nor the file's length. Raises CopyFailed."""
    if len(ranges) > MOST_RANGES:
        raise CopyFailed(f"it lies in {len(ranges)} pieces.")
    lines = "\n".join(f"{at} {length}" for at, length in ranges)
    done = await run_script(shell, _RESERVE % lines, absolute(path), timeout_s=_LIMIT_S)
    if done.exit_status != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.exit_status}"]
        raise CopyFailed(f"{shell.name}: {plain(last[0], 200).rstrip('.')}.")
