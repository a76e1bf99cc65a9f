"""What can be seen of a migration without asking who does it: ping, the wire, libvirt's events."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import IO

from backend.lab.layout import LabHost
from backend.lab.network import UPLINK
from tests.bench.benchlab import BenchLab

PING_EVERY_S = 0.01

_ANSWERED = re.compile(r"\[([\d.]+)\].*time=")
_EVENT = re.compile(r"(\S+ \S+): event 'lifecycle' for domain '?(.+?)'?: (\S+)")


@dataclass(slots=True)
class Seen:
    """What was seen; filled when the watching ends."""

    outage_ms: float | None = None
    """ping's longest gap between two answers, less its interval; None: too few answers."""
    stopped_ms: int | None = None
    """From the VM's last stop at one host to its start at the other, by libvirt's events."""
    stopped_at: float | None = None
    """Epoch seconds of that stop."""
    events: list[str] = field(default_factory=list)


@contextmanager
def watched(bench: BenchLab) -> Iterator[Seen]:
    """Watches the VM meanwhile."""
    seen = Seen()
    netns = bench.lab.operator_netns
    ping = ["ip", "netns", "exec", netns, "ping", "-D", "-n", "-O"]
    pings: list[str] = []
    events: dict[str, list[str]] = {host.name: [] for host in bench.lab.hosts}
    with ExitStack() as stack:
        ping += ["-i", str(PING_EVERY_S), bench.vm.address]
        stack.enter_context(_reading(ping, pings))
        for host in bench.lab.hosts:
            words = ["virsh", "-c", host.libvirt_uri, "event", "--loop", "--timestamp"]
            stack.enter_context(_reading([*words, "--event", "lifecycle"], events[host.name]))
        yield seen
    seen.outage_ms = outage_ms(pings)
    changes = sorted(
        change for host, lines in events.items() for change in parse_events(host, lines, bench)
    )
    seen.events = [f"{at:.3f} {host} {what}" for at, host, what in changes]
    handed_over = stopped(changes)
    if handed_over is not None:
        seen.stopped_at = handed_over[0]
        seen.stopped_ms = round((handed_over[1] - handed_over[0]) * 1000)


def outage_ms(lines: list[str]) -> float | None:
    """The longest gap in what `ping -D` printed."""
    times = [float(found[1]) for line in lines if (found := _ANSWERED.match(line))]
    if len(times) < 2:
        return None
    return (max(b - a for a, b in pairwise(times)) - PING_EVERY_S) * 1000


def parse_events(host: str, lines: list[str], bench: BenchLab) -> list[tuple[float, str, str]]:
    """(epoch seconds, host, what) of the VM's lifecycle as `virsh event` printed it."""
    found = (_EVENT.match(line) for line in lines)
    return [
        (datetime.fromisoformat(match[1]).timestamp(), host, match[3])
        for match in found
        if match and match[2] == bench.vm.name
    ]


def stopped(changes: list[tuple[float, str, str]]) -> tuple[float, float] | None:
    """The last `Suspended` before the first `Resumed` of another host, and that."""
    stop: tuple[float, str] | None = None
    for at, host, what in changes:
        if what == "Suspended":
            stop = (at, host)
        elif what == "Resumed" and stop is not None and stop[1] != host:
            return stop[0], at
    return None


def wire_bytes(host: LabHost, *, received: bool = False) -> int:
    """What the host has sent (received) over its uplink so far."""
    way = "rx" if received else "tx"
    words = ["ip", "-n", host.netns, "-s", "-j", "link", "show", UPLINK]
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    return int(json.loads(done.stdout)[0]["stats64"][way]["bytes"])


@contextmanager
def _reading(words: list[str], lines: list[str]) -> Iterator[None]:
    """Runs a command meanwhile and keeps its lines; read at once, as a full pipe would stop it."""
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )
    assert process.stdout is not None
    reader = threading.Thread(target=_drain, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        reader.join()


def _drain(stream: IO[str], lines: list[str]) -> None:
    lines.extend(stream)
