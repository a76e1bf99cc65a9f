"""The console's glyphs for terminals without them (Linux VT, LANG=C): one column for one column."""

from collections.abc import Mapping

_GLYPHS = {
    "▸": ">",
    "◂": "<",
    "●": "*",
    "○": "o",
    "◌": "o",
    "✓": "+",
    "✕": "x",
    "█": "#",
    "░": ".",
    "─": "-",
    "━": "=",
    "╌": "-",
    "┄": ".",
    "┊": "|",
    "│": "|",
    "└": "`",
    "⇢": ">",
    "⇠": "<",
    "→": ">",
    "–": "-",
    "…": "~",
    "·": ".",
    "≤": "<",
    "×": "x",
    "▴": "^",
    "▾": "v",
}

_UPPER_DOTS = 0b0001_1011
_LOWER_DOTS = 0b1110_0100


def _braille(mask: int) -> str:
    if not mask:
        return " "
    if mask & _UPPER_DOTS and mask & _LOWER_DOTS:
        return ":"
    return "'" if mask & _UPPER_DOTS else "."


TABLE: Mapping[int, str] = {
    **{ord(glyph): plain for glyph, plain in _GLYPHS.items()},
    **{0x2800 + mask: _braille(mask) for mask in range(256)},
}
"""For `str.translate`."""


def wants_ascii(environ: Mapping[str, str]) -> bool:
    """True for terminals that cannot show braille and blocks, judged by their environment."""
    if environ.get("TERM") in ("linux", "vt100", "vt220", "dumb"):
        return True
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    return "utf" not in locale.lower()
