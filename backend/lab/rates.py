"""Spellings of rates and sizes. Pure.

Links are in bits/s as `tc` spells them (200mbit, 1gbit, also 200Mbit/s). What a guest writes is
in bytes/s (20MB/s, 20M, 500kB/s, 0; factors of 1000, or of 1024 as MiB/s). Sizes are bytes:
M and MiB are 2**20 as QEMU and virsh have it, MB is 10**6.
"""

import re

from backend.lab.errors import LabUsageError

MIN_LINK_BITS_S = 100_000
MAX_LINK_BITS_S = 100_000_000_000
MAX_WRITE_BYTES_S = 100_000_000_000

_NUMBER = r"(\d{1,15}(?:\.\d{1,6})?)"
_LINK = re.compile(rf"{_NUMBER}\s*([kmg]?)(?:bits?)(?:/s)?", re.IGNORECASE | re.ASCII)
_BYTES = re.compile(rf"{_NUMBER}\s*([kmgt]?)(i?)(b?)", re.IGNORECASE | re.ASCII)
_PER_SECOND = re.compile(r"\s*(?:/\s*s(?:ec)?|ps)$", re.IGNORECASE)
_POWER: dict[str, int] = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_link_rate(text: str) -> int:
    """Bits/s of a link: 200mbit, 1gbit."""
    match = _LINK.fullmatch(text.strip())
    if match is None:
        raise LabUsageError(
            f"{text!r} is not the rate of a link. Give it in bits per second, such as 200mbit or "
            "1gbit."
        )
    bits_s = round(float(match[1]) * 10.0 ** (3 * _POWER[match[2].lower()]))
    if not MIN_LINK_BITS_S <= bits_s <= MAX_LINK_BITS_S:
        raise LabUsageError(
            f"{text!r} is outside of what a link of the lab can be: 100kbit to 100gbit. To cut a "
            "link: virt-ferry lab link HOST down."
        )
    return bits_s


def parse_write_rate(text: str) -> int:
    """Bytes/s that a guest writes: 20MB/s, 20M, 0."""
    if re.search(r"bit", text, re.IGNORECASE):
        raise LabUsageError(
            f"{text!r} is in bits; what a VM writes is given in bytes per second, such as 20MB/s."
        )
    bytes_s = _bytes(_PER_SECOND.sub("", text.strip()), decimal_suffix=True)
    if bytes_s is None:
        raise LabUsageError(
            f"{text!r} is not a write rate. Give bytes per second, such as 20MB/s, 500kB/s, or 0 "
            "for silence."
        )
    if bytes_s > MAX_WRITE_BYTES_S:
        raise LabUsageError(f"{text!r} is more than any guest writes; the most is 100GB/s.")
    return bytes_s


def parse_size(text: str) -> int:
    """Bytes of memory: 200M (2**20), 200MB (10**6), 1G."""
    size_bytes = _bytes(text.strip(), decimal_suffix=False)
    if size_bytes is None:
        raise LabUsageError(f"{text!r} is not a size. Give bytes, such as 200MB, 512M or 1G.")
    return size_bytes


def _bytes(text: str, *, decimal_suffix: bool) -> int | None:
    match = _BYTES.fullmatch(text)
    if match is None or (match[3] and not match[2]):
        return None
    binary = bool(match[3]) or (not decimal_suffix and not match[4])
    factor = 1024.0 if binary else 1000.0
    return round(float(match[1]) * float(factor ** _POWER[match[2].lower()]))


def show_link_rate(bits_s: int) -> str:
    """The shortest spelling that `parse_link_rate` reads back."""
    for factor, unit in ((1_000_000_000, "gbit"), (1_000_000, "mbit"), (1000, "kbit")):
        if bits_s >= factor:
            return f"{bits_s / factor:.9g}{unit}"
    return f"{bits_s}bit"


def show_bytes(size_bytes: float) -> str:
    """Bytes for people, in factors of 1000: 4.2 GB."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes:.0f} B"
