"""Digest of a file that does not read its holes: given to `python3 -c` on a host.

sha256 over the digests of its blocks of 1 MiB. A block of zeroes counts as a hole does, so the
digest says nothing about how the file is allocated. What a guest sees in an image is read through
an NBD server's UNIX socket, its data found by qemu-img: with the same digest as a raw file of that
content. It stands alone: Python 3.6 and its library.

Arguments: `PATH`, or `IMAGE FORMAT SOCKET EXPORT`.
Prints `at N` about twice a second and `digest HEX LENGTH` last.
"""

import errno
import hashlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time

BLOCK = 1 << 20
ZEROES = bytes(BLOCK)
HOLE = b"0"


def tell(at: int) -> None:
    print(f"at {at}", flush=True)


class File:
    """A file or block device as it lies on its disk."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self.length = os.lseek(self.fd, 0, os.SEEK_END)
        self.sparse = not stat.S_ISBLK(os.fstat(self.fd).st_mode)
        # What is on the disk counts, not what was written into memory a moment ago.
        self.forget(0, 0)

    def forget(self, at: int, size: int) -> None:
        os.posix_fadvise(self.fd, at, size, os.POSIX_FADV_DONTNEED)

    def next_data(self, at: int) -> int:
        """Where data begins at or after `at`; the length if nowhere."""
        if not self.sparse:
            return at
        try:
            return os.lseek(self.fd, at, os.SEEK_DATA)
        except OSError as error:
            return self.length if error.errno == errno.ENXIO else at

    def read(self, at: int, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = os.pread(self.fd, size - len(parts), at + len(parts))
            if not part:
                raise OSError(errno.EIO, "it is shorter than it was")
            parts = parts + part if parts else part
        self.forget(at, size)
        return parts


class Guest:
    """What a guest sees in an image, through an NBD server (its newstyle handshake)."""

    def __init__(self, image: str, form: str, path: str, export: str) -> None:
        self.way = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.way.connect(path)
        self.take(18)
        # No zero padding, fixed newstyle; then the option EXPORT_NAME, which ends the haggling.
        name = export.encode()
        self.way.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, len(name)) + name)
        self.length = int.from_bytes(self.take(10)[:8], "big")
        found = subprocess.run(
            ["qemu-img", "map", "--output=json", "-U", "-f", form, "--", image],
            stdout=subprocess.PIPE,
            check=True,
        )
        ranges = json.loads(found.stdout.decode())
        self.data = [(r["start"], r["start"] + r["length"]) for r in ranges if not r["zero"]]
        self.data.reverse()

    def take(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.way.recv(size - len(parts))
            if not part:
                raise OSError(errno.EIO, "its NBD server went away")
            parts += part
        return bytes(parts)

    def next_data(self, at: int) -> int:
        """Only for rising `at`."""
        while self.data and self.data[-1][1] <= at:
            self.data.pop()
        return max(at, self.data[-1][0]) if self.data else self.length

    def read(self, at: int, size: int) -> bytes:
        self.way.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, at, size))
        _magic, error, _cookie = struct.unpack(">IIQ", self.take(16))
        if error:
            raise OSError(error, os.strerror(error))
        return self.take(size)


def digest(content: "File | Guest") -> str:
    """Of a content and its length."""
    at, said, length = 0, 0.0, content.length
    total = hashlib.sha256()
    while at < length:
        first = min(content.next_data(at), length)
        # Holes up to the block in which the next data lies.
        holes = length if first >= length else first // BLOCK * BLOCK
        while at < holes:
            total.update(HOLE)
            at += BLOCK
        if at >= length:
            break
        block = content.read(at, min(BLOCK, length - at))
        if block == ZEROES[: len(block)]:
            total.update(HOLE)
        else:
            total.update(b"1" + hashlib.sha256(block).digest())
        at += len(block)
        if time.monotonic() - said > 0.5:
            said = time.monotonic()
            tell(at)
    total.update(b"%d" % length)
    return f"{total.hexdigest()} {length}"


if __name__ == "__main__":
    try:
        given = sys.argv[1:]
        print("digest " + digest(File(given[0]) if len(given) == 1 else Guest(*given)), flush=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"failed {getattr(error, 'strerror', None) or error}", flush=True)
        sys.exit(1)
