"""A lab of the tests' own: brought up once, taken down always."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ferry import Ferry

ROOT = Path(__file__).resolve().parents[2]
LAB_NAME_VARIABLE = "VIRT_FERRY_TEST_LAB"


@dataclass(frozen=True, slots=True)
class Lab:
    """The lab under test, driven from outside: through its command line and `virsh`."""

    name: str
    first: dict[str, Any] = field(default_factory=dict)
    """Its status right after it came up, before any test changed it."""

    def run(
        self, *words: str, timeout_s: float = 120, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m backend.lab ...` for this lab."""
        done = subprocess.run(
            [sys.executable, "-m", "backend.lab", *words],
            cwd=ROOT,
            env={**os.environ, "VIRT_FERRY_LAB": self.name},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"lab {' '.join(words)}: exit {done.returncode}: {done.stderr}")
        return done

    def up(self, *words: str) -> str:
        """Bring it up or repair it; returns what that said."""
        return self.run("up", *words).stdout

    def down(self) -> str:
        """Remove it; returns what that said."""
        return self.run("down").stdout

    def status(self) -> dict[str, Any]:
        """What `status --json` says now."""
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def vm(self, name: str) -> dict[str, Any]:
        """One VM of the status."""
        found: dict[str, Any] = next(vm for vm in self.status()["vms"] if vm["name"] == name)
        return found

    def host(self, name: str) -> dict[str, Any]:
        """One host of the status."""
        found: dict[str, Any] = next(h for h in self.status()["hosts"] if h["name"] == name)
        return found

    @property
    def fleet(self) -> Path:
        return Path("/var/lib/vferry", self.name, "fleet.toml")

    @property
    def ssh_config(self) -> Path:
        return self.fleet.with_name("ssh_config")

    @property
    def operator_netns(self) -> str:
        return f"vf-{self.name}-operator"

    @property
    def switch_netns(self) -> str:
        return f"vf-{self.name}-switch"

    def netns(self, host: str) -> str:
        """The network namespace of a host."""
        return f"vf-{self.name}-{host}"

    def uri(self, host: str) -> str:
        """What `virsh -c` takes from this machine."""
        socket = self.fleet.parent / "hosts" / host / "run" / "libvirt-sock"
        return f"qemu+unix:///system?socket={socket}"

    def virsh(self, host: str, *words: str, timeout_s: float = 120, check: bool = True) -> str:
        """Run `virsh` on a host; returns its output, fails the test if it failed."""
        done = subprocess.run(
            ["virsh", "-q", "-c", self.uri(host), *words],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"virsh {' '.join(words)} on {host}: {done.stderr}")
        return done.stdout

    def in_operator(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command where the operator's network is."""
        return subprocess.run(
            ["ip", "netns", "exec", self.operator_netns, *words],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def set_link(self, host: str, state: str) -> None:
        """`up`, `down`, or a rate for both directions."""
        self.run("link", host, state)

    def set_rate(self, host: str, *, inward: str | None = None, outward: str | None = None) -> None:
        """Shape one direction or both."""
        words = [*(("--in", inward) if inward else ()), *(("--out", outward) if outward else ())]
        self.run("link", host, *words)

    def set_writer(self, vm: str, rate: str, over: str | None = None) -> None:
        """What a VM writes."""
        self.run("vm", vm, "--write", rate, *(("--over", over) if over else ()))

    def quiet(self, *spared: str) -> None:
        """Silence all writers but these."""
        words = [word for name in spared for word in ("--except", name)]
        self.run("quiet", *words)


def eventually(holds: Callable[[], bool], what: str, timeout_s: float = 15) -> None:
    """Wait until it holds; fail with a sentence if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.1)


def traces(name: str) -> list[str]:
    """Processes, mounts and files: whatever on this machine is still the lab's."""
    marks = (f"/vferry/{name}/", f"/vferry/{name} ", f"vf-{name}-")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line for line in mounts if any(mark in line for mark in marks)]
    for folder in (Path("/var/lib/vferry", name), Path("/run/vferry", name)):
        found += [str(folder)] if folder.exists() else []
    found += [str(path) for path in Path("/run/netns").glob(f"vf-{name}-*")]
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"/vferry/{name}/hosts/" in (entry / "mountinfo").read_text():
                found.append(f"process {entry.name}")
    return found


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab that is up. The variable names one that stands already and is to stay."""
    kept = os.environ.get(LAB_NAME_VARIABLE)
    running = Lab(kept or "test")
    if not kept:
        running.down()
    try:
        running.up()
        yield replace(running, first=running.status())
    finally:
        if not kept:
            running.down()
            assert traces(running.name) == []


@pytest.fixture(scope="module")
def ferry(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ferry]:
    """The command line with an engine of the module's own."""
    made = Ferry(lab.fleet, tmp_path_factory.mktemp("state"))
    yield made
    made.stop()


@pytest.fixture
def own_ferry(lab: Lab, tmp_path: Path) -> Iterator[Ferry]:
    """The same, of one test. Its state directory is the one that an engine which meets a fault
    leaves behind."""
    made = Ferry(lab.fleet, tmp_path)
    yield made
    made.stop()
