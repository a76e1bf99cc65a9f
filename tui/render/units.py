"""Figures with their units, as short as they can honestly be. `None` is shown as a dash."""

import time

from backend.model import Band

DASH = "–"
_SIZES = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


def number(value: float, digits: int = 1) -> str:
    """With at most `digits` decimals, none where they would be zero or the figure is long."""
    text = f"{value:.{0 if value >= 100 else digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def size(value: float | None) -> str:
    """Bytes in binary units: `512 M`, `13.9 G`."""
    if value is None:
        return DASH
    for unit, name in _SIZES:
        if value >= unit * 0.9995:
            return f"{number(value / unit)} {name}"
    return f"{value:.0f} B" if value else "0"


def share(used: float | None, total: float | None) -> str:
    """Bytes of a total, in the total's unit: `5.1/16 G`."""
    if used is None or total is None:
        return DASH
    unit, name = next(((u, n) for u, n in _SIZES if total >= u), (1, "B"))
    return f"{used / unit:.1f}/{number(total / unit)} {name}"


def rate(value: float | None, digits: int = 1) -> str:
    """Bytes a second in decimal units, as links are sold: `23.8 MB/s`."""
    if value is None:
        return DASH
    if value >= 999.5e6:
        return f"{number(value / 1e9, 2)} GB/s"
    if value and value < 50e3:
        return f"{value / 1e3:.0f} kB/s"
    return f"{number(value / 1e6, digits)} MB/s"


def brief_rate(value: float | None) -> str:
    """For table cells: whole numbers from 10 MB/s on, so that noise does not repaint."""
    return rate(value, 0 if value is not None and value >= 9.95e6 else 1)


def megabytes(value: float | None) -> str:
    """A rate's bare figure in MB/s, always one decimal: `23.8`."""
    return DASH if value is None else f"{value / 1e6:.1f}"


def percent(value: float | None) -> str:
    """Whole percent."""
    return DASH if value is None else f"{value:.0f}%"


def duration(seconds: float | None) -> str:
    """`38 s`, `4 m 05 s`, `2 h 10 m`, `3 d`."""
    if seconds is None:
        return DASH
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86_400} d"


def milliseconds(value: float | None) -> str:
    """`84 ms`, `1.4 s`."""
    if value is None:
        return DASH
    return f"{value:.0f} ms" if value < 1000 else f"{number(value / 1000)} s"


def band_s(band: Band | None) -> str:
    """A span of time: `24–31 s`."""
    return _band(band, 1, "s") if band is None or band.high < 600 else _band(band, 60, "min")


def band_ms(band: Band | None) -> str:
    """A span of milliseconds, to two figures: `60–110 ms`."""
    return _band(band, 1, "ms")


def _band(band: Band | None, unit: float, name: str) -> str:
    if band is None:
        return DASH
    low, high = (_two_figures(value / unit) for value in (band.low, band.high))
    return f"{low} {name}" if low == high else f"{low}–{high} {name}"


def _two_figures(value: float) -> str:
    return f"{value:.0f}" if value < 100 else f"{float(f'{value:.2g}'):.0f}"


def clock(epoch: float) -> str:
    """Local time of day, to the second."""
    return time.strftime("%H:%M:%S", time.localtime(epoch))


def stamp(epoch: float) -> str:
    """Local date and time with its zone: `2026-11-24 20:10:33 +0000`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(epoch))


def day_clock(epoch: float) -> str:
    """Local date and time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch))


def bar(fraction: float | None, width: int) -> tuple[str, str]:
    """A bar's filled and empty part."""
    full = round(min(max(fraction or 0.0, 0.0), 1.0) * width)
    return "█" * full, "░" * (width - full)


def parse_rate(text: str) -> int | None:
    """Bytes a second from what an operator types: `20` and `20M` are MB/s, `200mbit` too.

    Raises ValueError with a sentence. An empty text, `0` and `unlimited` mean no limit: None.
    """
    word = text.strip().lower().replace(" ", "").removesuffix("/s").removesuffix("ps")
    if word in ("", "0", "unlimited", "none"):
        return None
    units = {"gbit": 125e6, "mbit": 125e3, "gb": 1e9, "mb": 1e6, "kb": 1e3, "g": 1e9, "m": 1e6}
    unit = next((name for name in units if word.endswith(name)), "")
    try:
        value = float(word.removesuffix(unit)) * units.get(unit, 1e6)
    except ValueError:
        raise ValueError(
            f"{text.strip()} is not a rate: write 20 (MB/s), 200 mbit, or nothing for unlimited."
        ) from None
    if not 1e4 <= value <= 1e12:
        raise ValueError("A rate lies between 0.01 MB/s and 1000 GB/s.")
    return round(value)


def parse_pause(text: str) -> int:
    """Milliseconds from what an operator types: `300`, `300 ms`, `1.5 s`; ValueError otherwise."""
    word = text.strip().lower().replace(" ", "")
    factor = 1.0 if word.endswith("ms") or not word.endswith("s") else 1000.0
    try:
        value = float(word.removesuffix("ms").removesuffix("s")) * factor
    except ValueError:
        raise ValueError(f"{text.strip()} is not a pause: write milliseconds, like 300.") from None
    if not 1 <= value <= 2_000_000:
        raise ValueError("A pause limit lies between 1 ms and 2000 s (QEMU's own bounds).")
    return round(value)


def counted(number: int, noun: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number} {noun}{'s' * (number != 1)}"
