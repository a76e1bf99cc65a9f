"""One migration by the clock, ping, the wire, libvirt at the target, and the guest's own count."""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from backend.lab.layout import LabHost
from tests.bench.benchlab import BenchError, BenchLab, link_bytes_s
from tests.bench.loads import Load, driven
from tests.bench.movers import Command, Mover, run_mover
from tests.bench.outside import Seen, watched, wire_bytes

FULL_SPEED_S = 5.0
BEFORE_S = 1.0
AFTER_S = 10.0
LIMIT_S = 150.0


@dataclass(slots=True)
class Measured:
    """What one migration did; None: not known."""

    load: str
    mover: str
    moved: bool = False
    stopped: bool = False
    """Aborted at the limit: its times are the least it would have taken."""
    failure: str = ""
    load_average: float = 0.0
    source: str = ""
    target: str = ""
    full_bytes_s: float = 0.0
    in_use_bytes: int = 0
    resident_bytes: int = 0
    link_bytes_s: float = 0.0
    wall_s: float | None = None
    total_s: float | None = None
    """Ours: the verdict's. virsh: the clock of the command."""
    pause_ms: int | None = None
    """By libvirt at the target, which keeps none of a post-copy: then by its events."""
    stopped_ms: int | None = None
    """By libvirt's events: the VM's stop at the source to its start at the target."""
    outage_ms: float | None = None
    sent_bytes: int | None = None
    """By libvirt; None after a post-copy."""
    wire_bytes: int | None = None
    """What left the source's uplink during the command."""
    passes: int | None = None
    lost_work_s: float | None = None
    memory_ok: bool | None = None
    forecast: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    switched_s: float | None = None
    """Ours: when post-copy began."""
    decisions: list[str] = field(default_factory=list)

    @property
    def limit_s(self) -> float:
        """What had to be sent, over the link."""
        return self.in_use_bytes / self.link_bytes_s

    @property
    def forecast_error_percent(self) -> float | None:
        """Of the total time, with its sign: above 0 it was forecast too long."""
        band = (self.forecast or {}).get("total_s")
        if not (band and self.total_s and self.moved):
            return None
        return float((band["mid"] - self.total_s) / self.total_s * 100)

    @property
    def finish_goal_s(self) -> float | None:
        """The issue's bound for must-finish; None where post-copy never began.

        Unique bytes dirtied before the switch: what the writer got through, its buffer at most.
        """
        if self.switched_s is None:
            return None
        return 1.15 * (self.in_use_bytes + self.dirtied_bytes) / self.link_bytes_s + 2

    dirtied_bytes: float = 0.0


def measure(
    bench: BenchLab, load: Load, mover: Mover, link_bits_s: float, limit_s: float = LIMIT_S
) -> Measured:
    """Move the VM to the other host this way; never raises for a migration that fails."""
    found = Measured(load.name, mover.name, link_bytes_s=link_bytes_s(link_bits_s))
    try:
        _measure(bench, load, mover, limit_s, found)
    except (BenchError, OSError) as error:
        found.failure = found.failure or str(error)
    return found


def _measure(bench: BenchLab, load: Load, mover: Mover, limit_s: float, found: Measured) -> None:
    source, target = bench.ends()
    found.source, found.target = source.name, target.name
    found.load_average = os.getloadavg()[0]
    if mover.ours:
        found.forecast = forecast_of(bench, target, ("--policy", mover.policy or ""), found)
    found.full_bytes_s = _full_speed(bench, load)
    found.resident_bytes, found.in_use_bytes = bench.memory_in_use(source)
    with driven(bench, load, found.full_bytes_s) as asked, watched(bench) as seen:
        time.sleep(BEFORE_S)
        wired = wire_bytes(source)
        began, first = bench.report()
        called = time.monotonic()
        command = run_mover(bench, mover, source, target, limit_s)
        found.wire_bytes = wire_bytes(source) - wired
        time.sleep(AFTER_S)
        ended, last = bench.report()
    found.outage_ms, found.stopped_ms = seen.outage_ms, seen.stopped_ms
    found.memory_ok = last.memory_ok
    if load.peak_bytes_s:
        missing = asked.expected_bytes(began, ended, found.full_bytes_s)
        missing -= last.work_bytes - first.work_bytes
        found.lost_work_s = missing / found.full_bytes_s
    _take_command(bench, mover, target, command, found)
    until = _switched(found, seen, called)
    if load.peak_bytes_s and until is not None:
        written = asked.expected_bytes(began, until, found.full_bytes_s)
        found.dirtied_bytes = min(float(load.over_bytes), written)


def _switched(found: Measured, seen: Seen, called: float) -> float | None:
    """When (`time.monotonic()`) the VM went over: its post-copy began, or its pause."""
    if found.switched_s is not None:
        return called + (found.wall_s or 0) - (found.total_s or 0) + found.switched_s
    return seen.stopped_at and seen.stopped_at - (time.time() - time.monotonic())


def forecast_of(
    bench: BenchLab, target: LabHost, words: tuple[str, ...], found: Measured | None = None
) -> dict[str, Any] | None:
    """The plan's forecast for the VM; None where there is none, which a `found` notes."""
    try:
        plans = bench.ferry("plan", bench.vm.name, "--to", target.name, *words, "--json")
        forecast: dict[str, Any] | None = plans[0]["forecast"]
    except (BenchError, LookupError, TypeError) as error:
        if found is not None:
            found.failure = f"plan: {error}"
        return None
    return forecast


def _full_speed(bench: BenchLab, load: Load) -> float:
    if not load.peak_bytes_s:
        time.sleep(FULL_SPEED_S)
        return 0.0
    if not load.steady:
        bench.write(load.peak_bytes_s)
    began, first = bench.report()
    time.sleep(FULL_SPEED_S)
    ended, last = bench.report()
    return (last.work_bytes - first.work_bytes) / (ended - began)


def _take_command(
    bench: BenchLab, mover: Mover, target: LabHost, command: Command, found: Measured
) -> None:
    found.wall_s, found.stopped = command.wall_s, command.stopped
    found.verdict = verdict = command.verdict
    found.decisions = [
        f"{event['t_s']:.1f} {event['action']}: {event['reason']}"
        for event in command.events
        if event.get("event") == "decision"
    ]
    found.switched_s = next(
        (e["t_s"] for e in command.events if e.get("action") == "post-copy"), None
    )
    found.moved = bench.ends()[0] == target
    found.total_s = float(verdict["total_s"]) if verdict else command.wall_s
    if command.code != 0 or not found.moved:
        said = verdict["reason"] if verdict else command.said
        found.failure = f"exit code {command.code}: {said}"
    if not found.moved:
        return
    done = completed(bench, target)
    found.pause_ms = done.get("downtime", found.stopped_ms)
    found.sent_bytes = done.get("data_processed")
    found.passes = done.get("memory_iteration")


def completed(bench: BenchLab, target: LabHost) -> dict[str, int]:
    """libvirt's own figures of the last migration, kept at the target; none of a post-copy."""
    words = ("domjobinfo", bench.vm.name, "--completed", "--keep-completed", "--rawstats")
    raw = bench.virsh(target, *words)
    pairs = (line.partition(":") for line in raw.splitlines())
    return {key.strip(): int(value) for key, _, value in pairs if value.strip().isdigit()}
