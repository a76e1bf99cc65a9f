"""Emptying a host by the computed order and by fixed caps of 1 and 2, side by side in one run.

    .venv/bin/python tests/bench/evacuation.py [-n 2] [--case two-targets] [--out FILE]

Six VMs on one host of three: one writes faster than its link carries, one has a local disk, one is
shut off, one must not move, one is idle and one writes a little. `two-targets`: the host sends 400
Mbit/s, each target takes 200. `one-wire`: what the host sends is the narrowest. Policy, placement
(planned once a round) and writers are the same for all; between two runs the VMs come home. The
lab is this program's own unless one is named; nothing else should run on the machine meanwhile.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backend.lab.errors import LabError  # run as a script: the path comes first
from backend.lab.guest_link import guest_report, set_disk_writer, set_writer
from tests.bench.benchlab import COMMAND, ROOT, BenchError, BenchLab
from tests.bench.evacuation_report import (
    ONE_WIRE,
    TWO_TARGETS,
    Case,
    Moved,
    Ran,
    Wire,
    goals,
    line,
    table,
)
from tests.bench.loads import MB
from tests.bench.outside import wire_bytes
from tests.bench.report import goal_line

HOST = "kvm-b"
TARGETS = ("kvm-a", "kvm-c")
ABOVE, LOCAL, OFF, IDLE, LIGHT, TAGGED = (
    "cache-1",
    "files-1",
    "batch-1",
    "idle-1",
    "web-1",
    "db-1",
)
GO = (ABOVE, LOCAL, OFF, IDLE, LIGHT)
WRITERS = {ABOVE: (60 * MB, 200 * MB), LIGHT: (5 * MB, 100 * MB)}
METADATA = ("--uri", "urn:virt-ferry:1", "--key", "ferry", "--live", "--config")
HOME_LINK = "1gbit"
"""On the way back, and wherever the case says nothing."""
CASES = (
    Case(TWO_TARGETS, source="400mbit", target="200mbit"),
    Case(ONE_WIRE, source="200mbit", target="400mbit"),
)
CAPS: tuple[int | None, ...] = (None, 1, 2)
FILLED_BYTES = 300 * 2**20
"""Of each of the two disks."""
FILL_BYTES_S = 60 * MB
FILL_LIMIT_S = 60.0
DISK_BLOCK_BYTES = 64 * 1024
RUN_LIMIT_S = 300.0
LEARN_S = 35.0
"""Of a new engine: so long it needs to have measured what the VMs write."""
SETTLE_S = 8.0
"""After a return, before the next run is planned."""
BUSY_LOAD = 3.0


@dataclass(frozen=True, slots=True)
class Counters:
    """Bytes that went over the wires so far."""

    sent: int
    received: tuple[int, ...]
    """By each of the targets."""


class Bench:
    """Prepares the host, empties it and brings its VMs home, again and again."""

    def __init__(self, bench: BenchLab, out: Path | None, quiet_s: float) -> None:
        """`quiet_s`: so long a quieter machine is waited for before each run."""
        self.bench = bench
        self.taken: list[Ran] = []
        self.troubles: list[str] = []
        self._out = out
        self._quiet_s = quiet_s
        self._hosts = {host.name: host for host in bench.lab.hosts}

    def prepare(self) -> None:
        """Six VMs on the host, their writers set, one of them tagged."""
        for name in self._hosts:
            self.bench.run_lab("link", name, HOME_LINK)
        for vm in (*GO, TAGGED):
            if self._host_of(vm) != HOST:
                self.bench.ferry("migrate", vm, "--to", HOST, "--remove-source")
        for vm in self._names_on(HOST):
            if vm not in (*GO, TAGGED):
                self.bench.ferry("migrate", vm, "--to", TARGETS[1], "--remove-source")
        missing = [vm for vm in (*GO, TAGGED) if self._host_of(vm) != HOST]
        if missing:
            raise BenchError(f"{', '.join(missing)} could not be brought to {HOST}")
        tag = ("metadata", TAGGED, *METADATA, "--set", '<vm never="yes"/>')
        self.bench.virsh(self._hosts[HOST], *tag)
        self._fill_disks()
        for vm, (rate, over) in WRITERS.items():
            set_writer(self.bench.lab, self.bench.lab.vm(vm), rate, over)

    def _fill_disks(self) -> None:
        """So that copying them is worth an order."""
        lab = self.bench.lab
        image = self._hosts[HOST].state / "lib" / "images" / f"{OFF}.qcow2"
        fill = f"write -P 90 100M {FILLED_BYTES // 2**20 - 100}M"
        subprocess.run(
            ["qemu-io", "-f", "qcow2", "-c", fill, image], check=True, stdout=subprocess.DEVNULL
        )
        set_disk_writer(lab, lab.vm(LOCAL), FILL_BYTES_S, FILLED_BYTES)
        deadline = time.monotonic() + FILL_LIMIT_S
        while (report := guest_report(lab, lab.vm(LOCAL))) is None or (
            report.disk_blocks * DISK_BLOCK_BYTES < FILLED_BYTES
        ):
            if time.monotonic() > deadline:
                raise BenchError(f"{LOCAL} did not fill its disk in time: {report}")
            time.sleep(1)
        set_disk_writer(lab, lab.vm(LOCAL), 0, FILLED_BYTES)

    def untag(self) -> None:
        """As it was."""
        self.bench.virsh(self._hosts[HOST], "metadata", TAGGED, *METADATA, "--remove")

    def run(self, case: Case, rounds: int) -> None:
        """One case: an engine of its own, each round all three ways, rotated."""
        print(f"-- {case.name}: {HOST} sends {case.source}, targets take {case.target}", flush=True)
        self.bench.run_lab("link", HOST, "--in", HOME_LINK, "--out", case.source)
        for target in TARGETS:
            self.bench.run_lab("link", target, "--in", case.target, "--out", HOME_LINK)
        before = os.environ["XDG_STATE_HOME"]
        with tempfile.TemporaryDirectory(prefix="vf-bench-") as state:
            os.environ["XDG_STATE_HOME"] = state
            try:
                # Any command will do: it starts the engine, which measures the VMs while it lives.
                self.bench.ferry("vms", "--json")
                time.sleep(LEARN_S)
                for number in range(rounds):
                    turn = number % len(CAPS)
                    self._round(case, number + 1, (*CAPS[turn:], *CAPS[:turn]))
            finally:
                self.bench.stop_engine()
                os.environ["XDG_STATE_HOME"] = before

    def _round(self, case: Case, number: int, caps: Sequence[int | None]) -> None:
        places = self._placement()
        for cap in caps:
            load = _quiet(self._quiet_s)
            try:
                found = self._empty(case, number, cap, places, load)
            except BenchError as error:
                self._trouble(f"{case.name}, round {number}, {cap or 'computed'}: {error}")
                self.bench.ferry("evacuations", "abort", HOST)
            else:
                self.taken.append(found)
                print(line(found), flush=True)
                self.save()
            self._bring_home()
            time.sleep(SETTLE_S)

    def _placement(self) -> dict[str, str]:
        plan = self.bench.ferry("evacuate", HOST, "--plan", "--json")
        places = {move["vm"]: move["target"] for move in plan["moves"] if move["target"]}
        if sorted(places) != sorted(GO):
            said = "; ".join(f"{move['vm']}: {move['reason']}" for move in plan["moves"])
            raise BenchError(f"not all five can go: {said}")
        return places

    def _empty(
        self, case: Case, number: int, cap: int | None, places: dict[str, str], load: float
    ) -> Ran:
        words = ["evacuate", HOST, "--remove-source", "--json"]
        for vm, target in places.items():
            words += ["--place", f"{vm}={target}"]
        if cap is not None:
            words += ["--fixed-cap", str(cap)]
        first: Counters | None = None
        last: dict[str, Any] = {}
        notes: list[str] = []
        forecast: float | None = None
        with _lines(self.bench, words) as events:
            for event in events:
                if event["event"] == "plan" and event["total_s"]:
                    forecast = event["total_s"]["mid"]
                if event["event"] == "evacuation":
                    first = first or self._counters()
                    last = event
                    notes += [note["sentence"] for note in event["notes"]]
        if not last or last["state"] != "ended" or first is None:
            raise BenchError(f"the run did not end: {last.get('changed') or last.get('state')}")
        wires = self._wires(case, first)
        moves = _moves(last)
        self._check({one.vm: one.target for one in moves}, last)
        total_s = last["ended"] - last["started"]
        return Ran(case.name, number, cap, load, total_s, forecast, moves, wires, tuple(notes))

    def _wires(self, case: Case, before: Counters) -> tuple[Wire, ...]:
        """What went over them since."""
        now = self._counters()
        into = zip(TARGETS, before.received, now.received, strict=True)
        return (
            Wire(f"out of {HOST}", now.sent - before.sent, case.source_bits_s),
            *(Wire(f"into {name}", last - first, case.target_bits_s) for name, first, last in into),
        )

    def _check(self, moved: dict[str, str], last: dict[str, Any]) -> None:
        """By virsh on every host, not by what the run says."""
        if sorted(moved) != sorted(GO):
            said = "; ".join(
                f"{one['vm']}: {one['state']}, {one['reason']}" for one in last["moves"]
            )
            raise BenchError(f"not all five moved: {said}")
        wrong = [vm for vm, target in moved.items() if self._host_of(vm) != target]
        if wrong or self._host_of(TAGGED) != HOST:
            raise BenchError(f"not where they are said to be: {wrong or TAGGED}")

    def _bring_home(self) -> None:
        with _lines(self.bench, ["return", HOST, "--remove-source", "--json"]) as events:
            last = list(events)[-1:]
        away = [vm for vm in GO if self._host_of(vm) != HOST]
        if away:
            raise BenchError(f"{', '.join(away)} did not come home: {last}")

    def _host_of(self, vm: str) -> str:
        """The one host that knows it."""
        found = [name for name in self._hosts if vm in self._names_on(name)]
        return found[0] if len(found) == 1 else f"on {len(found)} hosts"

    def _names_on(self, host: str) -> list[str]:
        return self.bench.virsh(self._hosts[host], "list", "--all", "--name").split()

    def _counters(self) -> Counters:
        received = (wire_bytes(self._hosts[name], received=True) for name in TARGETS)
        return Counters(wire_bytes(self._hosts[HOST]), tuple(received))

    def _trouble(self, what: str) -> None:
        self.troubles.append(what)
        print(f"left out: {what}", flush=True)

    def save(self) -> None:
        """Write what there is so far."""
        if self._out is not None:
            found = {
                "ran": [asdict(one) for one in self.taken],
                "left_out": self.troubles,
                "goals": [asdict(goal) for goal in goals(self.taken)],
            }
            self._out.write_text(json.dumps(found, indent=1) + "\n")

    def print_report(self) -> None:
        """A table per case, the goals, what was left out."""
        for case in dict.fromkeys(one.case for one in self.taken):
            print(table([one for one in self.taken if one.case == case]))
        for goal in goals(self.taken):
            print(goal_line(goal))
        for what in self.troubles:
            print(f"left out: {what}")


@contextmanager
def _lines(bench: BenchLab, words: Sequence[str]) -> Iterator[Iterator[dict[str, Any]]]:
    """A command's objects as they come; ended if it takes too long."""
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=bench.environment,
        cwd=ROOT,
    )
    signal.signal(signal.SIGALRM, lambda *_: process.terminate())
    signal.setitimer(signal.ITIMER_REAL, RUN_LIMIT_S)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield map(json.loads, process.stdout)
        said = process.stderr.read().strip()
        if process.wait() not in (0, 1):
            raise BenchError(f"{words[0]}: {said or f'exit code {process.returncode}'}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if process.poll() is None:
            process.kill()
        process.wait()


def _moves(run: dict[str, Any]) -> tuple[Moved, ...]:
    began = run["started"]
    return tuple(
        Moved(
            move["vm"],
            move["target"],
            round(move["began"] - began, 1),
            round(move["ended"] - began, 1),
            move["pause_ms"],
            move["sent_bytes"],
        )
        for move in run["moves"]
        if move["state"] == "moved"
    )


def _quiet(limit_s: float) -> float:
    """Wait, within bounds, for others to be done; the load average of the last minute."""
    deadline = time.monotonic() + limit_s
    while (load := os.getloadavg()[0]) > BUSY_LOAD and time.monotonic() < deadline:
        time.sleep(2)
    return load


def main() -> int:
    """Exit code 0 when the run came to its end, whatever it found."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = BenchLab(options.lab, host_count=3)
    run = Bench(bench, options.out, options.quiet_s)
    with tempfile.TemporaryDirectory(prefix="vf-bench-") as state:
        os.environ["XDG_STATE_HOME"] = state
        bench.up(HOME_LINK)
        try:
            _measure(run, options)
        finally:
            bench.stop_engine()
            bench.down()
    run.save()
    run.print_report()
    return 0


def _measure(run: Bench, options: argparse.Namespace) -> None:
    try:
        run.prepare()
        run.bench.stop_engine()
        for case in CASES:
            if not options.case or case.name in options.case:
                run.run(case, options.n)
        run.untag()
    except (BenchError, LabError, OSError) as error:
        run.troubles.append(f"the rest: {error}")
    except KeyboardInterrupt:
        print("interrupted: what was measured so far", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Empties a host in three ways, and measures.")
    parser.add_argument("-n", type=int, default=2, metavar="N", help="rounds (default 2)")
    names = [case.name for case in CASES]
    parser.add_argument("--case", action="append", choices=names, help="only this one")
    parser.add_argument(
        "--quiet-s", type=float, default=90, help="the most it waits for others to be done (90)"
    )
    parser.add_argument("--lab", default="evb", help="the lab; one that is up is reused")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON of every run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
