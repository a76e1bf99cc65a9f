"""Every key of the screen one came from, and what the glyphs mean."""

from collections.abc import Iterable
from typing import ClassVar

from textual.widget import Widget

from tui.actions import COMMON, Action
from tui.render import headline
from tui.render.ink import Ink, Line, line
from tui.screens.base import FerryScreen
from tui.widgets.painted import PaintedLine, Scrolled

_TABLE_KEYS = (
    ("↑ ↓ j k", "Move the cursor; g and G go to the first and last row."),
    ("pgup pgdn", "Move by a page."),
)
_GLYPHS = (
    ("● ○ ◌", "runs or active · off or waiting · in between"),
    ("?", "not known, or as last seen: its host does not answer"),
    ("⇢ ⇠", "moving to · coming from"),
    ("✓ ! ✕", "well · look at this · cannot be, or has failed"),
    ("┊3", "on a chart: where pass 3 begins; dotted: a forecast, or the dirty rate"),
    ("–", "not known, or there is none"),
)


class HelpScreen(FerryScreen):
    """Text; escape goes back."""

    NAME = "help"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("back", "escape,question_mark,enter", "back", "Back to the screen before."),
    )

    def __init__(self, of: FerryScreen) -> None:
        super().__init__()
        self._of = of

    def body(self) -> Iterable[Widget]:
        """One scrolling text."""
        yield PaintedLine(lambda w, _: [headline.rule((f"KEYS OF THE {self._title}",), w)])
        yield Scrolled(lambda _w, _h: self._text(), id="help")

    def on_mount(self) -> None:
        """The text scrolls."""
        self.query_one("#help", Scrolled).focus()

    @property
    def _title(self) -> str:
        return f"{self._of.NAME.upper()} SCREEN"

    def headline(self, width: int) -> Line:
        """The program and what it is for."""
        return line((" virt-ferry", Ink.HEAD), "  moves live VMs between hosts")

    def draw(self) -> None:
        """Static."""
        self.query_one("#help", Scrolled).redraw()

    def _text(self) -> list[Line]:
        actions = {a.name: a for a in (*self._of.ACTIONS, *COMMON)}
        lines = [_entry(action.key, action.about) for action in actions.values()]
        lines += [_entry(key, about) for key, about in _TABLE_KEYS]
        lines += [Line(), line(("   GLYPHS", Ink.HEAD))]
        return lines + [_entry(glyph, about) for glyph, about in _GLYPHS]

    def do_back(self) -> None:
        """To the screen before."""
        self.dismiss()

    def do_help(self) -> None:
        """Here already: the same key goes back."""
        self.dismiss()


def _entry(key: str, about: str) -> Line:
    return line((f"   {key:<12}", Ink.KEY), about)
