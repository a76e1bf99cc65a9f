"""Inked text: the one form in which anything reaches the terminal.

A `Line` is spans of plain text, each with an `Ink` that says what it means. There is no markup
anywhere, so a VM's name cannot be taken for any; and `clean` takes out what a terminal would
obey instead of show.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from rich.cells import cell_len, set_cell_size


class Ink(StrEnum):
    """What a piece of text means; a theme decides how that looks."""

    TEXT = "text"
    DIM = "dim"
    BOLD = "bold"
    HEAD = "head"
    KEY = "key"
    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    MOVE = "move"


class Under(StrEnum):
    """What lies under a whole line."""

    PLAIN = "plain"
    CURSOR = "cursor"
    BLUR = "blur"
    """The cursor of a table that does not have the keyboard."""
    BIG = "big"
    """Nothing, but the text on it is bold."""


Span = tuple[str, Ink]
Spans = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the screen."""

    spans: Spans = ()
    under: Under = Under.PLAIN

    @property
    def text(self) -> str:
        """Without its inks."""
        return "".join(text for text, _ in self.spans)


_BREAKS = "\t\n\r\u2028\u2029"


def clean(text: str) -> str:
    """`text` without anything a terminal would obey: control, format and unassigned characters."""
    if text.isprintable():
        return text
    return "".join(
        " " if char in _BREAKS else char
        for char in text
        if char in _BREAKS or unicodedata.category(char)[0] != "C"
    )


def spans_of(*parts: str | Span) -> Spans:
    """Clean spans; a bare string is plain text, an empty one is dropped."""
    pairs = [(part, Ink.TEXT) if isinstance(part, str) else part for part in parts]
    return tuple((clean(text), ink) for text, ink in pairs if text)


def line(*parts: str | Span, under: Under = Under.PLAIN) -> Line:
    """A line of clean spans."""
    return Line(spans_of(*parts), under)


def width_of(spans: Iterable[Span]) -> int:
    """Columns the spans take on a terminal."""
    return sum(cell_len(text) for text, _ in spans)


def fit(spans: Sequence[Span], width: int, right: bool = False) -> Spans:
    """Exactly `width` columns: padded, or cut with an ellipsis."""
    spare = width - width_of(spans)
    if spare >= 0:
        padding: Spans = ((" " * spare, Ink.TEXT),) if spare else ()
        return (*padding, *spans) if right else (*spans, *padding)
    return cut(spans, width)


def cut(spans: Sequence[Span], width: int) -> Spans:
    """The first `width` columns, the last of them an ellipsis when something is lost."""
    if width_of(spans) <= width:
        return tuple(spans)
    kept: list[Span] = []
    room = max(width - 1, 0)
    for text, ink in spans:
        if cell_len(text) >= room:
            kept.append((set_cell_size(text, room) + ("…" if width else ""), ink))
            break
        kept.append((text, ink))
        room -= cell_len(text)
    return tuple(kept)


def wrap(spans: Sequence[Span], width: int, indent: int = 0) -> list[Spans]:
    """Broken at spaces into rows of at most `width` columns, all but the first indented."""
    rows: list[list[Span]] = [[]]
    used = 0
    for text, ink in spans:
        for word in _words(text):
            size = cell_len(word)
            if used and used + len(word.rstrip()) > width:
                rows.append([(" " * indent, Ink.TEXT)] if indent else [])
                used, word = indent, word.lstrip()
                size = cell_len(word)
            rows[-1].append((word, ink))
            used += size
    return [cut(_joined(_trimmed(row)), width) for row in rows]


def _trimmed(row: list[Span]) -> list[Span]:
    return [*row[:-1], (row[-1][0].rstrip(" "), row[-1][1])] if row else row


def _words(text: str) -> list[str]:
    words: list[str] = []
    for part in text.split(" "):
        words.append(part + " ")
    words[-1] = words[-1][:-1]
    return [word for word in words if word]


def _joined(spans: Sequence[Span]) -> Spans:
    joined: list[Span] = []
    for text, ink in spans:
        if joined and joined[-1][1] is ink:
            joined[-1] = (joined[-1][0] + text, ink)
        else:
            joined.append((text, ink))
    return tuple(joined)


def changed_runs(old: Line | None, new: Line, width: int, gap: int = 12) -> list[tuple[int, int]]:
    """Where two lines differ, as (column, length).

    Runs less than `gap` apart become one: moving the cursor and setting a colour again costs a
    terminal more than the few unchanged characters between.
    """
    if old == new:
        return []
    if old is None or old.under != new.under:
        return [(0, width)]
    before, now = _cells(old, width), _cells(new, width)
    runs: list[tuple[int, int]] = []
    for column in (i for i in range(width) if before[i] != now[i]):
        start, length = runs[-1] if runs else (0, -gap - 1)
        if column - (start + length) < gap:
            runs[-1] = (start, column - start + 1)
        else:
            runs.append((column, 1))
    return runs


@lru_cache(maxsize=1024)
def _cells(of: Line, width: int) -> list[Span]:
    cells: list[Span] = []
    for text, ink in of.spans:
        if text.isascii():
            cells += [(char, ink) for char in text]
            continue
        for char in text:
            size = cell_len(char)
            cells += [(char, ink), *[("", ink)] * (size - 1)] if size else []
    return cells[:width] + [(" ", Ink.TEXT)] * (width - len(cells))
