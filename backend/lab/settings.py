"""What was asked of a lab and must outlast its processes: `lab.json`, and the lab's lock."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from backend.lab.errors import LabError, LabUsageError
from backend.lab.layout import MAX_HOSTS, MIN_HOSTS, STATE_ROOT, Lab

DEFAULT_LINK_BITS_S = 1_000_000_000
DEFAULT_MEMORY_MIB = 512
DEFAULT_HOST_COUNT = 3


@dataclass(frozen=True, slots=True)
class Link:
    """How a host's uplink is shaped: `in` is towards the host."""

    in_bits_s: int = DEFAULT_LINK_BITS_S
    out_bits_s: int = DEFAULT_LINK_BITS_S
    up: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """The lab as asked for."""

    host_count: int = DEFAULT_HOST_COUNT
    memory_mib: int = DEFAULT_MEMORY_MIB
    links: dict[str, Link] = field(default_factory=dict)
    complete: bool = False
    """Every file of the lab was written; False while the first `up` is still at it."""

    def link(self, host_name: str) -> Link:
        """The link of a host, as it is by default if nobody changed it."""
        return self.links.get(host_name, Link())

    def with_link(self, host_name: str, link: Link) -> "Settings":
        """These settings with another link for one host."""
        return replace(self, links={**self.links, host_name: link})


def load(name: str) -> Settings | None:
    """The settings of a lab; None if there is no such lab."""
    path = Lab(name).settings_file
    try:
        return from_json(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise LabUsageError("The lab is root's: run this as root.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise LabError(
            f"{path} is damaged. Remove the lab and make it anew: virt-ferry lab down, then "
            "virt-ferry lab up."
        ) from None


def require(name: str) -> tuple[Lab, Settings]:
    """A lab that exists, or a refusal that says how to make it."""
    settings = load(name)
    if settings is None:
        raise LabUsageError(f"There is no lab {name!r}. Start one: virt-ferry lab up.")
    return Lab(name, settings.host_count), settings


def save(lab: Lab, settings: Settings) -> None:
    """Replace the settings file in one step."""
    path = lab.settings_file
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(settings), indent=1) + "\n")
    os.replace(scratch, path)


def from_json(text: str) -> Settings:
    """Settings from what `save` wrote; ValueError, TypeError or KeyError if it is not that."""
    raw = json.loads(text)
    host_count = int(raw["host_count"])
    if not MIN_HOSTS <= host_count <= MAX_HOSTS:
        raise ValueError("host_count")
    return Settings(
        host_count=host_count,
        memory_mib=int(raw["memory_mib"]),
        links={str(host): Link(**link) for host, link in raw["links"].items()},
        complete=bool(raw["complete"]),
    )


@contextmanager
def locked(lab: Lab, *, create: bool) -> Iterator[None]:
    """One `up`, `down` or `link` of a lab at a time. The lock is on its directory: no file stays.

    Without `create`, a lab that is not there is simply not locked.
    """
    handle = _lock(lab.state, create=create)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(folder: Path, *, create: bool) -> int | None:
    while True:
        if create:
            STATE_ROOT.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if create:
                continue
            return None
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if os.stat(folder).st_ino == os.fstat(handle).st_ino:
                return handle
        except FileNotFoundError:
            pass  # a `down` removed it while we waited: look again
        os.close(handle)
