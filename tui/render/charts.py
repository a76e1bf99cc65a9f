"""A migration's two pictures: what is left to send, and the race between writing and sending."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from backend.model import Phase, PhaseState, Word
from tui.render import chart, units
from tui.render.ink import Ink, Span
from tui.render.migration_lines import MigrationView, word_of


@dataclass(frozen=True, slots=True)
class Series:
    """One curve."""

    points: tuple[chart.Point, ...]
    ink: Ink
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """What a chart shows."""

    series: tuple[Series, ...] = ()
    """The later ones are drawn over the earlier."""
    newest_s: float = 0.0
    marks: tuple[tuple[float, int], ...] = ()
    y_limit: float | None = None
    """A fixed upper limit; None: 1-2-5 steps over the highest point."""
    message: str = "no samples yet"
    """Shown instead while there is nothing to draw."""


def _nothing_yet(view: MigrationView) -> str:
    if view.migration.phases.get(Phase.DISK) is PhaseState.SKIPPED and not (
        view.migration.mode.copies_memory
    ):
        return "only its definition moves"
    return "no samples yet"


def size_label(value: float) -> str:
    """A y label in bytes: `512M`."""
    return units.size(round(value)).replace(" ", "") if value < 1 << 30 else _giga(value)


def _giga(value: float) -> str:
    return f"{units.number(value / (1 << 30))}G"


def rate_label(value: float) -> str:
    """A y label in bytes/s: `50M`."""
    return f"{units.number(value / 1e6)}M" if value < 1e9 else f"{units.number(value / 1e9)}G"


def left_to_send(view: MigrationView) -> Picture:
    """Remaining memory and disk, going on dotted to the forecast switchover."""
    samples = view.samples
    if not samples:
        return Picture(message=_nothing_yet(view))
    points = tuple((s.t_s, float(s.remaining_bytes + s.disk_remaining_bytes)) for s in samples)
    total = max(max(y for _, y in points), float(samples[-1].total_bytes))
    series = (*_seen(view, points, Ink.MOVE), *_forecast(view, points[-1]))
    return Picture(series, samples[-1].t_s, _marks(view), total)


def _seen(
    view: MigrationView, points: tuple[chart.Point, ...], ink: Ink, dotted: bool = False
) -> Iterable[Series]:
    """One curve, in pieces: what no engine has seen is a gap."""
    begins = 0
    for last_s, _ in view.migration.gaps:
        ends = bisect_right(points, last_s, key=lambda point: point[0])
        if begins < ends < len(points):
            yield Series(points[begins:ends], ink, dotted)
            begins = ends
    yield Series(points[begins:], ink, dotted)


def _forecast(view: MigrationView, last: chart.Point) -> Iterable[Series]:
    outlook = view.migration.outlook
    if view.migration.running and not view.migration.hold and outlook and outlook.left_s:
        # To whole seconds, or the dotted line would be repainted at every sample.
        end = float(round(last[0] + outlook.left_s.mid))
        yield Series(((float(int(last[0])), last[1]), (max(end, last[0]), 0.0)), Ink.DIM, True)


def rates(view: MigrationView) -> Picture:
    """Throughput, and the dirty rate dotted over it."""
    samples = view.samples
    if not samples:
        return Picture(message=_nothing_yet(view))
    sent = tuple((s.t_s, s.rate_bytes_s) for s in samples)
    dirty = tuple((s.t_s, s.dirty_bytes_s) for s in samples if s.dirty_bytes_s is not None)
    series = (*_seen(view, sent, Ink.MOVE), *_seen(view, dirty, _dirty_ink(view), True))
    return Picture(series, samples[-1].t_s, _marks(view))


def _dirty_ink(view: MigrationView) -> Ink:
    return Ink.WARN if word_of(view.migration) is Word.WILL_NOT_CONVERGE else Ink.BOLD


def _marks(view: MigrationView) -> tuple[tuple[float, int], ...]:
    return tuple(chart.pass_starts([(s.t_s, s.pass_number) for s in view.samples]))


def left_legend(view: MigrationView | None) -> tuple[Span, ...]:
    """The newest figure, for the rule above the chart."""
    if view is None or not view.samples:
        return ()
    last = view.samples[-1]
    return ((f"  {units.size(last.remaining_bytes + last.disk_remaining_bytes)}", Ink.MOVE),)


def rates_legend(view: MigrationView | None, width: int) -> tuple[Span, ...]:
    """Both curves' glyph, name and newest figure."""
    if view is None or not view.samples:
        return ()
    last = view.samples[-1]
    sent, dirty = units.megabytes(last.rate_bytes_s), units.megabytes(last.dirty_bytes_s)
    long = width >= 56
    written: Span = (f"  ╌ {'dirty rate ' if long else 'written '}{dirty}", _dirty_ink(view))
    return (
        (f"  ━ {'throughput ' if long else 'sent '}{sent}", Ink.MOVE),
        *((written,) if view.migration.mode.copies_memory else ()),
        (" MB/s" if long else "", Ink.DIM),
    )
