"""What steering costs of a core, on recorded migrations and on a very long one: prints figures.

    .venv/bin/python tests/bench/steering.py

Looks as often as the engine does: at the ends of passes, at most once a second, and once a second
between them. `deciding` is steering itself; `telling` is the outlook that every console is shown.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backend.model import Phase, Sample, Tuning  # run as a script: the path comes first
from backend.plan.forecast import outlook
from backend.plan.policy import BALANCED
from backend.plan.running import Prior
from backend.plan.writes import Count
from backend.run.helm import STEER_EVERY_S
from backend.run.steering import View, decide
from tests.unit.test_forecast_recordings import RECORDINGS, migrations

MB = 1_000_000
LONG_S = 2000
PERIODS_S = (1, 2, 4, 8) * 3
PRIOR = Prior(tuple(Count(period, 6.0 * MB * period, 2.0 * MB) for period in PERIODS_S), 300.0 * MB)
"""As many readings as a plan has; they are fitted anew with every pass."""
SAMPLES_S = 5


def long_migration() -> list[Sample]:
    """A pass every second, for half an hour and more: the most there is to look at."""
    return [
        Sample(
            t_s=n / SAMPLES_S,
            pass_number=1 + n // SAMPLES_S,
            remaining_bytes=round((25 - 5 * (n % SAMPLES_S)) * MB),
            total_bytes=512 * MB,
            sent_bytes=5 * MB * n,
            rate_bytes_s=25.0 * MB,
            dirty_bytes_s=24.0 * MB,
            pause_limit_ms=100,
        )
        for n in range(LONG_S * SAMPLES_S)
    ]


def looks(samples: Sequence[Sample], newest: int) -> list[int]:
    """Of the `newest` samples, the indices at which the engine looks."""
    found, looked_s = [], float("-inf")
    for index in range(max(0, len(samples) - newest), len(samples)):
        if samples[index].t_s - looked_s >= STEER_EVERY_S:
            found.append(index)
            looked_s = samples[index].t_s
    return found


def share_percent(samples: Sequence[Sample], look: Callable[[Sequence[Sample]], object]) -> float:
    """CPU time of looking, over the time that the newest samples took."""
    newest = min(len(samples), 300)
    begun = time.process_time()
    for index in looks(samples, newest):
        look(samples[: index + 1])
    took_s = samples[-1].t_s - samples[-newest].t_s
    return 100 * (time.process_time() - begun) / took_s


def deciding(samples: Sequence[Sample]) -> object:
    """One look of steering, at the end of a pass."""
    limit = samples[-1].pause_limit_ms or BALANCED.pause_ms
    return decide(
        View(
            samples=samples,
            policy=BALANCED,
            tuning=Tuning(limit),
            prior=PRIOR,
            pause_limit_ms=limit,
            elapsed_s=samples[-1].t_s,
            deadline_s=None,
            pass_ended=True,
            post_copy=False,
            suspended=False,
            hold=False,
            by_operator=False,
        )
    )


def telling(samples: Sequence[Sample]) -> object:
    """One outlook."""
    return outlook(samples, samples[-1].pause_limit_ms or BALANCED.pause_ms, Phase.MEMORY, PRIOR)


def main() -> None:
    """A line for each migration."""
    runs = {
        f"{name} {key}": samples
        for name in RECORDINGS
        for key, (samples, _) in migrations(name).items()
        if len(samples) > SAMPLES_S
    }
    runs["a pass every second for 2,000 s"] = long_migration()
    for name, samples in runs.items():
        decided, told = share_percent(samples, deciding), share_percent(samples, telling)
        print(f"{name:34} deciding {decided:.2f} %  telling {told:.2f} % of a core")


if __name__ == "__main__":
    main()
