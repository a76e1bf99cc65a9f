"""Moving a VM by virsh and by us, alternating in one run, measured from outside.

    .venv/bin/python tests/bench/migrate.py [quick|long] [-n 3] [--minutes 45] [--out FILE]

`quick` is what a closing note needs: 512 MiB over 200 Mbit/s; idle, below, near and above what the
link carries. `long` runs a bursty writer, one that jumps mid-way, and 2 GiB, once each. The lab is
this program's own unless one is named; nothing else should run on the machine meanwhile. Every
engine it starts keeps its state in a folder of its own, so no earlier migration is known to it.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backend.lab.errors import LabError  # run as a script: the path comes first
from backend.lab.layout import check_name
from backend.lab.rates import parse_link_rate
from tests.bench import report
from tests.bench.benchlab import BenchError, BenchLab
from tests.bench.loads import MB, Load, steady
from tests.bench.measure import LIMIT_S, Measured, measure
from tests.bench.movers import (
    AUTO_CONVERGE,
    BALANCED,
    DEFAULT,
    MOVERS,
    MUST_FINISH,
    POST_COPY,
    Mover,
)

LINK = "200mbit"
LINK_BITS_S = parse_link_rate(LINK)
LEARN_S = 35.0
"""After a change of what the VM writes: so long the engine needs to have measured it anew."""
TYPICAL_S = 30.0
"""What a measurement costs beside the migration."""


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement to take."""

    load: Load
    mover: Mover
    round: int


IDLE = steady("idle", 0, 0)
WEB = steady("web", 5, 100)
NEAR = steady("near", 20, 200)
ABOVE = steady("above", 60, 200)
BURSTY = Load("bursty", 200 * MB, ((10, 0), (10, 60 * MB)), repeats=True)
JUMP = Load("jump", 200 * MB, ((4, 5 * MB), (0, 60 * MB)))
LARGE = steady("2 GiB", 10, 1200)


def quick_rounds(load: Load, count: int) -> tuple[list[Task], list[str]]:
    """What of the quick profile makes sense for a load, alternating; and what was left out."""
    left_out: list[str] = []
    often: tuple[Mover, ...] = MOVERS
    once: tuple[Mover, ...] = ()
    if load in (IDLE, WEB):
        often, once = (DEFAULT, BALANCED, MUST_FINISH), (POST_COPY,)
        left_out = [f"{load.name}: auto-converge (nothing to throttle); post-copy after round 1"]
    elif load is ABOVE:
        often, once = (AUTO_CONVERGE, POST_COPY, BALANCED, MUST_FINISH), (DEFAULT,)
        left_out = ["above: virsh default after round 1 (it ends at the limit each time)"]
    first = [mover for mover in MOVERS if mover in (*often, *once)]
    tasks = [Task(load, mover, 1) for mover in first]
    tasks += [Task(load, mover, n) for n in range(2, count + 1) for mover in often]
    return tasks, left_out


class Bench:
    """A run: takes the measurements, prints each, keeps all of them in the file."""

    def __init__(self, bench: BenchLab, out: Path | None, ends_at: float) -> None:
        self.bench = bench
        self.ends_at = ends_at
        self.taken: list[Measured] = []
        self.left_out: list[str] = []
        self._out = out
        self._began = time.time()

    def run(self, tasks: list[Task], limit_s: float = LIMIT_S) -> None:
        """One load's tasks, one after the other; a failure is noted and the next one taken."""
        if not tasks:
            return
        load = tasks[0].load
        if not self._prepare(load):
            return
        for task in tasks:
            longest_s = limit_s / 3 if task.mover.ours else limit_s
            if time.monotonic() + TYPICAL_S + longest_s > self.ends_at:
                self._leave_out(f"{load.name}, {task.mover.name}, round {task.round}: no time left")
                continue
            found = measure(self.bench, load, task.mover, LINK_BITS_S, limit_s)
            self.taken.append(found)
            print(report.line(found), flush=True)
            self.save()

    def _prepare(self, load: Load) -> bool:
        print(f"-- {load.name}", flush=True)
        began = time.monotonic()
        try:
            self.bench.fill(load.peak_bytes_s, load.over_bytes)
            # Any command will do: it starts the engine, which measures the VMs while it lives.
            self.bench.ferry("vms", "--json")
        except (BenchError, LabError, OSError) as error:
            self._leave_out(f"{load.name}: {error}")
            return False
        time.sleep(max(0.0, LEARN_S - (time.monotonic() - began)))
        return True

    def _leave_out(self, what: str) -> None:
        self.left_out.append(what)
        print(f"left out: {what}", flush=True)

    def save(self) -> None:
        """Write what there is so far."""
        if self._out is None:
            return
        found = {
            "started": self._began,
            "link_bits_s": LINK_BITS_S,
            "measured": [{**asdict(one), "limit_s": one.limit_s} for one in self.taken],
            "left_out": self.left_out,
            "goals": [asdict(goal) for goal in report.goals(self.taken)],
        }
        self._out.write_text(json.dumps(found, indent=1) + "\n")

    def print_report(self) -> None:
        """The tables, the goals, what was left out."""
        for text in report.tables(self.taken):
            print(text)
        for goal in report.goals(self.taken):
            print(report.goal_line(goal))
        for what in self.left_out:
            print(f"left out: {what}")


def main() -> int:
    """Exit code 0 when the run came to its end, whatever it found."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="vf-bench-") as state:
        os.environ["XDG_STATE_HOME"] = state
        if options.profile == "long":
            names = (options.lab, check_name(f"{options.lab}-2g"))
            _run_profile(options, ((names[0], 512, (BURSTY, JUMP)), (names[1], 2048, (LARGE,))))
        else:
            _run_profile(options, ((options.lab, 512, (IDLE, WEB, NEAR, ABOVE)),))
    return 0


def _run_profile(
    options: argparse.Namespace, parts: tuple[tuple[str, int, tuple[Load, ...]], ...]
) -> None:
    ends_at = time.monotonic() + options.minutes * 60
    run: Bench | None = None
    try:
        for name, memory_mib, all_loads in parts:
            loads = [one for one in all_loads if not options.load or one.name in options.load]
            if not loads:
                continue
            bench = BenchLab(name)
            with lab_up(bench, memory_mib):
                if run is None:
                    run = Bench(bench, options.out, ends_at)
                run.bench = bench
                try:
                    for load in loads:
                        tasks, left_out = _tasks(options, load)
                        run.left_out += left_out
                        run.run(tasks, options.stop_s * (2 if load is LARGE else 1))
                finally:
                    bench.stop_engine()
    except KeyboardInterrupt:
        print("interrupted: what was measured so far", flush=True)
    if run is not None:
        run.save()
        run.print_report()


def _tasks(options: argparse.Namespace, load: Load) -> tuple[list[Task], list[str]]:
    if options.profile == "long":
        tasks, left_out = [Task(load, mover, 1) for mover in MOVERS], list[str]()
    else:
        tasks, left_out = quick_rounds(load, options.n)
    if options.mover:
        tasks = [task for task in tasks if task.mover.name in options.mover]
    return tasks, left_out


@contextmanager
def lab_up(bench: BenchLab, memory_mib: int) -> Iterator[None]:
    """The lab while it is needed, shaped and quiet; gone after that if it was made here."""
    bench.up(LINK, memory_mib)
    try:
        yield
    finally:
        bench.down()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Moves a VM by virsh and by us, and measures.")
    parser.add_argument("profile", nargs="?", choices=("quick", "long"), default="quick")
    parser.add_argument("-n", type=int, default=3, metavar="N", help="rounds (default 3)")
    parser.add_argument("--minutes", type=float, default=45, help="begin nothing after that")
    parser.add_argument("--stop-s", type=float, default=LIMIT_S, help="aborted after (150)")
    parser.add_argument("--lab", default="bench", help="the lab; one that is up is reused")
    parser.add_argument("--load", action="append", help="only this load; may be repeated")
    names = [mover.name for mover in MOVERS]
    parser.add_argument("--mover", action="append", choices=names, help="only this one")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON of every measurement")
    return parser


if __name__ == "__main__":
    sys.exit(main())
