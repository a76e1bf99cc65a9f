"""Images on two hosts of the lab, and what shows whether a copy is right."""

import os
import random
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.conftest import Lab

MIB = 1024 * 1024
QEMU = ("qemu-system-x86_64", "-M", "q35", "-display", "none", "-S")
ON_HOST = "/var/lib/libvirt/images"


@dataclass(frozen=True, slots=True)
class Images:
    """The folder of images of one host: `path` as the host sees it, `file` as this machine."""

    lab: Lab
    host: str

    @property
    def folder(self) -> Path:
        return self.lab.fleet.parent / "hosts" / self.host / "lib" / "images" / "copies"

    def file(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def path(self, name: str) -> str:
        self.file(name)
        return f"{ON_HOST}/copies/{name}"


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of image; `make` leaves one at the path."""

    name: str
    format: str
    make: Callable[[Path], None]
    snapshots: tuple[str, ...] = ()


def run(*words: str | Path, check: bool = True) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=60, check=False
    )
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def scatter(path: Path, length: int, pieces: int, size: int = 4096, seed: int = 1) -> None:
    """A file with holes and pieces of random bytes at random places."""
    chance = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(length)
        for _ in range(pieces):
            file.seek(chance.randrange(length // size) * size)
            file.write(chance.randbytes(size)[: max(0, length - file.tell())])


def filled(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def qcow2(path: Path, options: str = "", *, size: str = "64M", fill: bool = True) -> None:
    """An image with some data in it; `options` as `qemu-img create -o`."""
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", *(("-o", options) if options else ()), path, size
    )
    if fill:
        write(path, (0, 3 * MIB, 1), (20 * MIB, 2 * MIB, 2), (33 * MIB + 512, 12 * 1024, 3))


def write(path: Path, *parts: tuple[int, int, int]) -> None:
    """Offset, size and byte of what a guest writes."""
    commands = [f"write -P {byte} {at} {size}" for at, size, byte in parts]
    run("qemu-io", "-f", "qcow2", *(w for command in commands for w in ("-c", command)), path)


def _compressed(path: Path) -> None:
    raw = path.with_suffix(".tmp")
    scatter(raw, 24 * MIB, 300)
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path)
    raw.unlink()


def _with_snapshots(path: Path) -> None:
    qcow2(path)
    run("qemu-img", "snapshot", "-c", "first", path)
    write(path, (1 * MIB, MIB, 9))
    run("qemu-img", "snapshot", "-c", "second", path)
    write(path, (0, MIB, 10), (40 * MIB, MIB, 11))


def _larger_than_its_disk(path: Path) -> None:
    """Snapshots of a small disk that was rewritten: more in the file than a guest can see."""
    qcow2(path, size="4M", fill=False)
    for byte in (1, 2, 3):
        write(path, (0, 4 * MIB, byte))
        run("qemu-img", "snapshot", "-c", f"s{byte}", path)
    assert path.stat().st_size > 8 * MIB


def with_backing(path: Path) -> None:
    """An image on a base beside it."""
    base = path.with_name("base.qcow2")
    qcow2(base)
    options = f"backing_file={base.name},backing_fmt=qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path)
    write(path, (10 * MIB, MIB, 77))


def _with_bitmap(path: Path) -> None:
    qcow2(path)
    run("qemu-img", "bitmap", "--add", "--enable", path, "changed")
    write(path, (5 * MIB, MIB, 4))


def _reserved(path: Path, of: int, length: int, data_at: int) -> None:
    """Room set aside that nothing was written to but for one piece."""
    run("fallocate", "-l", str(of), path)
    os.truncate(path, length)
    with open(path, "r+b") as file:
        file.seek(data_at)
        file.write(os.urandom(MIB))


SHAPES = (
    Shape("raw-sparse", "raw", lambda path: scatter(path, 200 * MIB, 600)),
    Shape("raw-full", "raw", lambda path: filled(path, os.urandom(24 * MIB))),
    Shape("raw-odd", "raw", lambda path: scatter(path, 3 * MIB + 77, 500)),
    Shape("raw-tiny", "raw", lambda path: filled(path, b"x")),
    Shape("raw-empty", "raw", lambda path: filled(path, b"")),
    Shape("raw-hole", "raw", lambda path: scatter(path, 512 * MIB, 0)),
    Shape("qcow2", "qcow2", qcow2),
    Shape("metadata", "qcow2", lambda path: qcow2(path, "preallocation=metadata")),
    Shape("compressed", "qcow2", _compressed),
    Shape("snapshots", "qcow2", _with_snapshots, ("first", "second")),
    Shape("larger", "qcow2", _larger_than_its_disk, ("s1", "s2", "s3")),
    Shape("backing", "qcow2", with_backing),
    Shape("cluster-4k", "qcow2", lambda path: qcow2(path, "cluster_size=4k")),
    Shape("cluster-2m", "qcow2", lambda path: qcow2(path, "cluster_size=2M")),
    Shape("bitmap", "qcow2", _with_bitmap),
    Shape("lazy-l2", "qcow2", lambda path: qcow2(path, "lazy_refcounts=on,extended_l2=on")),
    Shape("old-qcow2", "qcow2", lambda path: qcow2(path, "compat=0.10")),
    Shape("raw-reserved", "raw", lambda path: _reserved(path, 48 * MIB, 48 * MIB, 3 * MIB)),
    Shape("raw-half", "raw", lambda path: _reserved(path, 24 * MIB, 64 * MIB, 40 * MIB)),
    Shape("raw-zeroes", "raw", lambda path: filled(path, bytes(24 * MIB))),
    Shape("reserved", "qcow2", lambda path: qcow2(path, "preallocation=falloc")),
    Shape("written-out", "qcow2", lambda path: qcow2(path, "preallocation=full", size="48M")),
)


def same_bytes(one: Path, other: Path) -> bool:
    """What `cmp` says."""
    return subprocess.run(["cmp", "-s", one, other], check=False).returncode == 0


def same_to_a_guest(one: Path, other: Path, format: str) -> bool:
    """What `qemu-img compare` says."""
    done = subprocess.run(
        ["qemu-img", "compare", "-q", "-f", format, "-F", format, one, other], check=False
    )
    return done.returncode == 0


def same_snapshot(one: Path, other: Path, name: str) -> bool:
    """Both images' snapshot of that name, written out."""
    contents = []
    for image in (one, other):
        out = image.with_suffix(".snapshot")
        options = ("-l", f"snapshot.name={name}", "-f", "qcow2", "-O", "raw")
        run("qemu-img", "convert", *options, image, out)
        contents.append(out.read_bytes())
        out.unlink()
    return contents[0] == contents[1]


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def copying(lab: Lab) -> list[int]:
    """Processes on the lab's hosts that belong to a copy."""
    found = []
    nets = {os.stat(f"/run/netns/{lab.netns(host)}").st_ino for host in ("kvm-a", "kvm-b")}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"qemu-storage-daemon" in (entry / "cmdline").read_bytes():
                net = os.stat(entry / "ns" / "net").st_ino
                found += [int(entry.name)] if net in nets else []
    return found


def kill_daemon(lab: Lab, host: str) -> None:
    """qemu-storage-daemon on that host, not its shell."""
    net = os.stat(f"/run/netns/{lab.netns(host)}").st_ino
    for pid in copying(lab):
        name = Path(f"/proc/{pid}/comm").read_text()
        if os.stat(f"/proc/{pid}/ns/net").st_ino == net and name.startswith("qemu-storage"):
            os.kill(pid, signal.SIGKILL)


def damage(image: Path) -> None:
    """Make the first entry of its first L2 table point to where no cluster can begin."""
    with open(image, "r+b") as file:
        file.seek(40)
        file.seek(int.from_bytes(file.read(8), "big"))
        table = int.from_bytes(file.read(8), "big") & 0x00FF_FFFF_FFFF_FE00
        file.seek(table)
        file.write((1 << 63 | 0x5_0200).to_bytes(8, "big"))


def a_vm_starts(image: Path, format: str = "raw") -> bool:
    """Whether QEMU with that disk comes up."""
    drive = f"if=none,id=d,format={format},file={image}"
    done = subprocess.run(
        [*QEMU, "-monitor", "stdio", "-drive", drive, "-device", "virtio-blk,drive=d"],
        input="quit\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0 or "lock" in done.stderr, done.stderr
    return done.returncode == 0
