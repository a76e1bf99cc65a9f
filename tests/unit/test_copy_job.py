"""A copy's job: what its end means, and how fine it looks at holes."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from backend.errors import CopyFailed
from backend.remote import copy_job
from backend.remote.copy_job import CopyJob, granularity_bytes
from backend.remote.daemon import QmpRefused, StorageDaemon
from backend.remote.images import DataMap

MIB = 1024 * 1024


class Daemon:
    """Answers query-jobs with one state after the other, the last one for ever."""

    def __init__(self, host: str, *jobs: dict[str, Any]) -> None:
        self.host = host
        self.over = False
        self.jobs = list(jobs)
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.refusal = ""
        self.on_event: Callable[[dict[str, Any]], None] = lambda _event: None

    async def call(self, command: str, _limit_s: float = 0, /, **arguments: Any) -> Any:
        self.called.append((command, arguments))
        if self.refusal:
            raise QmpRefused(self.host, command, self.refusal)
        if command == "query-jobs":
            job = self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]
            return [{"id": "another"}, {"id": copy_job.JOB, **job}]
        return {}

    async def wait_over(self) -> None:
        if not self.over:
            await asyncio.Event().wait()


def state(status: str, done: int, error: str | None = None) -> dict[str, Any]:
    return {"status": status, "current-progress": done, **({"error": error} if error else {})}


def job_of(reading: Daemon, writing: Daemon, reach: copy_job.Reach | None = None) -> CopyJob:
    ends = (cast(StorageDaemon, reading), cast(StorageDaemon, writing))
    return CopyJob(*ends, "/a/disk", "/b/disk", reach)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_job, "_POLL_S", 0.0)
    monkeypatch.setattr(copy_job, "_SUBSIDE_S", 0.05)
    monkeypatch.setattr(copy_job, "_TRY_EVERY_S", 0.0)


async def test_a_copy_that_is_equal_is_ended_without_pivot_and_never_goes_back() -> None:
    reading = Daemon(
        "kvm-a",
        state("running", 10),
        state("running", 5),
        state("ready", 20),
        state("concluded", 20),
    )
    told: list[int] = []
    await job_of(reading, Daemon("kvm-b")).follow(told.append)
    assert told == [10, 10, 20, 20]
    names = [name for name, _ in reading.called if name != "query-jobs"]
    assert names == ["block-job-cancel", "job-dismiss", "blockdev-del"]


async def reached() -> bool:
    return True


async def cut() -> bool:
    return False


@pytest.mark.parametrize(
    ("operation", "said", "gone", "reach", "sentence"),
    [
        ("read", "Input/output error", False, reached, "/a/disk on kvm-a cannot be read"),
        ("", "Input/output error", False, reached, "/a/disk on kvm-a cannot be read"),
        ("write", "No space left on device", False, reached, "/b/disk on kvm-b cannot be written"),
        ("write", "Input/output error", True, reached, "on kvm-b has ended"),
        ("write", "Input/output error", False, cut, "link from kvm-a to kvm-b broke"),
        ("write", "Input/output error", False, reached, "/b/disk could not be written on kvm-b"),
        ("write", "Input/output error", False, None, "/b/disk could not be written on kvm-b"),
    ],
)
async def test_a_failure_names_the_end_that_failed(
    operation: str, said: str, gone: bool, reach: copy_job.Reach | None, sentence: str
) -> None:
    reading, writing = Daemon("kvm-a", state("concluded", 5, said)), Daemon("kvm-b")
    job = job_of(reading, writing, reach)
    if operation:
        reading.on_event({"event": "BLOCK_JOB_ERROR", "data": {"operation": operation}})
    writing.over = gone
    with pytest.raises(CopyFailed) as caught:
        await job.follow(lambda _offset: None)
    assert sentence in caught.value.sentence
    assert caught.value.remedy


async def test_a_link_that_stays_cut_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_job, "STALL_S", 0.0)
    monkeypatch.setattr(copy_job, "CUT_LIMIT_S", 0.01)
    job = job_of(Daemon("kvm-a", state("running", 5)), Daemon("kvm-b"), cut)
    with pytest.raises(CopyFailed, match="kvm-a has not reached kvm-b for"):
        await job.follow(lambda _offset: None)


async def test_a_slow_copy_over_a_link_that_works_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_job, "STALL_S", 0.0)
    monkeypatch.setattr(copy_job, "CUT_LIMIT_S", 0.0)
    tries = 0

    async def works() -> bool:
        nonlocal tries
        tries += 1
        return True

    states = [state("running", 5) for _ in range(4)]
    reading = Daemon("kvm-a", *states, state("ready", 9), state("concluded", 9))
    await job_of(reading, Daemon("kvm-b"), works).follow(lambda _offset: None)
    assert tries


async def test_a_bandwidth_set_when_all_is_done_changes_nothing() -> None:
    reading = Daemon("kvm-a", state("running", 0))
    job = job_of(reading, Daemon("kvm-b"))
    await job.set_bandwidth(1000)
    await job.set_bandwidth(None)
    assert [arguments["speed"] for _, arguments in reading.called] == [1000, 0]
    reading.refusal = "Block job 'copy' not found"
    await job.set_bandwidth(1000)
    reading.refusal = "Invalid parameter"
    with pytest.raises(QmpRefused):
        await job.set_bandwidth(1000)


@pytest.mark.parametrize(
    ("extents", "data_bytes", "granularity"),
    [
        (1, 1000 * MIB, 1 << 20),
        (10, 1000 * MIB, 1 << 20),
        (12, 1000 * MIB, 1 << 18),
        (100, 1000 * MIB, 1 << 16),
        (10_000, 1000 * MIB, 1 << 12),
        (1, 4096, 1 << 12),
        (0, 0, 1 << 20),
    ],
)
def test_an_image_in_small_pieces_is_looked_at_finely(
    extents: int, data_bytes: int, granularity: int
) -> None:
    assert granularity_bytes(DataMap(MIB, extents, (data_bytes,))) == granularity
