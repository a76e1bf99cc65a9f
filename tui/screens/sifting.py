"""A screen whose table is filtered as one types, and sorted by one column after the other."""

from collections.abc import Sequence
from typing import Any, ClassVar

from tui.render.ink import Ink
from tui.render.table import Column
from tui.screens.base import FerryScreen
from tui.widgets.prompt import Prompt


class Sifting(FerryScreen):
    """Keeps the filter, the column and the direction; the screen draws its table by them."""

    SORTS: ClassVar[Sequence[Column[Any]]] = ()
    """In the order that `s` goes through."""
    FIRST_FALLS: ClassVar[bool] = False
    """The first of them has its largest on top; the others their smallest, until turned around."""

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._sort, self._falling = 0, self.FIRST_FALLS

    def do_filter(self) -> None:
        """Filter as it is typed."""
        self.query_one(Prompt).ask("/", self._filter, lambda _: "", self._set_filter)

    def _set_filter(self, text: str) -> None:
        self._filter = text.strip()
        self.draw_all()

    def do_sort(self) -> None:
        """The next column that sorts."""
        self._sort = (self._sort + 1) % len(self.SORTS)
        self._falling = self.FIRST_FALLS and self._sort == 0
        self.draw_all()
        title = self.SORTS[self._sort].title.lower()
        self.say(f"Sorted by {title}; S turns it around.", ink=Ink.DIM)

    def do_reverse(self) -> None:
        """The other way around."""
        self._falling = not self._falling
        self.draw_all()
