"""Running the machine's own tools, each with a time limit, failures as sentences."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from backend.lab.errors import LabError

SBIN_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"

NEEDED_PROGRAMS = (
    "busybox", "gcc", "ip", "libvirtd", "mount", "nsenter", "qemu-img", "qemu-system-x86_64",
    "sshd", "tc", "umount", "unshare", "virsh",
)  # fmt: skip


def environment() -> dict[str, str]:
    """The caller's environment with the system's tools on the path and messages in English."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}:{SBIN_PATH}" if path else SBIN_PATH, "LC_ALL": "C"}


def missing_programs() -> list[str]:
    """Which of the tools the lab runs on are not installed."""
    path = environment()["PATH"]
    return [program for program in NEEDED_PROGRAMS if which(program, path=path) is None]


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    timeout_s: float = 30,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end and return what it said."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment(),
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{words[0]} is not installed. Run ./backend/lab/setup.sh.") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{words[0]} did not end within {timeout_s:g} s: {_brief(words)}") from None
    if check and done.returncode != 0:
        raise LabError(f"{_brief(words)} failed: {_reason(done.stderr or done.stdout)}")
    return done


def _brief(words: Sequence[str]) -> str:
    line = " ".join(words).replace("\n", " ")
    return line if len(line) <= 120 else f"{line[:117]}..."


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "; ".join(lines[-3:]) if lines else "it gave no reason"
