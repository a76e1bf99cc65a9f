"""What is mounted where in this machine's own mount namespace."""

from pathlib import Path

from backend.lab.shell import run


def is_mounted(path: Path) -> bool:
    """True if something is mounted there: also a folder onto itself, which st_dev cannot tell."""
    return mount_count(path) > 0


def unmount_all(path: Path) -> None:
    """Take away whatever is mounted there, layer by layer."""
    for _ in range(mount_count(path)):
        run(["umount", path])


def mount_count(path: Path) -> int:
    """How many mounts lie on top of each other at exactly that path."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sum(line.split(" ", 5)[4] == str(path) for line in lines)
