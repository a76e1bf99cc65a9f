"""A picture as inline SVG: curves, passes, axes. Our own few shapes, no library."""

from collections.abc import Callable

from tui.export.markup import Html, tag
from tui.render import chart
from tui.render.charts import Picture, Series
from tui.render.plot import highest

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 22, 22
PLOT_W, PLOT_H = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
MARK_GAP = 16
"""Marks of passes nearer to each other than this have no number."""
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200)


def drawing(picture: Picture, label: Callable[[float], str], title: str) -> Html:
    """The whole chart; what it is of is its title, also for who cannot see it."""
    x_hi = max(picture.newest_s, 1.0)
    y_hi = picture.y_limit or chart.steps_up(highest(picture))
    parts = [tag("title", title), *_y_axis(y_hi, label), *_x_axis(x_hi), *_marks(picture, x_hi)]
    if any(series.points for series in picture.series):
        parts += [_curve(series, x_hi, y_hi) for series in picture.series]
    else:
        parts.append(_text(LEFT + PLOT_W / 2, TOP + PLOT_H / 2, picture.message, "middle"))
    box = f"0 0 {WIDTH} {HEIGHT}"
    return tag("svg", *parts, viewBox=box, width=str(WIDTH), height=str(HEIGHT), role="img")


def _curve(series: Series, x_hi: float, y_hi: float) -> Html:
    points = " ".join(
        f"{_x(x, x_hi):.1f},{_y(y, y_hi):.1f}"
        for x, y in chart.thinned(series.points, PLOT_W, x_hi)
        if x <= x_hi
    )
    dotted = " dotted" if series.dotted else ""
    return tag("polyline", points=points, class_=f"curve {series.ink}{dotted}")


def _x(value: float, x_hi: float) -> float:
    return LEFT + PLOT_W * min(max(value / x_hi, 0.0), 1.0)


def _y(value: float, y_hi: float) -> float:
    return TOP + PLOT_H * (1 - min(max(value / y_hi, 0.0), 1.0))


def _y_axis(y_hi: float, label: Callable[[float], str]) -> list[Html]:
    parts: list[Html] = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share, 1.0)
        parts.append(_line(LEFT, y, LEFT + PLOT_W, y, "grid"))
        said = label(y_hi * share) if share else "0"
        parts.append(_text(LEFT - 5, y + 4, said, "end"))
    return parts


def _x_axis(x_hi: float) -> list[Html]:
    step = next((one for one in _STEPS_S if x_hi / one <= 8), x_hi / 8)
    ticks = [step * number for number in range(int(x_hi / step) + 1)]
    unit, name = (60.0, " min") if x_hi >= 180 else (1.0, " s")
    return [
        _text(_x(t_s, x_hi), HEIGHT - 6, f"{t_s / unit:g}{name if t_s else ''}", "middle")
        for t_s in ticks
    ]


def _marks(picture: Picture, x_hi: float) -> list[Html]:
    """Where each pass begins."""
    parts: list[Html] = []
    free_from = 0.0
    for t_s, number in picture.marks:
        x = _x(t_s, x_hi)
        parts.append(_line(x, TOP, x, TOP + PLOT_H, "pass"))
        if x >= free_from:
            parts.append(_text(x, TOP - 6, str(number), "middle"))
            free_from = x + MARK_GAP
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return tag("line", class_=kind, **ends)


def _text(x: float, y: float, said: str, anchor: str) -> Html:
    return tag("text", said, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)
