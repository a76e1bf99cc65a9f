"""One cell of the table while it is played: who moves from where to where, and its engine."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from backend.lab.guest_link import GuestReport, guest_report, set_disk_writer, set_writer
from backend.lab.host import ensure_host, processes_of
from backend.lab.layout import GUEST_PORT
from backend.lab.layout import Lab as Layout
from backend.lab.netns import connect
from backend.lab.processes import LabProcess, lab_processes
from backend.service.paths import connect as connect_engine
from tests.lab.conftest import ROOT, Lab, eventually
from tests.lab.faults.held_engine import FOLDER, POINTS
from tests.lab.ferry import Event, Ferry, Running
from tests.lab.places import HOSTS

OVER_BYTES, DISK_OVER_BYTES = 32_000_000, 16 << 20
VERDICT_LIMIT_S = 100.0
NOT_YET = (None, "unknown")


@dataclass(slots=True)
class Scene:
    """A VM that moves from `source` to `target`; `running` is the command that moves it."""

    lab: Lab
    ferry: Ferry
    vm: str
    source: str
    target: str
    words: tuple[str, ...] = ()
    """More of the command."""
    _running: Running | None = None
    limits: tuple[str, str] = ("", "")
    """The VM's pause limit and bandwidth before, as virsh has them."""
    work_bytes: int = 0
    """What the guest had written before."""
    restarted: bool = False
    """The fault ended the VM."""
    beside: list[asyncio.subprocess.Process] = field(default_factory=list)
    """Commands that run beside, ended with the scene."""
    closing: list[Callable[[], None]] = field(default_factory=list)
    """What is to be undone at its end."""
    begun_s: float = field(default_factory=time.monotonic)

    def mark(self, what: str) -> None:
        """When it was so far, for who reads what a cell takes its time for."""
        print(f"{time.monotonic() - self.begun_s:6.1f} s: {what}")

    @property
    def running(self) -> Running:
        assert self._running is not None
        return self._running

    @running.setter
    def running(self, running: Running) -> None:
        self._running = running

    # -- its engine ----------------------------------------------------------------------------

    @property
    def held(self) -> Path:
        """Where its engine is told to stand still."""
        return self.ferry.state / "virt-ferry" / FOLDER

    def begin_engine(self) -> None:
        """One that can be held, unless one is there."""
        if self._answers():
            if self._can_be_held():
                return
            self.ferry.stop()
        subprocess.Popen(
            [sys.executable, "-m", "tests.lab.faults.held_engine"],
            env=dict(self.ferry.environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        eventually(self._answers, "an engine that can be held answers")

    def _can_be_held(self) -> bool:
        """A plain one may have begun after another was killed."""
        pid = (self.ferry.state / "virt-ferry" / "engine.lock").read_text()
        return b"held_engine" in Path(f"/proc/{pid}/cmdline").read_bytes()

    def _answers(self) -> bool:
        with suppress(OSError):
            connect_engine(self.ferry.state / "virt-ferry" / "engine.sock").close()
            return True
        return False

    def hold(self, point: str) -> None:
        """The next migration stands still there."""
        self.held.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.held / f"{point}.met").unlink(missing_ok=True)
        (self.held / point).touch()

    async def stands_at(self, point: str) -> None:
        """Wait until it does."""
        met = self.held / f"{point}.met"
        await asyncio.to_thread(eventually, met.exists, f"it stands at {point}", 60)

    def release(self) -> None:
        """Nothing is held any more."""
        for point in POINTS:
            (self.held / point).unlink(missing_ok=True)

    # -- its hosts and its guest ---------------------------------------------------------------

    def pid(self, host: str, name: str) -> int:
        """Of `libvirtd`, or of the VM's QEMU (`qemu/VM`), on a host."""
        path = self.lab.fleet.parent / "hosts" / host / "run" / f"{name}.pid"
        return int(path.read_text())

    def processes(self, command: str) -> list[LabProcess]:
        """The lab's processes of that name, on all hosts."""
        return [one for one in lab_processes(Layout(self.lab.name)) if one.command == command]

    def qemus(self) -> list[str]:
        """The hosts on which a QEMU of the VM lives."""
        found = []
        for one in lab_processes(Layout(self.lab.name)):
            with suppress(OSError):
                words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
                if f"guest={self.vm},debug-threads=on".encode() in words:
                    found.append(str(one.host))
        return found

    def guest(self) -> GuestReport | None:
        """What the guest says of itself; None if it does not."""
        layout = Layout(self.lab.name)
        return guest_report(layout, layout.vm(self.vm), timeout_s=3)

    def set_writer(self, rate_bytes_s: int) -> GuestReport:
        """What the guest writes to its memory."""
        layout = Layout(self.lab.name)
        return set_writer(layout, layout.vm(self.vm), rate_bytes_s, OVER_BYTES)

    def set_disk_writer(self, rate_bytes_s: int) -> GuestReport:
        """What it writes to its disk."""
        layout = Layout(self.lab.name)
        return set_disk_writer(layout, layout.vm(self.vm), rate_bytes_s, DISK_OVER_BYTES)

    def tell_guest(self, line: str) -> None:
        """A request it ends with, so without an answer."""
        layout = Layout(self.lab.name)
        address = layout.vm(self.vm).address
        with connect(self.lab.operator_netns, address, GUEST_PORT, 40.0) as guest:
            guest.sendall(line.encode() + b"\n")
            with suppress(OSError):
                guest.settimeout(0.5)
                guest.recv(1)

    def restart_daemon(self, host: str) -> None:
        """As systemd does: its VMs go on."""
        pid = self.pid(host, "libvirtd")
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), f"{host}'s libvirtd has ended", 30)
        raise_daemons(Layout(self.lab.name))

    def states(self) -> dict[str, str]:
        """Host -> state, of each that knows the VM."""
        found = {}
        for host in HOSTS:
            if self.vm in self.lab.virsh(host, "list", "--all", "--name").split():
                found[host] = self.lab.virsh(host, "domstate", self.vm).strip()
        return found

    def close(self) -> None:
        """Undo what it did beside the migration."""
        (self.held / "clock").unlink(missing_ok=True)
        for asking in self.beside:
            if asking.returncode is None:
                asking.kill()
        self.undo()

    def undo(self) -> None:
        """What a fault had set up."""
        while self.closing:
            self.closing.pop()()

    def let_go_of_halves(self) -> None:
        """A VM that more than one host holds is ended wherever it does not run: a call that waits
        for such a half would keep both hosts busy with it."""
        states = self.states()
        for host, state in states.items():
            if len(states) > 1 and state == "paused":
                self.lab.virsh(host, "destroy", self.vm, check=False)

    def shut_off_on(self, host: str) -> bool:
        """As that host says."""
        return self.lab.virsh(host, "domstate", self.vm).strip() == "shut off"

    # -- its end -------------------------------------------------------------------------------

    def jobs(self) -> list[Event]:
        """What the engine says of this migration, and of a second attempt after it."""
        done = self.ferry.run("jobs", "--json")
        found: list[Event] = json.loads(done.stdout) if done.stdout else []
        ids = {one.get("id") for one in self.running.events}
        return [one for one in found if one["id"] in ids]

    async def verdict(self) -> Event:
        """The last one, once it says who owns the VM and nothing is tried again."""
        if self.running.process.returncode is None:
            await asyncio.wait_for(self.running.ended(), VERDICT_LIMIT_S)
        found: list[Event] = []

        def known() -> bool:
            found[:] = self.jobs()[-1:]
            return bool(found) and found[0].get("outcome") not in NOT_YET and not found[0]["again"]

        await asyncio.to_thread(eventually, known, "a verdict that is known", VERDICT_LIMIT_S)
        return found[0]


def raise_daemons(lab: Layout) -> None:
    living = processes_of(lab)
    for host in lab.hosts:
        ensure_host(lab, host, living[host.name])
