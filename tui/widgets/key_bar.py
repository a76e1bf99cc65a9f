"""The footer: every key of the screen, those that can do nothing now greyed."""

from collections.abc import Callable, Sequence

from textual import events
from textual.message import Message

from tui.actions import Action
from tui.render.ink import Ink, Line, Span, spans_of
from tui.widgets.painted import Painted

SEPARATOR = " · "
MOST_ROWS = 2


class KeyBar(Painted):
    """Keys and labels, on two lines when they do not fit one; a click does what the key does."""

    DEFAULT_CSS = """
    KeyBar { height: 1; overflow: hidden hidden; }
    """

    class Pressed(Message):
        """A label was clicked."""

        def __init__(self, action: Action) -> None:
            super().__init__()
            self.action = action

    def __init__(
        self,
        actions: Sequence[Action],
        why_not: Callable[[str], str],
        label: Callable[[Action], str],
    ) -> None:
        super().__init__(id="keys")
        self._label = label
        self._actions = [action for action in actions if action.footer]
        self._why_not = why_not

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """As many keys as two lines hold; the rest are in the help."""
        lines = [Line(spans_of(" ", *self._separated(row))) for row in self.rows(width)[:MOST_ROWS]]
        self.styles.height = max(len(lines), 1)
        return lines

    def rows(self, width: int) -> list[list[Action]]:
        """The actions, row by row."""
        rows: list[list[Action]] = [[]]
        used = 1
        for action in self._actions:
            size = len(action.key) + 1 + len(self._label(action))
            if rows[-1] and used + len(SEPARATOR) + size > width:
                rows.append([])
                used = 1
            used += size + len(SEPARATOR) * bool(rows[-1])
            rows[-1].append(action)
        return rows

    def _separated(self, row: Sequence[Action]) -> list[Span]:
        spans: list[Span] = []
        for action in row:
            dead = bool(self._why_not(action.name))
            if spans:
                spans.append((SEPARATOR, Ink.DIM))
            spans.append((action.key, Ink.DIM if dead else Ink.KEY))
            spans.append((f" {self._label(action)}", Ink.DIM))
        return spans

    def on_click(self, event: events.Click) -> None:
        """Find the label under the mouse."""
        rows = self.rows(self.size.width)
        if event.y >= len(rows):
            return
        x = 1
        for action in rows[event.y]:
            size = len(action.key) + 1 + len(self._label(action))
            if x <= event.x < x + size:
                self.post_message(self.Pressed(action))
                return
            x += size + len(SEPARATOR)
