"""Forecasts against what happens: the same 50 migrations every time, measured one by one.

    .venv/bin/python tests/bench/forecast.py [--quick] [--only N-M] [--lab NAME] [--out FILE.jsonl]

Three labs one after the other (256, 512, 1024 MiB), four links, writers from silent to far above
the link. Every pair of memory and link gets an engine that knows nothing of earlier ones: so no
forecast leans on a link that is not there any more. Before each plan the engine has time to
measure the VM anew. A line of the file is a migration: a run that was interrupted goes on where it
ended. `--list` shows the migrations.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backend.lab.errors import LabError  # run as a script: the path comes first
from backend.lab.layout import check_name
from tests.bench import judged
from tests.bench.benchlab import COMMAND, BenchError, BenchLab
from tests.bench.cases import GENTLE_DEADLINE_S, Case, all_cases, quick_cases
from tests.bench.measure import completed, forecast_of
from tests.bench.migrate import lab_up
from tests.bench.movers import run_command
from tests.bench.outlooks import AfterPass2, followed
from tests.bench.report import goal_line

LEARN_S = 35.0
LIMIT_S = 240.0

Numbered = tuple[int, Case]


def run_group(bench: BenchLab, group: list[Numbered], out: Path, learn_s: float) -> None:
    """The migrations of one lab and one link, with an engine of their own."""
    with tempfile.TemporaryDirectory(prefix="vf-bench-") as state:
        os.environ["XDG_STATE_HOME"] = state
        try:
            bench.link(f"{group[0][1].link_mbit}mbit")
            for number, case in group:
                outcome = run_case(bench, number, case, learn_s)
                with out.open("a") as file:
                    file.write(json.dumps(outcome) + "\n")
                print(judged.line(outcome), flush=True)
        finally:
            bench.stop_engine()


def run_case(bench: BenchLab, number: int, case: Case, learn_s: float) -> judged.Outcome:
    """Forecast one migration and do it; never raises for one that fails."""
    outcome: judged.Outcome = {
        "number": number,
        "case": asdict(case),
        "started": time.time(),
        "load_average": os.getloadavg()[0],
        "forecast": None,
        "moved": False,
        "total_s": None,
        "pause_ms": None,
        "second": None,
        "failure": "",
    }
    second = AfterPass2()
    try:
        second = _run_case(bench, case, learn_s, outcome)
    except (BenchError, LabError, OSError) as error:
        outcome["failure"] = str(error)
    outcome["second"] = asdict(second)
    return outcome


def _run_case(bench: BenchLab, case: Case, learn_s: float, outcome: judged.Outcome) -> AfterPass2:
    bench.fill(case.rate_mb_s * 1_000_000, case.over_mb * 1_000_000)
    bench.ferry("vms", "--json")
    time.sleep(learn_s)
    source, target = bench.ends()
    _, outcome["in_use_bytes"] = bench.memory_in_use(source)
    wanted = ["--policy", case.policy]
    if case.policy == "gentle":
        wanted += ["--deadline", str(GENTLE_DEADLINE_S)]
    outcome["forecast"] = forecast_of(bench, target, tuple(wanted))
    name = bench.vm.name
    words = [*COMMAND, "migrate", name, "--to", target.name, "--json", *wanted]
    with followed(bench.lab.fleet_file, name) as second:
        done = run_command(bench, words, LIMIT_S, lambda: bench.ferry("abort", name))
    outcome["verdict"] = verdict = done.verdict
    outcome["decisions"] = [one["reason"] for one in done.events if one["event"] == "decision"]
    if verdict is None:
        raise BenchError(f"exit code {done.code}: {done.said}")
    outcome["moved"] = bench.ends()[0] == target
    outcome["total_s"] = verdict["total_s"]
    if outcome["moved"]:
        libvirt = completed(bench, target)
        outcome["pause_ms"] = libvirt.get("downtime", verdict["pause_ms"])
    elif done.stopped or case.policy != "gentle":
        outcome["failure"] = f"exit code {done.code}: {verdict['reason']}"
    return second


def wanted_numbers(options: argparse.Namespace) -> set[int]:
    """Which of the list, from 1."""
    if options.quick:
        return set(quick_cases())
    first, _, last = (options.only or "1-999").partition("-")
    return set(range(int(first), int(last or first) + 1))


def main() -> int:
    """Exit code 0 when the run came to its end, whatever it found."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = wanted_numbers(options)
    cases = [(n, case) for n, case in enumerate(all_cases(), 1) if n in wanted]
    if options.list:
        for number, case in cases:
            print(number, case)
        return 0
    done = {one["number"] for one in _read(options.out)}
    left = [(number, case) for number, case in cases if number not in done]
    try:
        for memory_mib, group in groupby(left, lambda one: one[1].memory_mib):
            bench = BenchLab(check_name(f"{options.lab}-{memory_mib}"))
            with lab_up(bench, memory_mib):
                for _, same_link in groupby(group, lambda one: one[1].link_mbit):
                    run_group(bench, list(same_link), options.out, options.learn_s)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", flush=True)
    outcomes = [one for one in _read(options.out) if one["number"] in wanted]
    for goal in judged.summary(outcomes):
        print(goal_line(goal))
    return 0


def _read(path: Path) -> list[judged.Outcome]:
    """What the file holds, by number; of two of the same, the later."""
    if not path.exists():
        return []
    outcomes = {one["number"]: one for one in map(json.loads, path.read_text().splitlines()) if one}
    return [outcomes[number] for number in sorted(outcomes)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Judges forecasts by what happens.")
    parser.add_argument("--quick", action="store_true", help="a dozen of them, in one lab")
    parser.add_argument("--only", metavar="N-M", help="only these, numbered from 1")
    parser.add_argument("--list", action="store_true", help="show them and do nothing")
    parser.add_argument("--lab", default="fc", help="the labs' names begin so (NAME-512)")
    parser.add_argument("--learn-s", type=float, default=LEARN_S, help="wait before a plan")
    parser.add_argument("--out", type=Path, default=Path("forecast.jsonl"), metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
