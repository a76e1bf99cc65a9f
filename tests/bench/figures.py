"""What moving a VM and watching it cost, measured on the lab: prints figures, asserts nothing.

    .venv/bin/virt-ferry lab up
    .venv/bin/python tests/bench/figures.py [moves] [console]

The outage is ping's own: every 10 ms from the operator's namespace, the longest gap between two
answers. Bytes and CPU of the console are taken at a pty, as a terminal would see them.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.console.pty_meter import Meter  # noqa: E402  # run as a script: the path comes first

HOSTS = ("kvm-a", "kvm-b", "kvm-c")
PING_EVERY_S = 0.01
FERRY = str(ROOT / ".venv" / "bin" / "virt-ferry")


def lab(*words: str) -> str:
    """Run a lab command."""
    return subprocess.run([FERRY, "lab", *words], check=True, capture_output=True, text=True).stdout


def status() -> dict[str, Any]:
    """What the lab says of itself."""
    found: dict[str, Any] = json.loads(lab("status", "--json"))
    return found


def ferry(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a virt-ferry command on the lab's fleet."""
    return subprocess.run([FERRY, *words], capture_output=True, text=True, check=False)


def vm(name: str) -> dict[str, Any]:
    """One VM of the lab."""
    found: dict[str, Any] = next(one for one in status()["vms"] if one["name"] == name)
    return found


@contextmanager
def pinged(netns: str, address: str) -> Iterator[list[float]]:
    """Pings meanwhile; afterwards the list holds the longest gap in ms."""
    gaps: list[float] = []
    words = ["ip", "netns", "exec", netns, "ping", "-D", "-n", "-i", str(PING_EVERY_S), address]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    yield gaps
    process.terminate()
    assert process.stdout is not None
    times = [float(t) for t in re.findall(r"^\[([\d.]+)\].*time=", process.stdout.read(), re.M)]
    process.wait()
    gaps.append(max((b - a for a, b in pairwise(times)), default=0.0) * 1000)


def move(name: str, write: str, over: str) -> None:
    """One VM over 200 Mbit/s, its neighbours silent."""
    lab("quiet")
    if write != "0":
        lab("vm", name, "--write", write, "--over", over)
    time.sleep(2)
    before = vm(name)
    target = next(host for host in HOSTS if host != before["host"])
    with pinged(status()["operator_netns"], before["address"]) as gaps:
        time.sleep(0.5)
        lines = ferry("migrate", name, "--to", target, "--json").stdout.splitlines()
        time.sleep(2)
    verdict, after = json.loads(lines[-1]), vm(name)
    print(
        f"{name:8} {verdict['outcome']:6} total {verdict['total_s']:6.1f} s"
        f"  wall {verdict['wall_s']:6.1f} s  pause {verdict['pause_ms']} ms"
        f"  ping's longest gap {gaps[0]:.0f} ms  {verdict['passes']} passes"
        f"  {verdict['sent_bytes'] / 1e6:.0f} MB  memory {after['memory_ok']}",
        flush=True,
    )


def moves() -> None:
    """idle-1, web-1 and db-1 over 200 Mbit/s."""
    for host in HOSTS:
        lab("link", host, "200mbit")
    move("idle-1", "0", "0")
    move("web-1", "5MB/s", "100M")
    move("db-1", "20MB/s", "200M")
    for host in HOSTS:
        lab("link", host, "1gbit")


def console() -> None:
    """Start times, bytes, CPU and the answer to keys, on each screen."""
    lab("up")
    for name, rate, over in (("web-1", "5MB/s", "100M"), ("db-1", "20MB/s", "200M")):
        lab("vm", name, "--write", rate, "--over", over)
    ferry("engine", "stop", "--force")
    print(f"first filled table, no engine: {_first_table():.2f} s")
    print(f"first filled table, engine running: {_first_table():.2f} s")
    with Meter([FERRY]) as meter:
        meter.read_until(b"web-1", 30)
        meter.read_for(3)
        print("fleet, 8 VMs: {:.0f} B/s, {:.1f} % CPU".format(*meter.measure(20)))
        engine = json.loads(ferry("engine", "status", "--json").stdout)["pid"]
        print(f"engine, nothing moving: {_cpu_percent(engine, 20):.1f} % CPU")
        lab("link", "kvm-c", "down")
        try:
            meter.read_until(b"retry", 15)
            times = meter.latencies_ms(b"j", b"k", 100)
            print(f"keys while kvm-c is cut: median {times[50]:.0f} ms, p95 {times[95]:.0f} ms")
        finally:
            lab("link", "kvm-c", "up")
    _migration_screen()


def _first_table() -> float:
    with Meter([FERRY]) as meter:
        return meter.read_until(b"web-1", 30)


def _migration_screen() -> None:
    """cache-1 moving over 200 Mbit/s, looked at from the console."""
    for host in HOSTS:
        lab("link", host, "200mbit")
    lab("vm", "cache-1", "--write", "60MB/s", "--over", "200M")
    source = vm("cache-1")["host"]
    target = next(host for host in HOSTS[:2] if host != source)
    moving = subprocess.Popen(
        [FERRY, "migrate", "cache-1", "--to", target], stdout=subprocess.DEVNULL
    )
    with Meter([FERRY]) as meter:
        meter.read_until(b"web-1", 30)
        meter.press(b"M")
        meter.read_for(1)
        meter.press(b"\r")
        meter.read_until(b"LEFT TO SEND", 10)
        meter.read_for(3)
        print("migration screen: {:.0f} B/s, {:.1f} % CPU".format(*meter.measure(20)))
        engine = json.loads(ferry("engine", "status", "--json").stdout)["pid"]
        print(f"engine, one moving: {_cpu_percent(engine, 10):.1f} % CPU")
    ferry("abort", "cache-1")
    moving.wait()
    for host in HOSTS:
        lab("link", host, "1gbit")


def _cpu_percent(pid: int, seconds: float) -> float:
    def used_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used_s()
    time.sleep(seconds)
    return (used_s() - before) / seconds * 100


if __name__ == "__main__":
    os.environ["VIRT_FERRY_FLEET"] = str(status()["fleet"])
    for name in sys.argv[1:] or ["moves", "console"]:
        {"moves": moves, "console": console}[name]()
