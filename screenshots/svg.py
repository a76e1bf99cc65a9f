"""The screen as an SVG that looks the same everywhere.

Every character has its own x, and braille and blocks are drawn as shapes: no font is asked for
more than letters, so neither a viewer's font nor a missing glyph moves anything.
"""

from collections.abc import Iterable
from html import escape

from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

WIDTH, HEIGHT = 10, 21
"""Of a cell."""
BASE = 16
FONT = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"
_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))


def svg(rows: Iterable[Iterable[Segment]], columns: int, theme: TerminalTheme) -> str:
    """A picture of the rows."""
    body: list[str] = []
    count = 0
    for y, row in enumerate(rows):
        body += _row(row, y * HEIGHT, theme)
        count += 1
    width, height = columns * WIDTH, count * HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="{FONT}" font-size="15" '
            'xml:space="preserve">',
            *body,
            "</svg>\n",
        ]
    )


def _row(segments: Iterable[Segment], y: int, theme: TerminalTheme) -> list[str]:
    back: list[str] = []
    front: list[str] = []
    x = 0
    for segment in segments:
        width = segment.cell_length * WIDTH
        ink, paper = _colours(segment.style or Style(), theme)
        if width:
            back.append(f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" fill="{paper}"/>')
        front += _segment(segment, x, y, ink)
        x += width
    return back + front


def _segment(segment: Segment, x: int, y: int, ink: str) -> list[str]:
    shapes: list[str] = []
    letters: list[tuple[int, str]] = []
    for char in segment.text:
        if shape := _shape(char, x, y):
            shapes.append(shape)
        elif char != " ":
            letters.append((x, char))
        x += Segment(char).cell_length * WIDTH
    parts = [f'<path fill="{ink}" d="{"".join(shapes)}"/>'] if shapes else []
    if letters:
        places = " ".join(str(at) for at, _ in letters)
        text = escape("".join(char for _, char in letters))
        bold = ' font-weight="bold"' if segment.style and segment.style.bold else ""
        parts.append(f'<text x="{places}" y="{y + BASE}" fill="{ink}"{bold}>{text}</text>')
    return parts


def _shape(char: str, x: int, y: int) -> str:
    code = ord(char)
    if 0x2800 < code <= 0x28FF:
        return "".join(
            _box(x + 1.2 + column * 5, y + 1.2 + row * 5.25, 2.8, 2.8)
            for bit, (column, row) in enumerate(_DOTS)
            if code >> bit & 1
        )
    if char == "█":
        return _box(x, y + 3, WIDTH, HEIGHT - 6)
    if char == "░":
        return _box(x, y + 9, WIDTH, 3)
    if char in "─━╌":
        inset, thick = (2, 2) if char == "╌" else (0, 2 if char == "━" else 1)
        return _box(x + inset, y + 10, WIDTH - 2 * inset, thick)
    if char == "│":
        return _box(x + 4.5, y, 1, HEIGHT)
    if char == "└":
        return _box(x + 4.5, y, 1, 11) + _box(x + 5, y + 10, 5, 1)
    if char == "┊":
        return "".join(_box(x + 4.5, y + 1 + step * 5.25, 1.4, 3.2) for step in range(4))
    return ""


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}z"


def _colours(style: Style, theme: TerminalTheme) -> tuple[str, str]:
    ink = _triplet(style.color, theme, True)
    paper = _triplet(style.bgcolor, theme, False)
    return (paper.hex, ink.hex) if style.reverse else (ink.hex, paper.hex)


def _triplet(color: Color | None, theme: TerminalTheme, foreground: bool) -> ColorTriplet:
    if color is None:
        return theme.foreground_color if foreground else theme.background_color
    return color.get_truecolor(theme, foreground)
