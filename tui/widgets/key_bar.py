"""The footer: every key of the screen, those that can do nothing now greyed."""

from collections.abc import Callable, Sequence

from textual import events
from textual.message import Message

from tui.actions import Action
from tui.render.ink import Ink, Line, Span, spans_of
from tui.widgets.painted import Painted

SEPARATOR = " · "
MOST_ROWS = 2
ALWAYS = ("back", "help")


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
        shown: Callable[[Action], bool],
    ) -> None:
        super().__init__(id="keys")
        self._label = label
        self._every = tuple(actions)
        self._why_not = why_not
        self._shown = shown

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """As many keys as two lines hold; the rest are in the help."""
        lines = [Line(spans_of(" ", *self._separated(row))) for row in self.rows(width)]
        self.styles.height = max(len(lines), 1)
        return lines

    def rows(self, width: int) -> list[list[Action]]:
        """The actions, row by row. Where they are too many the last give way, but never the way
        out nor the help, which has them all."""
        actions = [action for action in self._every if self._shown(action)]
        while len(rows := self._laid_out(actions, width)) > MOST_ROWS:
            spare = [action for action in actions if action.name not in ALWAYS]
            if not spare:
                return rows[:MOST_ROWS]
            actions.remove(spare[-1])
        return rows

    def _laid_out(self, actions: Sequence[Action], width: int) -> list[list[Action]]:
        rows: list[list[Action]] = [[]]
        used = 1
        for action in actions:
            size = len(action.key) + 1 + len(self._label(action))
            if rows[-1] and used + len(SEPARATOR) + size > width:
                rows.append([])
                used = 1
            used += size + len(SEPARATOR) * bool(rows[-1])
            rows[-1].append(action)
        if len(rows) > 1 and len(rows[-1]) == 1 and len(rows[-2]) > 1:
            rows[-1].insert(0, rows[-2].pop())
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
