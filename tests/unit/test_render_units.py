"""Figures with their units, and what an operator may type."""

import pytest

from backend.model import Band
from tui.render import units

M, G = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (900, "900 B"),
        (512 * M, "512 M"),
        (int(13.9 * G), "13.9 G"),
        (16 * G, "16 G"),
        (1023.9 * M, "1 G"),
        (120 * G, "120 G"),
    ],
)
def test_sizes(value: float | None, text: str) -> None:
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 MB/s"),
        (12_345, "12 kB/s"),
        (400_000, "0.4 MB/s"),
        (23.84e6, "23.8 MB/s"),
        (1.25e9, "1.25 GB/s"),
    ],
)
def test_rates(value: float | None, text: str) -> None:
    assert units.rate(value) == text


def test_brief_rates_are_whole_from_ten_on() -> None:
    assert units.brief_rate(18.3e6) == "18 MB/s"
    assert units.brief_rate(4.26e6) == "4.3 MB/s"


def test_a_share_has_one_unit() -> None:
    assert units.share(5.1 * G, 16 * G) == "5.1/16 G"
    assert units.share(None, 16 * G) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (38.9, "38 s"), (245, "4 m 05 s"), (7800, "2 h 10 m"), (200_000, "2 d")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


def test_bands_are_no_more_exact_than_they_are() -> None:
    assert units.band_s(Band(24.2, 27, 31.4)) == "24–31 s"
    assert units.band_s(Band(12.1, 12.2, 12.3)) == "12 s"
    assert units.band_s(Band(1200, 1500, 1800)) == "20–30 min"
    assert units.band_ms(Band(60, 84, 113)) == "60–110 ms"


def test_a_bar_is_always_as_wide() -> None:
    for fraction in (None, -1.0, 0.0, 0.41, 1.0, 7.0):
        assert len("".join(units.bar(fraction, 8))) == 8
    assert units.bar(0.41, 8) == ("███", "░░░░░")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20", 20_000_000),
        ("20M", 20_000_000),
        ("20 MB/s", 20_000_000),
        ("200mbit", 25_000_000),
        ("1gbit", 125_000_000),
        ("", None),
        ("0", None),
        ("unlimited", None),
    ],
)
def test_typed_rates(text: str, rate: int | None) -> None:
    assert units.parse_rate(text) == rate


@pytest.mark.parametrize(("text", "ms"), [("300", 300), ("300 ms", 300), ("1.5 s", 1500)])
def test_typed_pauses(text: str, ms: int) -> None:
    assert units.parse_pause(text) == ms


@pytest.mark.parametrize("text", ["fast", "-3", "nan", "inf", "1e99"])
def test_what_is_no_rate_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        units.parse_rate(text)


@pytest.mark.parametrize("text", ["", "soon", "0", "-3", "nan", "9999999999"])
def test_what_is_no_pause_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        units.parse_pause(text)
