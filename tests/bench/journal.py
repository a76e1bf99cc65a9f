"""How long the journal takes to list many past migrations, and what a day of samples costs.

    .venv/bin/python tests/bench/journal.py [COUNT]

Prints the time from a client's `ListPast` to its reply with COUNT (10,000) lines, over the
engine's own socket, and the memory of a process that is fed a day's samples at speed.
"""

import asyncio
import gzip
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil

from backend.model import Migration, Outcome, PastFilter, Sample, Verdict
from backend.run.journal import Journal
from backend.service.client import EngineClient
from backend.service.protocol import FleetChoice, ListPast, PastReply, StopEngine

ROOT = Path(__file__).resolve().parents[2]
DAY_SAMPLES = 24 * 3600 * 5
FLEET = ("test:///default",)


def recorded() -> tuple[Migration, list[Sample]]:
    """A real migration of the recordings: its last state and its samples."""
    states, samples = [], []
    packed = (ROOT / "tests/recordings/db.jsonl.gz").read_bytes()
    for text in gzip.decompress(packed).splitlines():
        change = msgspec.json.decode(text)
        change = change.get("change", change)
        if change.get("type") == "MigrationChanged":
            states.append(change["migration"])
        elif change.get("type") == "SampleArrived":
            samples.append(msgspec.convert(change["sample"], Sample))
    return msgspec.convert(states[-1], Migration), samples


async def fill(path: Path, count: int) -> None:
    """As many past migrations, a minute apart, each with the recorded chart."""
    state, samples = recorded()
    journal = Journal(path, time.time, " ".join(FLEET))
    verdict = state.verdict or Verdict(
        "x", state.vm, state.source, state.target, Outcome.MOVED, state.target, "", 10.0, 11.0
    )
    for n in range(count):
        one = f"{n:06x}"
        begun = time.time() - (count - n) * 60
        journal.migration(replace(state, id=one, started=begun, verdict=replace(verdict, id=one)))
        for sample in samples:
            journal.sample(one, sample)
        if n % 50 == 49:
            await journal.written()
    await journal.close()


async def listing(count: int) -> None:
    """Of a fresh engine, then of one that has been asked before; and opening one with its chart."""
    client = await EngineClient.connect(FleetChoice(uris=FLEET))
    for turn in ("first", "second", "third"):
        begun = time.perf_counter()
        reply = await client.call(ListPast(PastFilter(limit=count)))
        took_ms = (time.perf_counter() - begun) * 1000
        assert isinstance(reply, PastReply)
        print(f"{turn} listing of {len(reply.past)}: {took_ms:.0f} ms {reply.trouble}")
    await client.call(StopEngine(force=True))
    await client.close()


async def day(path: Path) -> None:
    """One migration that runs a day, its samples as fast as they are taken."""
    state, samples = recorded()
    process = psutil.Process()
    journal = Journal(path, time.time, "day")
    journal.migration(replace(state, id="day", verdict=None))
    begun = time.perf_counter()
    for n in range(DAY_SAMPLES):
        journal.sample("day", replace(samples[n % len(samples)], t_s=n / 5))
        if n % 1000 == 999:
            await journal.written()
        if n % (DAY_SAMPLES // 6) == 0:
            print(f"{n / 18_000:4.1f} h: {process.memory_info().rss / 1e6:.0f} MB")
    print(f"{DAY_SAMPLES} samples in {time.perf_counter() - begun:.0f} s")
    await journal.close()
    print(f"at the end: {process.memory_info().rss / 1e6:.0f} MB, file {size_mb(path):.1f} MB")


def size_mb(path: Path) -> float:
    """Of the journal's file."""
    return path.stat().st_size / 1e6


def main() -> None:
    """Fill, list, feed; in a state directory of its own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="virt-ferry-bench-") as base:
        os.environ["XDG_STATE_HOME"] = base
        directory = Path(base) / "virt-ferry"
        directory.mkdir(mode=0o700)
        path = directory / "journal.db"
        asyncio.run(fill(path, count))
        print(f"{count} migrations: {size_mb(path):.0f} MB")
        asyncio.run(listing(count))
        asyncio.run(day(directory / "day.db"))


if __name__ == "__main__":
    main()
