"""A lab to measure on: brought up and shaped by `virt-ferry lab`, its guests asked directly."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.lab.guest_link import GuestReport, guest_report, set_writer
from backend.lab.layout import Lab, LabHost, LabVm
from backend.lab.settings import load

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "tui.command")
LAB_COMMAND_S = 240.0
FERRY_COMMAND_S = 120.0
PAGE_BYTES = 4096
FILL_BYTES_S = 80_000_000
LINK_SHARE = 0.95
"""What TCP leaves of a link's rate for what is sent over it."""

_ANSWER_S = 20.0


class BenchError(Exception):
    """A measurement that could not be taken; the bench notes it and goes on."""


class BenchLab:
    """One lab and one VM of it, which every measurement moves."""

    def __init__(self, name: str, vm_name: str = "web-1", host_count: int = 2) -> None:
        self.lab = Lab(name, host_count)
        self.vm: LabVm = self.lab.vm(vm_name)
        self.made = False

    @property
    def environment(self) -> dict[str, str]:
        """What every command of ours sees: this lab, its fleet."""
        own = {"VIRT_FERRY_LAB": self.lab.name, "VIRT_FERRY_FLEET": str(self.lab.fleet_file)}
        return {**os.environ, **own}

    def up(self, link: str, memory_mib: int = 512) -> None:
        """Bring it up (or repair it), its neighbours quiet."""
        self.made = load(self.lab.name) is None
        sizes = ("--hosts", str(self.lab.host_count), "--memory", f"{memory_mib}M")
        try:
            self.run_lab("up", *sizes, "--link", link)
        except BenchError as error:
            print(f"once more: {error}", flush=True)
            self.run_lab("up", *sizes, "--link", link)
        self.run_lab("quiet")

    def down(self) -> None:
        """Remove it, if this program made it."""
        if self.made:
            self.run_lab("down")

    def stop_engine(self) -> None:
        """End the engine that the commands started."""
        self.ferry("engine", "stop", "--force")

    def link(self, rate: str) -> None:
        """Shape the links of all hosts, both directions."""
        for host in self.lab.hosts:
            self.run_lab("link", host.name, rate)

    def run_lab(self, *words: str) -> str:
        """A command of the lab. Raises BenchError with what it said."""
        done = self._run(("lab", *words), LAB_COMMAND_S)
        if done.returncode != 0:
            raise BenchError(f"lab {' '.join(words)}: {_last_line(done)}")
        return done.stdout

    def ferry(self, *words: str, limit_s: float = FERRY_COMMAND_S) -> Any:
        """A command with --json if given: its one object; None where it says nothing.

        Raises BenchError with its last line when it refuses.
        """
        done = self._run(words, limit_s)
        if "--json" not in words:
            return None
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise BenchError(f"{' '.join(words)}: {_last_line(done)}") from None

    def _run(self, words: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*COMMAND, *words],
                capture_output=True,
                text=True,
                env=self.environment,
                cwd=ROOT,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{' '.join(words)}: no end after {limit_s:.0f} s") from None

    def virsh(self, host: LabHost, *words: str, limit_s: float = 20) -> str:
        """A virsh command on a host. Raises BenchError with what it said."""
        line = ["virsh", "-q", "-c", host.libvirt_uri, *words]
        try:
            done = subprocess.run(
                line, capture_output=True, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"virsh {words[0]}: no end after {limit_s:.0f} s") from None
        if done.returncode != 0:
            raise BenchError(f"virsh {words[0]}: {_last_line(done)}")
        return done.stdout

    # -- the VM ------------------------------------------------------------------------------

    def ends(self) -> tuple[LabHost, LabHost]:
        """Where the VM runs and the next host. Raises BenchError if it runs nowhere."""
        hosts = self.lab.hosts
        for index, host in enumerate(hosts):
            if self._runs_on(host):
                return host, hosts[(index + 1) % len(hosts)]
        raise BenchError(f"{self.vm.name} runs on no host")

    def _runs_on(self, host: LabHost) -> bool:
        try:
            return self.virsh(host, "domstate", self.vm.name).strip() == "running"
        except BenchError:
            return False

    def report(self) -> tuple[float, GuestReport]:
        """The guest's own count, and when (`time.monotonic()`). Raises BenchError if it is deaf."""
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            found = guest_report(self.lab, self.vm, timeout_s=2)
            if found is not None:
                return time.monotonic(), found
        raise BenchError(f"{self.vm.name} does not answer")

    def write(self, rate_bytes_s: int, over_bytes: int | None = None) -> None:
        """What `lab vm NAME --write RATE --over SIZE` does, without a process of its own."""
        set_writer(self.lab, self.vm, rate_bytes_s, over_bytes)

    def fill(self, rate_bytes_s: int, over_bytes: int) -> None:
        """Set the writer, and let it be all over its buffer, as fast as it can."""
        if rate_bytes_s == 0:
            self.write(0)
            return
        self.write(max(rate_bytes_s, FILL_BYTES_S), over_bytes)
        _, first = self.report()
        deadline = time.monotonic() + 30 + over_bytes / 5_000_000
        while self.report()[1].work_bytes - first.work_bytes < over_bytes:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.vm.name} was not all over its buffer in time")
            time.sleep(0.5)
        self.write(rate_bytes_s, over_bytes)

    def memory_in_use(self, host: LabHost) -> tuple[int, int]:
        """Bytes of the VM's memory that are there (RSS of its mapping), and those not zero.

        The first is more: QEMU asks for huge pages, and one page in use makes 2 MiB resident.
        """
        pid_file = host.state / "run" / "qemu" / f"{self.vm.name}.pid"
        pid = int(pid_file.read_text())
        settings = load(self.lab.name)
        assert settings is not None
        start, end, rss_bytes = _mapping(pid, settings.memory_mib * 1024 * 1024)
        return rss_bytes, _not_zero(pid, start, end)


def link_bytes_s(bits_s: float) -> float:
    """What of a link's rate carries data."""
    return bits_s / 8 * LINK_SHARE


def _mapping(pid: int, size_bytes: int) -> tuple[int, int, int]:
    """Start, end and RSS of the mapping that is the guest's memory."""
    start = end = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            start, end = (int(part, 16) for part in words[0].split("-"))
        elif words[0] == "Rss:" and 0 <= end - start - size_bytes < 1 << 20:
            return start, end, int(words[1]) * 1024
    raise BenchError(f"no mapping of {size_bytes} bytes in process {pid}")


def _not_zero(pid: int, start: int, end: int) -> int:
    """Bytes of pages that are there and not all zero."""
    zero, used, step = bytes(PAGE_BYTES), 0, 4 << 20
    with (
        open(f"/proc/{pid}/mem", "rb", buffering=0) as memory,
        open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap,
    ):
        for at in range(start, end, step):
            size = min(step, end - at)
            pagemap.seek(at // PAGE_BYTES * 8)
            # Absent pages are not read: that would make them present.
            if not any(pagemap.read(size // PAGE_BYTES * 8)[7::8]):
                continue
            memory.seek(at)
            part = memory.read(size)
            pages = (part[i : i + PAGE_BYTES] for i in range(0, len(part), PAGE_BYTES))
            used += sum(page != zero for page in pages)
    return used * PAGE_BYTES


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1][:300] if lines else f"exit code {done.returncode}"
