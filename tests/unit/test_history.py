"""What past migrations have taught, in a file that may be damaged."""

import os
import resource
import stat
from pathlib import Path

import msgspec
import pytest

from backend.model import Band
from backend.run.history import KEPT, History, PastMove


def move(n: int = 0, uuid: str = "u-1", **changes: object) -> PastMove:
    base = PastMove(
        uuid=uuid,
        source="kvm-a",
        target="kvm-b",
        ended=1000.0 + n,
        moved=True,
        mode="live",
        total_s=10.0 + n,
        pause_ms=90,
        pause_limit_ms=50,
        passes=((8.0, 40e6 + n),),
        empty_bytes=20e6,
        forecast_s=Band(9.0, 10.0, 12.0),
    )
    return msgspec.structs.replace(base, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def test_it_is_remembered_newest_first(path: Path) -> None:
    history = History(path)
    for n in range(7):
        history.add(move(n))
    history.add(move(9, uuid="u-2"))
    again = History(path)
    past = again.past_of("u-1")
    assert past == history.past_of("u-1")
    assert past[0].passes == ((8.0, 40e6 + 6),)
    assert len(past) == 5
    assert again.past_of("u-3") == ()


def test_only_its_owner_reads_it(path: Path) -> None:
    was = os.umask(0)
    try:
        History(path).add(move())
    finally:
        os.umask(was)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_line_costs_that_line_alone(path: Path) -> None:
    history = History(path)
    history.add(move(1))
    history.add(move(2))
    path.write_bytes(path.read_bytes()[:-30])
    again = History(path)
    assert len(again.past_of("u-1")) == 1
    again.add(move(3))
    assert len(History(path).past_of("u-1")) == 2


def test_a_disk_that_was_full_costs_that_line_alone(path: Path) -> None:
    history = History(path)
    history.add(move(1))
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, was[1]))
    try:
        history.add(move(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
    history.add(move(3))
    history.add(move(4))
    assert [past.passes for past in History(path).past_of("u-1")] == [
        ((8.0, 40e6 + n),) for n in (4, 3, 1)
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b'{"uuid": 3}',
        b"\xff\xfe\x00",
        b'{"uuid":"u-1","source":"a"}',
        msgspec.json.encode(move()).replace(b'"total_s":10.0', b'"total_s":"ten"'),
        b"[" * 5000,
    ],
)
def test_what_another_version_wrote_is_passed_over(path: Path, line: bytes) -> None:
    good = msgspec.json.encode(move())
    path.write_bytes(line + b"\n" + good + b"\n" + line + b"\n")
    assert len(History(path).past_of("u-1")) == 1


def test_keys_of_a_newer_version_do_no_harm(path: Path) -> None:
    more = msgspec.json.encode(move()).replace(b'{"uuid"', b'{"brand_new":[1],"uuid"')
    path.write_bytes(more + b"\n")
    assert len(History(path).past_of("u-1")) == 1


def test_a_file_that_cannot_be_read_or_written_costs_only_itself(tmp_path: Path) -> None:
    folder = tmp_path / "history.jsonl"
    folder.mkdir()
    history = History(folder)
    history.add(move())
    assert len(history.past_of("u-1")) == 1
    gone = History(tmp_path / "no" / "such" / "file")
    gone.add(move())
    assert len(gone.past_of("u-1")) == 1


def test_the_file_is_cut_when_it_is_read(path: Path) -> None:
    lines = b"".join(msgspec.json.encode(move(n)) + b"\n" for n in range(2 * KEPT + 1))
    path.write_bytes(lines)
    History(path)
    kept = path.read_bytes().splitlines()
    assert len(kept) == KEPT
    assert msgspec.json.decode(kept[-1], type=PastMove).ended == 1000.0 + 2 * KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_record_judges_forecasts_that_were_left_alone() -> None:
    history = History()
    assert history.record() is None
    history.add(move(0))
    history.add(move(1))
    history.add(move(5))
    history.add(move(90, changed_by_hand=True))
    history.add(move(91, moved=False))
    history.add(move(92, forecast_s=None))
    record = history.record()
    assert record is not None
    assert record.count == 3
    assert record.median_error_percent == pytest.approx(100 * 1 / 11, abs=0.1)
    assert record.bands_held_percent == pytest.approx(66.7, abs=0.1)


def test_a_move_that_took_no_time_divides_by_nothing() -> None:
    history = History()
    history.add(move(total_s=0.0))
    history.record()
