"""The command line's words for a migration, typed."""

import argparse
import time

import pytest

from backend.model import MoveOptions
from backend.service.client import BadInput
from tui.commands.wanted import add_options, move_options


def wanted(*words: str) -> MoveOptions:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return move_options(parser.parse_args(words))


def test_nothing_asked_for() -> None:
    assert wanted() == MoveOptions()


def test_all_of_it() -> None:
    asked = wanted(
        *("--policy", "gentle", "--pause-ms", "80", "--deadline", "10min", "--hold"),
        *("--bandwidth", "50MB/s", "--address", "10.0.0.7"),
    )
    assert asked == MoveOptions("gentle", 80, 600.0, 50_000_000, True, None, "10.0.0.7")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10min", 600), ("10 m", 600), ("2h", 7200)]
)
def test_spans(text: str, seconds: float) -> None:
    assert wanted("--deadline", text).deadline_s == seconds


def test_a_time_of_day_is_the_next_one() -> None:
    at = wanted("--at", "02:00").at
    assert at is not None
    assert 0 < at - time.time() <= 25 * 3600
    assert time.localtime(at)[3:5] == (2, 0)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--deadline", "soon"),
        ("--deadline", "0"),
        ("--deadline", "8000h"),
        ("--deadline", "1e3"),
        ("--deadline", "9" * 400),
        ("--bandwidth", "fast"),
        ("--bandwidth", "-3"),
        ("--at", "25:00"),
        ("--at", "2:60"),
        ("--at", "tomorrow"),
        ("--at", ""),
        ("--at", "2026-13-01 02:00"),
    ],
)
def test_what_is_refused_names_its_option(option: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        wanted(f"{option}={text}")
    assert caught.value.sentence.startswith(f"{option}: ")
    assert caught.value.exit_code == 2
