"""What the console sends down a slow link, and what it costs: measured at a pty.

Bytes and CPU time of real processes on recordings played in real time, after 3 s of warm-up.
All run at once: what is measured is bytes and CPU time, which do not depend on each other.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.console.pty_meter import Meter
from tests.console.recorded import begun, load

PLAYER = Path(__file__).with_name("play.py")
WARM_UP_S = 3.0
MEASURED_S = 6.0
KEY_S = 0.5

Figures = dict[str, tuple[float, float]]


def begins(name: str) -> float:
    """When a recording's last migration is first seen."""
    return max(seen.t for seen in begun(load(name)).values())


def measured(argv: list[str], keys: tuple[bytes, ...] = ()) -> tuple[float, float]:
    """Bytes a second and percent of a core."""
    with Meter([sys.executable, str(PLAYER), *argv]) as meter:
        meter.read_until(b"MIGRATIONS", 20)
        for key in keys:
            meter.press(key)
            meter.read_for(KEY_S)
        meter.read_for(WARM_UP_S - KEY_S * len(keys))
        return meter.measure(MEASURED_S)


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Every console measured."""
    runs: dict[str, tuple[list[str], tuple[bytes, ...]]] = {
        "idle": (["idle", "0"], ()),
        "restless": (["idle", "1", "--restless"], ()),
        "moving": (["two-at-once", str(begins("two-at-once"))], ()),
        "migration": (["db", str(begins("db"))], (b"M", b"\r")),
    }
    with ThreadPoolExecutor(len(runs)) as pool:
        futures = {name: pool.submit(measured, *run) for name, run in runs.items()}
        return {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize(
    ("run", "most_bytes_s", "most_cpu_percent"),
    [("idle", 200, 3), ("restless", 6_000, 3), ("moving", 6_000, 3), ("migration", 10_000, 6)],
)
def test_bytes_and_cpu_stay_in_their_budget(
    figures: Figures, run: str, most_bytes_s: float, most_cpu_percent: float
) -> None:
    bytes_s, cpu_percent = figures[run]
    print(f"\n{run}: {bytes_s:.0f} B/s, {cpu_percent:.1f} % of a core")
    assert bytes_s < most_bytes_s
    assert cpu_percent < most_cpu_percent
