"""What the guests boot: the kernel that setup.sh fetched, and an initramfs made here.

The initramfs holds one program (`guest.c`, compiled once and cached) and the kernel's virtio
modules, nothing else.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from backend.lab.errors import LabError
from backend.lab.layout import CACHE_ROOT, Lab
from backend.lab.shell import run

KERNEL_FOLDER = CACHE_ROOT / "kernel"

_SOURCE = Path(__file__).with_name("guest.c")
_COMPILE = ("gcc", "-static", "-O2", "-fno-tree-vectorize", "-s")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of the initramfs."""

    name: str
    mode: int
    content: bytes = b""


def install_boot_files(lab: Lab) -> None:
    """Put kernel and initramfs where the lab's hosts find them."""
    kernel = KERNEL_FOLDER / "vmlinuz"
    if not kernel.exists():
        raise LabError(f"There is no guest kernel in {KERNEL_FOLDER}. Run ./backend/lab/setup.sh.")
    lab.boot.mkdir(exist_ok=True)
    write_new(lab.boot / "initramfs", initramfs())
    write_new(lab.boot / "vmlinuz", kernel.read_bytes())


def initramfs() -> bytes:
    """The whole archive, uncompressed: under emulation, unpacking costs more than reading."""
    modules = sorted((KERNEL_FOLDER / "modules").glob("*.ko"))
    folders = [Entry(name, stat.S_IFDIR | 0o755) for name in ("dev", "modules")]
    program = Entry("init", stat.S_IFREG | 0o755, guest_program().read_bytes())
    files = [Entry(f"modules/{m.name}", stat.S_IFREG | 0o644, m.read_bytes()) for m in modules]
    # The kernel opens /dev/console for process 1 before anything can mount /dev.
    console = Entry("dev/console", stat.S_IFCHR | 0o600)
    return archive([*folders, console, program, *files])


def guest_program() -> Path:
    """The compiled guest, from the cache if this source was compiled before."""
    source = _SOURCE.read_bytes()
    key = hashlib.sha256(source + " ".join(_COMPILE).encode()).hexdigest()[:16]
    target = CACHE_ROOT / "guest" / key
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_suffix(f".{os.getpid()}")
        run([*_COMPILE, "-o", scratch, _SOURCE], timeout_s=60)
        os.replace(scratch, target)
    return target


def archive(entries: list[Entry]) -> bytes:
    """A cpio archive in the "newc" form, which is what the kernel unpacks."""
    members = [*entries, Entry("TRAILER!!!", 0)]
    return b"".join(_member(number, entry) for number, entry in enumerate(members, start=1))


def _member(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    major, minor = (5, 1) if stat.S_ISCHR(entry.mode) else (0, 0)
    fields = (
        inode, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, major, minor, len(name), 0
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def write_new(path: Path, content: bytes) -> None:
    """Replace a file, never rewrite it: a running guest's host may have it open."""
    scratch = path.with_suffix(".new")
    scratch.write_bytes(content)
    os.replace(scratch, path)
