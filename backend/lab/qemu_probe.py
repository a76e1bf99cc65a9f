"""Sparing each host's libvirtd the probing of QEMU, which takes seconds.

libvirt keeps what it learned of a QEMU binary in a file and checks by itself whether it still
holds (the binary's and its own change time, CPU, kernel). All hosts run the same binary, so one
host's files serve the others, and the next lab.
"""

import os
import shutil
from pathlib import Path

from backend.lab.layout import CACHE_ROOT, LabHost

_KEPT = CACHE_ROOT / "qemu-capabilities"


def known() -> bool:
    """True if some host learned before what this machine's QEMU can do."""
    return _KEPT.is_dir() and any(_KEPT.glob("*.xml"))


def teach(host: LabHost) -> None:
    """Give a host that has not probed yet what is known."""
    folder = _folder(host)
    if known() and not folder.exists():
        folder.mkdir(parents=True, mode=0o755)
        _copy(_KEPT, folder)


def learn(host: LabHost) -> None:
    """Keep what a host knows, if that is newer than what is kept."""
    folder = _folder(host)
    if folder.is_dir() and _newest(folder) > _newest(_KEPT):
        _KEPT.mkdir(parents=True, exist_ok=True)
        _copy(folder, _KEPT)


def _folder(host: LabHost) -> Path:
    return host.state / "cache" / "qemu" / "capabilities"


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*.xml")), default=0.0)


def _copy(source: Path, target: Path) -> None:
    for path in source.glob("*.xml"):
        # Another lab may read it now: it sees the old file or the new one, never half of one.
        scratch = target / f"{path.name}.{os.getpid()}"
        shutil.copy2(path, scratch)
        os.replace(scratch, target / path.name)
