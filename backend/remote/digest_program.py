"""Digest of a file that does not read its holes: given to `python3 -c` on a host.

sha256 over the digests of its blocks of 1 MiB. A block of zeroes counts as a hole does, so the
digest says nothing about how the file is allocated. It stands alone: Python 3.6 and its library.
Prints `at N` about twice a second and `digest HEX LENGTH` last.
"""

import errno
import hashlib
import os
import stat
import sys
import time

BLOCK = 1 << 20
ZEROES = bytes(BLOCK)
HOLE = b"0"


def tell(at: int) -> None:
    print(f"at {at}", flush=True)


def length_of(fd: int) -> int:
    return os.lseek(fd, 0, os.SEEK_END)


def next_data(fd: int, at: int, length: int) -> int:
    """Where data begins at or after `at`; `length` if nowhere."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return length
        return at


def forget(fd: int, at: int, size: int) -> None:
    os.posix_fadvise(fd, at, size, os.POSIX_FADV_DONTNEED)


def whole(fd: int, at: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.pread(fd, size, at)
        if not part:
            raise OSError(errno.EIO, "it is shorter than it was")
        parts.append(part)
        at, size = at + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def digest(path: str) -> str:
    """Of the file at `path`, and its length."""
    fd = os.open(path, os.O_RDONLY)
    try:
        # What is on the disk counts, not what was written into memory a moment ago.
        forget(fd, 0, 0)
        length, at, said = length_of(fd), 0, 0.0
        sparse = not stat.S_ISBLK(os.fstat(fd).st_mode)
        total = hashlib.sha256()
        while at < length:
            first = min(next_data(fd, at, length), length) if sparse else at
            # Holes up to the block in which the next data lies.
            holes = length if first >= length else first // BLOCK * BLOCK
            while at < holes:
                total.update(HOLE)
                at += BLOCK
            if at >= length:
                break
            block = whole(fd, at, min(BLOCK, length - at))
            if block == ZEROES[: len(block)]:
                total.update(HOLE)
            else:
                total.update(b"1" + hashlib.sha256(block).digest())
            forget(fd, at, len(block))
            at += len(block)
            if time.monotonic() - said > 0.5:
                said = time.monotonic()
                tell(at)
        total.update(b"%d" % length)
        return f"{total.hexdigest()} {length}"
    finally:
        os.close(fd)


if __name__ == "__main__":
    try:
        print("digest " + digest(sys.argv[1]), flush=True)
    except OSError as error:
        print(f"failed {error.strerror or error}", flush=True)
        sys.exit(1)
