"""A picture as lines of braille cells, with its axes; on the screen and in a text report."""

from collections.abc import Callable

from tui.render import chart
from tui.render.charts import Picture
from tui.render.ink import Ink, Line, Spans, spans_of

LABEL = 6
"""Columns left of the plot, for the y labels."""


def plot_lines(
    picture: Picture, label: Callable[[float], str], limit: float, width: int, height: int
) -> list[Line]:
    """The plot's rows over 0..`limit`, its y labels as `label` says, and the axis under them."""
    plot_width, rows = width - LABEL - 1, height - 1
    if plot_width < 4 or rows < 1:
        return []
    window = chart.window_s(picture.newest_s)
    labels = {0: label(limit)} if _any_points(picture) else {}
    body = [
        Line((*_gutter(labels.get(index, ""), "│"), *spans))
        for index, spans in enumerate(_plot(picture, plot_width, rows, window, limit))
    ]
    axis = chart.axis(plot_width, window, picture.marks)
    return [*body, Line((*_gutter("0", "└"), *spans_of((axis, Ink.DIM))))]


def _any_points(picture: Picture) -> bool:
    return any(series.points for series in picture.series)


def highest(picture: Picture) -> float:
    """Of all its points."""
    return max((y for series in picture.series for _, y in series.points), default=0.0)


def _plot(picture: Picture, width: int, rows: int, window: float, limit: float) -> list[Spans]:
    if not _any_points(picture):
        text = spans_of((f" {picture.message}", Ink.DIM))
        return [text if index == rows // 2 else () for index in range(rows)]
    layers = [
        (s.ink, chart.rasterize(s.points, width, rows, window, limit, s.dotted))
        for s in picture.series
    ]
    return [_row(layers, index, width) for index in range(rows)]


def _gutter(label: str, edge: str) -> Spans:
    return spans_of((f"{label:>{LABEL - 1}} {edge}", Ink.DIM))


def _row(layers: list[tuple[Ink, chart.Masks]], index: int, width: int) -> Spans:
    """One row of cells; a cell has one colour: that of the last series in it."""
    spans: list[tuple[str, Ink]] = []
    for x in range(width):
        mask, ink = 0, Ink.TEXT
        for own, masks in layers:
            if masks[index][x]:
                mask, ink = mask | masks[index][x], own
        char = chr(0x2800 + mask) if mask else " "
        if spans and (not mask or spans[-1][1] is ink):
            spans[-1] = (spans[-1][0] + char, spans[-1][1])
        else:
            spans.append((char, ink))
    return tuple(spans)
