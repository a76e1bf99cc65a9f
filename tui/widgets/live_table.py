"""A table that repaints only the cells that changed and keeps its cursor on the same row key.

Not Textual's DataTable: its `update_cell` repaints the whole table, and a subclass that avoids
that costs 26 ms for 30 visible cells against 6 ms here, most of the console's CPU budget.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive

from tui.render.ink import Ink, Line, Under
from tui.render.table import Column, Fitted, Note, fit_columns, header, row
from tui.widgets.painted import Painted

Item = TypeVar("Item")
DRAWN_WHOLE = 200
"""Rows of a longer table are drawn when they are seen: one costs 60 to 170 µs."""
UNSEEN = Line((("…", Ink.DIM),))
"""Stands for a row that is not drawn yet."""


class LiveTable(Painted, Generic[Item], can_focus=True):
    """Rows of `Item` under a header that stays."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "page up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "page down", show=False),
        Binding("home,g", "move(-1000000)", "first", show=False),
        Binding("end,G", "move(1000000)", "last", show=False),
        Binding("enter", "open", "open", show=False),
    ]
    DEFAULT_CSS = """
    LiveTable { overflow: hidden auto; }
    """

    cursor_key: reactive[str] = reactive("", init=False, repaint=False)
    """The row the cursor is on; it stays there whatever comes, goes or sorts."""

    @dataclass
    class Opened(Message):
        """Enter or a second click on a row."""

        table: "LiveTable[Any]"
        key: str

        @property
        def control(self) -> "LiveTable[Any]":
            """The table, for `@on` selectors."""
            return self.table

    @dataclass
    class Moved(Message):
        """The cursor went to another row."""

        table: "LiveTable[Any]"
        key: str

        @property
        def control(self) -> "LiveTable[Any]":
            """The table, for `@on` selectors."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column[Item]],
        key: Callable[[Item], str],
        *,
        note: Callable[[Item], Note | None] = lambda _: None,
        dim: Callable[[Item], bool] = lambda _: False,
        empty: str = "",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._key, self._note, self._dim = key, note, dim
        self._items: dict[str, Item] = {}
        self._fitted: tuple[int, Fitted[Item]] | None = None
        self.empty = empty
        self.marks: set[str] = set()
        self.sorted_by, self.falling = "", False

    def apply(self, items: Sequence[Item]) -> None:
        """Show these rows, in this order."""
        was = list(self._items)
        self._items = {self._key(item): item for item in items}
        self.marks &= self._items.keys()
        if self.cursor_key not in self._items:
            self.cursor_key = self._nearest(was)
        self.redraw()

    @property
    def keys(self) -> list[str]:
        """The rows' keys, top row first."""
        return list(self._items)

    @property
    def current(self) -> Item | None:
        """The item under the cursor."""
        return self._items.get(self.cursor_key)

    @property
    def marked(self) -> list[Item]:
        """The marked items in row order."""
        return [item for key, item in self._items.items() if key in self.marks]

    def toggle_mark(self) -> None:
        """Mark the cursor's row, or take its mark away, and step on."""
        if self.cursor_key in self._items:
            self.marks ^= {self.cursor_key}
            self.action_move(1)
            self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """The header and every row."""
        if self._fitted is None or self._fitted[0] != width:
            self._fitted = (width, fit_columns(self._columns, width))
        fitted = self._fitted[1]
        first = header(fitted, self.sorted_by, self.falling)
        if not self._items:
            return [first, Line(((f"   {self.empty}", Ink.DIM),))]
        seen = self._seen(height)
        return [
            first,
            *(
                self._row(fitted, key, item) if index in seen else UNSEEN
                for index, (key, item) in enumerate(self._items.items())
            ),
        ]

    def _seen(self, height: int) -> range:
        """The rows that are drawn at once."""
        if len(self._items) <= DRAWN_WHOLE:
            return range(len(self._items))
        top = self.scroll_offset.y
        return range(max(top - height, 0), top + 2 * height)

    def _row(self, fitted: Fitted[Item], key: str, item: Item) -> Line:
        here = key == self.cursor_key
        under = Under.PLAIN if not here else Under.CURSOR if self.has_focus else Under.BLUR
        return row(
            fitted,
            item,
            cursor=here,
            marked=key in self.marks,
            under=under,
            dim=self._dim(item),
            note=self._note(item),
        )

    def _nearest(self, was: list[str]) -> str:
        """The row that took a vanished cursor row's place."""
        if not self._items:
            return ""
        keys = self.keys
        index = was.index(self.cursor_key) if self.cursor_key in was else 0
        return keys[min(index, len(keys) - 1)]

    def _resize_to(self, count: int) -> None:
        self.virtual_size = Size(0, count)
        self.call_after_refresh(self._show_cursor)

    def _row_of(self, index: int) -> int | None:
        if index == 0:
            return 0
        shown = super()._row_of(index)
        return shown if shown else None

    def _line_at(self, row: int) -> Line:
        if row == 0 and self._lines:
            return self._lines[0]
        shown = super()._line_at(row)
        return self._drawn(row + self.scroll_offset.y) if shown is UNSEEN else shown

    def _drawn(self, index: int) -> Line:
        key = self.keys[index - 1]
        assert self._fitted is not None
        self._lines[index] = self._row(self._fitted[1], key, self._items[key])
        return self._lines[index]

    def _show_cursor(self) -> None:
        if self.cursor_key not in self._items or self.size.height < 2:
            return
        index = self.keys.index(self.cursor_key)
        top, room = self.scroll_offset.y, self.size.height - 1
        if index < top:
            self.scroll_to(y=index, animate=False)
        elif index >= top + room:
            self.scroll_to(y=index - room + 1, animate=False)

    def watch_cursor_key(self, _old: str, new: str) -> None:
        """Follow the cursor and tell the screen."""
        self.redraw()
        self._show_cursor()
        self.post_message(self.Moved(self, new))

    def watch_has_focus(self, value: bool) -> None:
        """The cursor row shows whether the keyboard is here."""
        super().watch_has_focus(value)
        self.redraw()

    def action_move(self, by: int) -> None:
        """Move the cursor, stopping at the ends."""
        if self._items:
            keys = self.keys
            index = keys.index(self.cursor_key) + by
            self.cursor_key = keys[min(max(index, 0), len(keys) - 1)]

    def action_page(self, by: int) -> None:
        """Move by what is visible."""
        self.action_move(by * max(self.size.height - 2, 1))

    def action_open(self) -> None:
        """Open the cursor's row."""
        if self.cursor_key in self._items:
            self.post_message(self.Opened(self, self.cursor_key))

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; on the cursor's row it opens."""
        index = event.y - 1 + self.scroll_offset.y
        if event.y < 1 or not 0 <= index < len(self._items):
            return
        if event.chain > 1:
            self.action_open()
        else:
            self.cursor_key = self.keys[index]
