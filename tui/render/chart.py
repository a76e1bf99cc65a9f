"""Curves as braille masks, axes that stay put; no terminal, no Textual.

The x axis starts at the migration's start and its window doubles when full, the y limit moves
in 1-2-5 steps and falls late: so a new sample changes one column of cells, not the picture.
"""

import math
from collections.abc import Sequence

Point = tuple[float, float]
Masks = list[list[int]]

_DOT = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Braille bits by row and column of the 2x4 dots in a cell."""
FIRST_WINDOW_S = 30.0


def window_s(newest: float) -> float:
    """The x axis: 30 s, doubled until it holds `newest`."""
    window = FIRST_WINDOW_S
    while newest > window:
        window *= 2
    return window


def steps_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 ... that is not below `value`."""
    if value <= 0:
        return 1.0
    unit: float = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 5, 10) if value <= step * unit * 1.0001)


def steady_limit(highest: float, current: float) -> float:
    """The y limit for `highest`: raised at once, lowered only when two thirds are empty."""
    wanted = steps_up(highest)
    return wanted if wanted > current or highest < current / 3 else current


def rasterize(
    points: Sequence[Point],
    width: int,
    height: int,
    x_hi: float,
    y_hi: float,
    dotted: bool = False,
) -> Masks:
    """The line through `points` over 0..x_hi, 0..y_hi, as rows of cell masks, top row first."""
    masks: Masks = [[0] * width for _ in range(height)]
    columns, rows = width * 2, height * 4
    if columns <= 0 or rows <= 0:
        return masks
    before: tuple[int, int] | None = None
    for x, y in thinned(points, columns, x_hi):
        dot = (
            min(int(x / x_hi * columns), columns - 1),
            rows - 1 - min(int(max(y, 0.0) / y_hi * rows), rows - 1),
        )
        if dot != before:
            _stroke(masks, before or dot, dot, dotted)
        before = dot
    return masks


def thinned(points: Sequence[Point], columns: int, x_hi: float) -> list[Point]:
    """Of many points in a dot column, the lowest, the highest and the last."""
    if len(points) <= columns * 4:
        return list(points)
    kept: list[Point] = []
    bucket: list[Point] = []
    now = -1
    for point in points:
        column = int(point[0] / x_hi * columns)
        if column != now and bucket:
            kept += _extremes(bucket)
            bucket = []
        now = column
        bucket.append(point)
    return kept + _extremes(bucket)


def _extremes(bucket: Sequence[Point]) -> list[Point]:
    low = min(bucket, key=lambda point: point[1])
    high = max(bucket, key=lambda point: point[1])
    return [*sorted((low, high)), bucket[-1]]


def _stroke(masks: Masks, start: tuple[int, int], end: tuple[int, int], dotted: bool) -> None:
    (x0, y0), (x1, y1) = start, end
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for step in range(steps + 1):
        x = x0 + round((x1 - x0) * step / steps)
        y = y0 + round((y1 - y0) * step / steps)
        # Whole dot pairs are left out, so a dotted line reads as one without colour too.
        if not (dotted and x // 2 % 2):
            masks[y // 4][x // 2] |= _DOT[y % 4][x % 2]


def pass_starts(passes: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """(time, number) where each pass from the second on begins, from (time, pass) samples."""
    starts: list[tuple[float, int]] = []
    last = passes[0][1] if passes else 0
    for t_s, number in passes:
        if number > last:
            starts.append((t_s, number))
            last = number
    return starts


def axis(width: int, x_hi: float, marks: Sequence[tuple[float, int]]) -> str:
    """The x axis with a `┊2` where pass 2 begins; a mark without room is left out."""
    cells = ["─"] * width
    label = f" {_window_name(x_hi)}"
    free_from = 0
    for t_s, number in marks:
        x = int(t_s / x_hi * width)
        text = f"┊{number}"
        if x >= free_from and x + len(text) <= width - len(label) - 1:
            cells[x : x + len(text)] = text
            free_from = x + len(text) + 1
    if width > 2 * len(label):
        cells[width - len(label) :] = label
    return "".join(cells)


def _window_name(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
