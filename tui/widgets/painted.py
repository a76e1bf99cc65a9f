"""The widget under everything: inked lines in, and only the changed spans repainted.

A subclass or a function says what the lines are for a width and a height; `redraw` compares
them with what is on the screen. Nothing else in the console asks for a repaint.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.render import ascii as plain
from tui.render.ink import Ink, Line, Under, changed_runs, clean

Draw = Callable[[int, int], Sequence[Line]]


class Painted(ScrollView, can_focus=False):
    """Lines that a function of (width, height) gives."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"ink--{ink}" for ink in Ink),
        *(f"under--{under}" for under in Under),
    }
    ascii_only: ClassVar[bool] = False
    """Set once at the start, for terminals without the glyphs."""

    def __init__(
        self,
        draw: Draw | None = None,
        *,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._draw = draw
        self._lines: list[Line] = []
        self._strips: dict[Line, Strip] = {}
        self._inks: dict[tuple[Ink, Under], Style] = {}
        self._drawn_width = -1

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """What is to be seen; all of it, also what is scrolled away."""
        return self._draw(width, height) if self._draw else ()

    def redraw(self) -> None:
        """Bring the screen up to date."""
        width, height = self._inner()
        if not width:
            return
        before, self._lines = self._lines, list(self.lines(width, height))
        if len(before) != len(self._lines):
            self._resize_to(len(self._lines))
        if width != self._drawn_width:
            self._drawn_width = width
            self._strips.clear()
            self.refresh()
            return
        if before != self._lines:
            self._refresh_changed(before, width)

    @property
    def painted(self) -> tuple[Line, ...]:
        """The lines as last drawn."""
        return tuple(self._lines)

    def _inner(self) -> tuple[int, int]:
        size = self.scrollable_content_region.size
        return size.width, size.height

    def _resize_to(self, count: int) -> None:
        self.virtual_size = Size(0, count)

    def _row_of(self, index: int) -> int | None:
        """Where on the widget a line is; None when it is scrolled away."""
        row = index - self.scroll_offset.y
        return row if 0 <= row < self.size.height else None

    def _line_at(self, row: int) -> Line:
        index = row + self.scroll_offset.y
        return self._lines[index] if index < len(self._lines) else Line()

    def _refresh_changed(self, before: list[Line], width: int) -> None:
        regions = []
        for index in range(max(len(before), len(self._lines))):
            row = self._row_of(index)
            if row is None:
                continue
            old = before[index] if index < len(before) else Line()
            new = self._lines[index] if index < len(self._lines) else Line()
            regions += [Region(x, row, n, 1) for x, n in changed_runs(old, new, width)]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """Textual's Line API: one row of the widget."""
        of = self._line_at(y)
        strip = self._strips.get(of)
        if strip is None:
            if len(self._strips) > 512:
                self._strips.clear()
            strip = self._strips[of] = self._strip(of)
        return strip

    def _strip(self, of: Line) -> Strip:
        segments: list[Segment] = []
        rest = style = self._style(Ink.TEXT, of.under)
        for text, ink in of.spans:
            text = clean(text)
            if self.ascii_only:
                text = text.translate(plain.TABLE)
            # Blanks have no colour of their own: one fewer change of style to send.
            style = style if text.isspace() else self._style(ink, of.under)
            segments.append(Segment(text, style))
        return Strip(segments).adjust_cell_length(self.size.width, rest).simplify()

    def _style(self, ink: Ink, under: Under) -> Style:
        style = self._inks.get((ink, under))
        if style is None:
            style = self.rich_style
            style += self.get_component_rich_style(f"ink--{ink}", partial=True)
            if under is not Under.PLAIN:
                style += self.get_component_rich_style(f"under--{under}", partial=True)
            self._inks[ink, under] = style
        return style

    def notify_style_update(self) -> None:
        """A theme or a class changed: every style is looked up again."""
        self._inks.clear()
        self._strips.clear()
        super().notify_style_update()

    def on_resize(self, _event: events.Resize) -> None:
        self.redraw()


class Scrolled(Painted, can_focus=True):
    """Scrolls with the keys of the tables when it has the keyboard."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("k", "scroll_up", "up"),
        ("j", "scroll_down", "down"),
        ("g", "scroll_home", "first"),
        ("G", "scroll_end", "last"),
    ]
    DEFAULT_CSS = """
    Scrolled { overflow: hidden auto; }
    """


class PaintedLine(Painted):
    """Exactly as high as its style says, never scrolled."""

    DEFAULT_CSS = """
    PaintedLine { height: 1; overflow: hidden hidden; }
    """
