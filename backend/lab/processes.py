"""Which processes are the lab's, and ending them.

A pid alone proves nothing: after a reboot or a kill it may be anybody's. A process belongs to a
lab's host if it lives in a mount namespace whose /etc is that host's own, and to the lab if it
lives in one of its network namespaces. Both hold without pid files and survive their loss.
"""

import os
import re
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backend.lab.errors import LabError
from backend.lab.layout import NETNS_ROOT, Lab

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class LabProcess:
    """A process of the lab, pinned by its start time."""

    pid: int
    start_ticks: int
    command: str
    """The kernel's short name of it: at most 15 bytes."""
    host: str | None
    """The host in whose file system it lives; None for a stranger in one of the lab's networks."""


def lab_processes(lab: Lab) -> list[LabProcess]:
    """Every process of the lab, except this one and those that it was started from."""
    networks = set(filter(None, map(netns_inode, lab.netns_names)))
    networks.discard(_inode(_PROC / "self/ns/net"))
    spared = _own_line()
    host_of_mounts: dict[int, str | None] = {}
    found = []
    for pid in _pids():
        if pid in spared:
            continue
        with suppress(OSError, ValueError):
            mounts = os.stat(_PROC / str(pid) / "ns/mnt").st_ino
            if mounts not in host_of_mounts:
                text = (_PROC / str(pid) / "mountinfo").read_text(errors="replace")
                host_of_mounts[mounts] = host_in_mountinfo(lab.name, text)
            host = host_of_mounts[mounts]
            if host is not None or os.stat(_PROC / str(pid) / "ns/net").st_ino in networks:
                command, start_ticks = _identity(pid)
                found.append(LabProcess(pid, start_ticks, command, host))
    return found


def host_in_mountinfo(lab_name: str, mountinfo: str) -> str | None:
    """Whose file system this is, by what is mounted on /etc."""
    pattern = rf"/vferry/{re.escape(lab_name)}/hosts/([a-z0-9-]+)/etc /etc "
    match = re.search(pattern, mountinfo)
    return match[1] if match else None


def netns_inode(name: str) -> int | None:
    """The inode of a named network namespace; None if that name has none (any more)."""
    path = NETNS_ROOT / name
    return _inode(path) if is_namespace(path) else None


def is_namespace(path: Path) -> bool:
    """True if a namespace is kept there, and not the plain file a reboot leaves."""
    with suppress(OSError):
        return os.stat(path).st_dev == os.stat(_PROC / "self/ns/net").st_dev
    return False


def end_processes(processes: Iterable[LabProcess], wait_s: float = 10) -> None:
    """Kill exactly these processes and wait until they are gone."""
    doomed: dict[int, LabProcess] = {}
    try:
        for process in processes:
            with suppress(OSError, ValueError):
                handle = os.pidfd_open(process.pid)
                doomed[handle] = process
                # Only now the pid is pinned, so only now its identity can be checked.
                if _identity(process.pid)[1] == process.start_ticks:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        _await_ends(doomed, wait_s)
    finally:
        for handle in doomed:
            os.close(handle)


def _await_ends(doomed: dict[int, LabProcess], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    poll = select.poll()
    for handle in doomed:
        poll.register(handle, select.POLLIN)
    waiting = set(doomed)
    while waiting:
        ended = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        for handle, _ in ended:
            poll.unregister(handle)
            waiting.discard(handle)
        if not ended:
            names = ", ".join(f"{doomed[h].command} ({doomed[h].pid})" for h in waiting)
            raise LabError(f"These processes did not end within {wait_s:g} s: {names}.")


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdecimal()]


def _inode(path: Path) -> int | None:
    with suppress(OSError):
        return os.stat(path).st_ino
    return None


def _stat_fields(pid: int) -> tuple[str, list[str]]:
    head, _, rest = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")
    return head.partition("(")[2], rest.split()


def _identity(pid: int) -> tuple[str, int]:
    command, fields = _stat_fields(pid)
    if fields[0] == "Z":
        raise ValueError(f"{pid} has ended")
    return command, int(fields[19])


def _own_line() -> set[int]:
    """This process and its ancestors: a shell inside the lab may take the lab down."""
    line, pid = set(), os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        try:
            pid = int(_stat_fields(pid)[1][1])
        except OSError:
            break
    return line
