"""Curves over a migration's time, drawn in braille cells.

The window starts at the migrate call and doubles when full, so a new sample changes a column
or two and that is all that is repainted.
"""

from collections.abc import Callable, Sequence

from tui.render import chart
from tui.render.charts import Picture
from tui.render.ink import Ink, Line, Spans, spans_of
from tui.widgets.painted import PaintedLine

LABEL = 6
"""Columns left of the plot, for the y labels."""


class TimeChart(PaintedLine):
    """A picture of curves, its y labels in the unit `label` gives."""

    def __init__(self, label: Callable[[float], str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._label = label
        self._picture = Picture()
        self._limit = 0.0

    def show(self, picture: Picture) -> None:
        """Draw this from now on."""
        self._picture = picture
        self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """The plot's rows and the axis under them."""
        plot_width, rows = width - LABEL - 1, height - 1
        if plot_width < 4 or rows < 1:
            return []
        window = chart.window_s(self._picture.newest_s)
        self._limit = self._picture.y_limit or chart.steady_limit(self._highest(), self._limit)
        plot = self._plot(plot_width, rows, window)
        labels = {0: self._label(self._limit)}
        body = [
            Line((*_gutter(labels.get(index, ""), "│"), *spans)) for index, spans in enumerate(plot)
        ]
        axis = chart.axis(plot_width, window, self._picture.marks)
        return [*body, Line((*_gutter("0", "└"), *spans_of((axis, Ink.DIM))))]

    def _highest(self) -> float:
        return max((y for series in self._picture.series for _, y in series.points), default=0.0)

    def _plot(self, width: int, rows: int, window: float) -> list[Spans]:
        if not any(series.points for series in self._picture.series):
            text = spans_of((f" {self._picture.message}", Ink.DIM))
            return [text if index == rows // 2 else () for index in range(rows)]
        layers = [
            (s.ink, chart.rasterize(s.points, width, rows, window, self._limit, s.dotted))
            for s in self._picture.series
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
