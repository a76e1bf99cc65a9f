"""Spellings of rates and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.lab.errors import LabUsageError
from backend.lab.rates import (
    MAX_LINK_BITS_S,
    MIN_LINK_BITS_S,
    parse_link_rate,
    parse_size,
    parse_write_rate,
    show_bytes,
    show_link_rate,
)


@pytest.mark.parametrize(
    ("text", "bits_s"),
    [
        ("200mbit", 200_000_000),
        ("1gbit", 1_000_000_000),
        ("1Gbit/s", 1_000_000_000),
        ("2.5gbit", 2_500_000_000),
        ("100 kbit", 100_000),
        ("200000bit", 200_000),
    ],
)
def test_link_rates(text: str, bits_s: int) -> None:
    assert parse_link_rate(text) == bits_s


@pytest.mark.parametrize(
    "text",
    ["", "200", "200mbps", "20MB/s", "-1mbit", "0mbit", "1tbit", "nan", "1e9bit", "200gbit"],
)
def test_link_rates_that_are_refused(text: str) -> None:
    with pytest.raises(LabUsageError, match=r"\."):
        parse_link_rate(text)


@pytest.mark.parametrize(
    ("text", "bytes_s"),
    [
        ("0", 0),
        ("20MB/s", 20_000_000),
        ("20M", 20_000_000),
        ("20mb", 20_000_000),
        ("20MBps", 20_000_000),
        ("500kB/s", 500_000),
        ("1.5 MB/s", 1_500_000),
        ("1MiB/s", 1_048_576),
        ("4096", 4096),
        ("4096B/s", 4096),
    ],
)
def test_write_rates(text: str, bytes_s: int) -> None:
    assert parse_write_rate(text) == bytes_s


@pytest.mark.parametrize("text", ["", "fast", "20mbit", "-5M", "1iB", "5 M B", "1e9", "999TB/s"])
def test_write_rates_that_are_refused(text: str) -> None:
    with pytest.raises(LabUsageError, match=r"\."):
        parse_write_rate(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("200MB", 200_000_000), ("200M", 209_715_200), ("1G", 1 << 30), ("1GiB", 1 << 30), ("5", 5)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


def test_a_size_is_not_a_rate() -> None:
    with pytest.raises(LabUsageError):
        parse_size("5MB/s")


@given(st.integers(MIN_LINK_BITS_S // 1000, MAX_LINK_BITS_S // 1000))
def test_what_is_shown_reads_back(kbit_s: int) -> None:
    assert parse_link_rate(show_link_rate(kbit_s * 1000)) == kbit_s * 1000


def test_bytes_for_people() -> None:
    assert [show_bytes(n) for n in (0, 999, 5_000_000, 4_210_000_000)] == [
        "0 B",
        "999 B",
        "5 MB",
        "4.21 GB",
    ]
