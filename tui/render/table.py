"""A table as data: column specifications with cell functions, and how many fit a width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tui.render.ink import Ink, Line, Spans, Under, fit

Item = TypeVar("Item")
GAP = 2
GUTTER = 3
"""Columns left of the first cell: the cursor and the mark."""
MARGIN = 1
"""Columns kept free at the right edge, so that tables beside each other do not touch."""
EXTRA = 10
"""Columns of this rank and more are for wide terminals only."""


@dataclass(frozen=True, slots=True)
class Column(Generic[Item]):
    """One column: what it shows, how wide, and how much it matters."""

    key: str
    title: str
    width: int
    cell: Callable[[Item, int], Spans]
    """The item's spans for a cell of that many columns."""
    rank: int = 0
    """0 is always shown; the higher, the wider the terminal must be."""
    narrow: int = 0
    """The least width it makes sense in; 0: its width."""
    flex: int = 0
    """How many columns it may gain from what is left over."""
    right: bool = False
    sort: Callable[[Item], Any] | None = None

    @property
    def least(self) -> int:
        """The width below which it is left out."""
        return self.narrow or self.width


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Item]):
    """The columns that fit a width, each with the width it got."""

    columns: tuple[tuple[Column[Item], int], ...]

    def offset(self, key: str) -> int | None:
        """Where a column begins; None when it is not shown."""
        x = GUTTER
        for column, width in self.columns:
            if column.key == key:
                return x
            x += width + GAP
        return None


def fit_columns(columns: Sequence[Column[Item]], width: int) -> Fitted[Item]:
    """The most important columns that fit, in the order given.

    Extra columns come only when all others have the width they want; what then is left over
    goes to those that can use it.
    """
    room = width - MARGIN - GUTTER + GAP
    widths: dict[str, int] = {}
    by_rank = sorted(columns, key=lambda column: column.rank)
    for extra in (False, True):
        for column in by_rank:
            fits = column.rank == 0 or room >= column.least + GAP
            if fits and extra == (column.rank >= EXTRA):
                widths[column.key] = column.least
                room -= column.least + GAP
        for column in by_rank:
            room -= _widen(widths, column, column.width, room)
    for column in by_rank:
        room -= _widen(widths, column, column.width + column.flex, room)
    return Fitted(tuple((c, widths[c.key]) for c in columns if c.key in widths))


def _widen(widths: dict[str, int], column: Column[Item], wanted: int, room: int) -> int:
    gain = max(min(wanted - widths.get(column.key, wanted), room), 0)
    if gain:
        widths[column.key] += gain
    return gain


@dataclass(frozen=True, slots=True)
class Note:
    """Text laid over a row from one column up to another: why its cells are empty."""

    start: str
    stop: str
    spans: Spans


def header(fitted: Fitted[Item], sorted_by: str = "", falling: bool = False) -> Line:
    """The titles, the one sorted by with an arrow."""
    spans: Spans = ((" " * GUTTER, Ink.DIM),)
    for column, width in fitted.columns:
        arrow = ("▾" if falling else "▴") if column.key == sorted_by else ""
        spans += fit(((column.title + arrow, Ink.DIM),), width, column.right)
        spans += ((" " * GAP, Ink.DIM),)
    return Line(spans)


def row(
    fitted: Fitted[Item],
    item: Item,
    *,
    cursor: bool = False,
    marked: bool = False,
    under: Under = Under.PLAIN,
    dim: bool = False,
    note: Note | None = None,
) -> Line:
    """One item's line."""
    spans: Spans = (
        (" ▸" if cursor else "  ", Ink.DIM if under is Under.BLUR else Ink.MOVE),
        ("✓" if marked else " ", Ink.WARN),
    )
    skip_until = ""
    for index, (column, width) in enumerate(fitted.columns):
        if skip_until and column.key != skip_until:
            continue
        skip_until = ""
        if note and column.key == note.start:
            width = _reach(fitted, index, note.stop)
            spans += fit(note.spans, width)
            skip_until = note.stop
        else:
            spans += fit(column.cell(item, width), width, column.right)
        spans += ((" " * GAP, Ink.TEXT),)
    if dim:
        spans = tuple((text, Ink.DIM if ink is Ink.TEXT else ink) for text, ink in spans)
    return Line(spans, under)


def _reach(fitted: Fitted[Item], index: int, stop: str) -> int:
    width = -GAP
    for column, own in fitted.columns[index:]:
        if column.key == stop:
            break
        width += own + GAP
    return width
