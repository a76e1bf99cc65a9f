"""What the measured VM writes, and when: steady, in bursts, or with a jump."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from tests.bench.benchlab import BenchLab

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """A writer's rate over a time that begins with the migration's command.

    `steps` are (seconds, bytes/s): each rate holds for its seconds, the last one for good unless
    they repeat.
    """

    name: str
    over_bytes: int
    steps: tuple[tuple[float, int], ...]
    repeats: bool = False

    @property
    def peak_bytes_s(self) -> int:
        """The highest rate asked for: the one that full speed is measured at."""
        return max(rate for _, rate in self.steps)

    @property
    def steady(self) -> bool:
        return len(self.steps) == 1

    def rates(self) -> Iterator[tuple[float, int]]:
        """(seconds, rate) one after the other, without end if they repeat."""
        while True:
            yield from self.steps
            if not self.repeats:
                return


def steady(name: str, rate_mb_s: float, over_mb: int) -> Load:
    """The same rate all the time."""
    return Load(name, over_mb * MB, ((0.0, round(rate_mb_s * MB)),))


@dataclass(slots=True)
class Driven:
    """What was asked of the writer: (time, rate), times as `time.monotonic()`."""

    changes: list[tuple[float, int]]

    def expected_bytes(self, began: float, ended: float, full_bytes_s: float) -> float:
        """What a VM that nobody slows writes between the two."""
        marks = [*self.changes, (ended, 0)]
        total = 0.0
        for (at, rate), (until, _) in pairwise(marks):
            seconds = max(0.0, min(until, ended) - max(at, began))
            total += seconds * min(rate, full_bytes_s)
        return total


@contextmanager
def driven(bench: BenchLab, load: Load, full_bytes_s: float) -> Iterator[Driven]:
    """Drives the writer meanwhile. A steady one is left alone, at the speed it was seen to have."""
    if load.steady:
        yield Driven([(time.monotonic() - 1, round(full_bytes_s))])
        return
    first = load.steps[0][1]
    bench.write(first)
    made = Driven([(time.monotonic(), first)])
    over = threading.Event()
    thread = threading.Thread(target=_drive, args=(bench, load, made, over))
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()


def _drive(bench: BenchLab, load: Load, made: Driven, over: threading.Event) -> None:
    last = load.steps[0][1]
    for seconds, rate in load.rates():
        while rate != last and not over.is_set():
            try:
                bench.write(rate)
            except Exception as error:  # deaf for the moment of the switchover: asked again
                print(f"  the writer was not changed: {error}", flush=True)
                continue
            made.changes.append((time.monotonic(), rate))
            last = rate
        if over.wait(seconds):
            return
