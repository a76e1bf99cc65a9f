"""Curves over a migration's time, drawn in braille cells.

The window starts at the migrate call and doubles when full, so a new sample changes a column
or two and that is all that is repainted.
"""

from collections.abc import Callable, Sequence

from tui.render import chart
from tui.render.charts import Picture
from tui.render.ink import Line
from tui.render.plot import highest, plot_lines
from tui.widgets.painted import PaintedLine


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
        picture = self._picture
        self._limit = picture.y_limit or chart.steady_limit(highest(picture), self._limit)
        return plot_lines(picture, self._label, self._limit, width, height)
