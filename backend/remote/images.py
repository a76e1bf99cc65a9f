"""Image files on a host: what they are, whether they are whole, where their data lies.

Formats are given, never probed: what a guest wrote into a raw disk could look like another
format's header that names other files of the host.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from backend.errors import BadDocument, BadInput, CopyFailed, plain, without_passwords
from backend.remote.shell import CommandResult, Shell, run_script

FACTS_LIMIT_S = 30.0
CHECK_LIMIT_S = 3600.0
_MAP_LIMIT_S = 120.0
_SYNC_LIMIT_S = 900.0
_BUCKETS = 512
_NO_KEY = re.compile(r"'(encrypt\.)?key-secret' is required")
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading JSON of another shape than expected raises."""

_INFO = 'exec qemu-img info --output=json --backing-chain -U -f "$2" -- "$1"'
_CHECK = 'exec qemu-img check --output=json $3 -f "$2" -- "$1"'
_REBASE = 'exec qemu-img rebase -u -f qcow2 -F "$3" -b "$2" -- "$1"'
_STAT = r"""
[ -e "$1" ] || { echo "there is no such file" >&2; exit 1; }
if [ -b "$1" ]; then echo "block $(blockdev --getsize64 "$1") 0 0 0"
elif [ -f "$1" ]; then stat -L -c "file %s %b %i %y" -- "$1"
else echo "it is neither a file nor a block device" >&2; exit 1; fi
"""
_TRUNCATE = 'exec truncate -s "$2" -- "$1"'
_TAIL = 'exec 2>/dev/null; tail -c "$2" -- "$1" | base64'
# What a guest wrote is part of the script, not a word of a command: those are seen by others.
_PATCH = """base64 -d <<'END' | dd of="$1" bs=1 seek="$2" conv=notrunc 2>&1 >/dev/null
%s
END
"""
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
_SYNC = 'sync -- "$1" 2>/dev/null || exec sync'
# mawk's %d ends at 2^31.
_MAP = r"""
qemu-img map --output=json -U -f "$2" -- "$1" | awk -v step="$3" '
match($0, /"start": [0-9]+/) {
  at = substr($0, RSTART + 9, RLENGTH - 9) + 0
  match($0, /"length": [0-9]+/); end = at + substr($0, RSTART + 10, RLENGTH - 10)
  if ($0 !~ /"data": true/) next
  if ($0 ~ /"zero": true/) { laid += end - at; next }
  extents++
  while (at < end) {
    k = int(at / step); upto = (k + 1) * step; if (upto > end) upto = end
    sum[k] += upto - at; at = upto
  }
  if (k > last) last = k
}
END {
  printf "%.0f %.0f", extents, laid
  for (k = 0; k <= last; k++) printf " %.0f", sum[k]
  print ""
}'
"""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file as `stat` sees it; two that are equal: nobody wrote to it in between."""

    is_block_device: bool
    length_bytes: int
    allocated_bytes: int = field(compare=False)
    """File systems settle this long after the last write."""
    inode: int
    changed: str
    """When its data last changed, as the host's `stat` writes it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An internal snapshot."""

    id: str
    name: str
    state_bytes: int
    """Of memory; 0: of the disk alone."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What `qemu-img info` says, and the file's length."""

    path: str
    format: str
    virtual_bytes: int
    length_bytes: int
    allocated_bytes: int
    snapshots: tuple[Snapshot, ...] = ()
    backing: tuple["ImageFacts", ...] = ()
    """Its backing images, the nearest first."""
    compressed: bool = False
    encrypted: bool = False
    data_file: str | None = None
    """Where its data lies when that is not in the image itself."""
    dirty: bool = False
    below: str | None = None
    """What it calls the one below it: a path, perhaps a relative one."""
    below_format: str | None = None
    """None: it does not say."""
    cluster_bytes: int | None = None
    """None: its format has none."""


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """What `qemu-img check` found."""

    corruptions: int = 0
    leaks: int = 0
    errors: int = 0
    """Places that could not be checked."""
    has_checks: bool = True
    """False: the format (raw) has nothing that could be checked."""
    sealed: bool = False
    """It is encrypted, and nobody here has its key."""

    @property
    def clean(self) -> bool:
        """Nothing is wrong; leaked clusters only waste room."""
        return not self.corruptions and not self.errors

    @property
    def words(self) -> str:
        """As the part of a sentence that follows what was checked."""
        if self.sealed:
            return "is encrypted, so qemu-img cannot check it"
        if not self.has_checks:
            return "has a format that qemu-img has no check for"
        if self.corruptions:
            return f"FAILS qemu-img check: {self.corruptions} corruptions"
        if self.errors:
            return f"could not be checked by qemu-img in {self.errors} places"
        leaks = f" but for {self.leaks} leaked clusters" if self.leaks else ""
        return f"passes qemu-img check{leaks}"


@dataclass(frozen=True, slots=True)
class DataMap:
    """How much data lies in each of up to 512 equal parts of an image."""

    step_bytes: int
    extents: int
    parts: tuple[int, ...]
    laid_out_bytes: int = 0
    """Beside that: what has its place in the image, and was never written (qcow2's preallocation of
    metadata). Who copies by clusters takes it for data."""

    @property
    def data_bytes(self) -> int:
        """Of data in all."""
        return sum(self.parts)

    def before(self, offset_bytes: int) -> int:
        """Bytes of data before an offset, to within a part."""
        whole, rest = divmod(max(0, offset_bytes), self.step_bytes)
        here = self.parts[whole] if whole < len(self.parts) else 0
        return sum(self.parts[:whole]) + min(here, rest)


async def image_facts(shell: Shell, path: str, format: str) -> ImageFacts:
    """What an image is, with its backing chain.

    Raises:
        CopyFailed: It is not there, or not an image of that format.
        BadDocument: What came back cannot be read.
        HostUnreachable: The host does not answer.
    """
    done = await _script(shell, _INFO, path, format)
    stamp = await file_stamp(shell, path)
    if done.exit_status != 0:
        raise _failed(shell, path, "cannot be read", done)
    return parse_facts(shell.name, done.stdout, stamp)


def parse_facts(host: str, text: str, stamp: FileStamp) -> ImageFacts:
    """The JSON of `qemu-img info --backing-chain`. Raises BadDocument."""
    try:
        first, *rest = json.loads(text)
        backing = tuple(_facts(one, int(one.get("actual-size", 0))) for one in rest)
        return _facts(first, stamp.length_bytes, backing)
    except UNREADABLE:
        raise BadDocument(f"What qemu-img said of an image on {host} cannot be read.") from None


def _facts(one: dict[str, Any], length: int, backing: tuple[ImageFacts, ...] = ()) -> ImageFacts:
    special = one.get("format-specific", {}).get("data", {})
    return ImageFacts(
        without_passwords(str(one["filename"])),
        str(one["format"]),
        int(one["virtual-size"]),
        length,
        int(one.get("actual-size", 0)),
        tuple(
            Snapshot(str(shot["id"]), str(shot["name"]), int(shot["vm-state-size"]))
            for shot in one.get("snapshots", ())
        ),
        backing,
        bool(one.get("compressed")),
        bool(one.get("encrypted")),
        special.get("data-file") or special.get("extended-l2-data-file"),
        bool(one.get("dirty-flag")),
        below=one.get("backing-filename"),
        below_format=one.get("backing-filename-format"),
        cluster_bytes=int(one["cluster-size"]) if "cluster-size" in one else None,
    )


async def check_image(
    shell: Shell,
    path: str,
    format: str,
    timeout_s: float = CHECK_LIMIT_S,
    *,
    in_use: bool = False,
) -> ImageCheck:
    """QEMU's own check of an image that nobody writes to. `in_use`: somebody does, and what changes
    meanwhile may look wrong: believe only that it is right.

    Raises:
        CopyFailed: It is in use, or cannot be read at all.
        CallTimedOut: It did not end in time.
        HostUnreachable: The host does not answer.
    """
    flag = "-U" if in_use else ""
    done = await _script(shell, _CHECK, path, format, flag, timeout_s=timeout_s)
    # 0 clean, 2 corruptions, 3 leaks, 63 a format without checks; else it could not check.
    if done.exit_status == 63:
        return ImageCheck(has_checks=False)
    if done.exit_status == 1 and _NO_KEY.search(done.stderr):
        return ImageCheck(has_checks=False, sealed=True)
    if done.exit_status not in (0, 2, 3):
        raise _failed(shell, path, "cannot be checked", done)
    return parse_check(shell.name, done.stdout)


def parse_check(host: str, text: str) -> ImageCheck:
    """The JSON of `qemu-img check`. Raises BadDocument."""
    try:
        found = json.loads(text)
        return ImageCheck(
            int(found.get("corruptions", 0)),
            int(found.get("leaks", 0)),
            int(found.get("check-errors", 0)),
        )
    except UNREADABLE:
        raise BadDocument(f"What qemu-img said of an image on {host} cannot be read.") from None


async def name_below(shell: Shell, path: str, below: tuple[str, str]) -> None:
    """Let a qcow2 image call the one below it by another path; not a byte of data is read or
    written. `below`: its path and format. Raises CopyFailed."""
    done = await _script(shell, _REBASE, path, absolute(below[0]), below[1])
    if done.exit_status != 0:
        raise _failed(shell, path, f"cannot be put on {below[0]}", done)


async def file_stamp(shell: Shell, path: str) -> FileStamp:
    """A file's length and the like. Raises CopyFailed when it is not there."""
    done = await _script(shell, _STAT, path)
    words = done.stdout.strip().split(" ", 4)
    if done.exit_status != 0 or len(words) != 5 or not all(map(str.isdigit, words[1:4])):
        raise _failed(shell, path, "cannot be read", done)
    length, blocks, inode = map(int, words[1:4])
    return FileStamp(words[0] == "block", length, blocks * 512, inode, words[4])


async def set_length(shell: Shell, path: str, length_bytes: int) -> None:
    """Cut or extend (with a hole) a file. Raises CopyFailed."""
    done = await _script(shell, _TRUNCATE, path, str(length_bytes))
    if done.exit_status != 0:
        raise _failed(shell, path, "cannot be given its length", done)


async def copy_tail(
    source: Shell, source_path: str, target: Shell, target_path: str, tail: tuple[int, int]
) -> None:
    """Copy the last few bytes of a file; `tail`: where they begin, and how many.

    Raises:
        CopyFailed: They cannot be read or written.
    """
    at, size = tail
    read = await _script(source, _TAIL, source_path, str(size))
    encoded = "".join(read.stdout.split())
    if len(encoded) != -(-size // 3) * 4 or not _BASE64.fullmatch(encoded):
        raise CopyFailed(f"{source_path} on {source.name} cannot be read to its end.")
    done = await _script(target, _PATCH % encoded, target_path, str(at))
    if (await file_stamp(target, target_path)).length_bytes < at + size:
        raise _failed(target, target_path, "cannot be written to its end", done)


async def sync_file(shell: Shell, path: str) -> None:
    """Wait until it is on its disk. Raises CopyFailed, CallTimedOut."""
    done = await _script(shell, _SYNC, path, timeout_s=_SYNC_LIMIT_S)
    if done.exit_status != 0:
        raise _failed(shell, path, "cannot be written to its disk", done)


async def data_map(shell: Shell, path: str, format: str, length_bytes: int) -> DataMap:
    """Where an image's data lies; all of it data where that cannot be known."""
    step = max(1, -(-length_bytes // _BUCKETS))
    done = await _script(shell, _MAP, path, format, str(step), timeout_s=_MAP_LIMIT_S)
    figures = [int(word) for word in done.stdout.split() if word.isdigit()]
    if done.exit_status != 0 or len(figures) < 2 or (figures[0] == 0 and done.stderr.strip()):
        parts = [step] * (length_bytes // step) + [length_bytes % step]
        return DataMap(step, 1, tuple(parts))
    return DataMap(step, figures[0], tuple(figures[2:]), figures[1])


def absolute(path: str) -> str:
    """`path`, if QEMU can take it for nothing but a file. Raises BadInput."""
    if not path.startswith("/") or "\0" in path:
        raise BadInput(f"{path!r} is not an absolute path.")
    return path


async def _script(
    shell: Shell, script: str, path: str, *more: str, timeout_s: float = FACTS_LIMIT_S
) -> CommandResult:
    script = f"export LC_ALL=C\n{script}"
    return await run_script(shell, script, absolute(path), *more, timeout_s=timeout_s)


def _failed(shell: Shell, path: str, what: str, done: CommandResult) -> CopyFailed:
    if done.exit_status == 127:
        return CopyFailed(f"{shell.name} has no qemu-img.", "Install it there (qemu-utils).")
    last = done.stderr.strip().splitlines()[-1:]
    said = plain(last[0], 200).rstrip(".") if last else f"exit status {done.exit_status}"
    return CopyFailed(f"{path} on {shell.name} {what}: {said}.")
