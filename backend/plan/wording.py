"""Figures in sentences: MB/s, MB, s and ms, to the digits that mean something."""

from math import floor, log10

from backend.model import Band


def rate(bytes_s: float) -> str:
    """25.1 MB/s."""
    return f"{bytes_s / 1e6:.1f} MB/s"


def size(count: float) -> str:
    """201 MB, 13.9 GB; decimal, as rates are."""
    if count < 1e9:
        return f"{count / 1e6:,.0f} MB" if count >= 1e7 else f"{count / 1e6:,.1f} MB"
    return f"{count / 1e9:,.1f} GB"


def memory(count: float) -> str:
    """512 M, 13.9 G: binary, as memory and disks are sold and shown on every screen."""
    gib = count / 2**30
    return f"{count / 2**20:,.0f} M" if gib < 1 else f"{gib:,.1f} G"


def seconds(span_s: float) -> str:
    """8 s, 4 min."""
    return f"{span_s:,.0f} s" if span_s < 120 else f"{span_s / 60:,.0f} min"


def seconds_band(band: Band) -> str:
    """12-16 s; one figure where both ends look the same."""
    if band.high < 120:
        return _span(f"{band.low:,.0f}", f"{band.high:,.0f}", "s")
    return _span(f"{band.low / 60:,.0f}", f"{band.high / 60:,.0f}", "min")


def ms_band(band: Band) -> str:
    """80-120 ms, to two digits."""
    return _span(f"{two_digits(band.low):,}", f"{two_digits(band.high):,}", "ms")


def two_digits(value: float) -> int:
    """Rounded to its first two digits: 8,312 -> 8,300."""
    if value < 1:
        return 0
    step = 10 ** max(0, floor(log10(value)) - 1)
    return int(round(value / step) * step)


def _span(low: str, high: str, unit: str) -> str:
    return f"{low} {unit}" if low == high else f"{low}–{high} {unit}"
