"""One line to type into, and one question to answer, at the bottom: nothing covers the data."""

from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from tui.render.ink import Ink, Line, Spans, line, wrap
from tui.widgets.painted import Painted, PaintedLine

Typed = Callable[[str], str]
"""Takes what was typed; gives back why that cannot be, or nothing."""


class Prompt(Horizontal):
    """A label and an input; `ask` shows it, enter and escape put it away."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel", show=False)]
    DEFAULT_CSS = """
    Prompt { height: 1; display: none; }
    Prompt > Painted { height: 1; overflow: hidden hidden; }
    Prompt > Input { width: 1fr; }
    """

    class Toggled(Message):
        """It came, or it is gone: a row less, or more, for the others."""

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self._label: Spans = ()
        self._hint: Line = Line()
        self._done: Typed = lambda _: ""
        self._live: Callable[[str], None] | None = None
        self._undo = ""
        self._back: Widget | None = None

    def compose(self) -> ComposeResult:
        """The label, the input and what is wrong with it."""
        yield PaintedLine(lambda _w, _h: [Line(self._label)], id="prompt-label")
        yield Input(compact=True, select_on_focus=True, id="prompt-input")
        yield PaintedLine(lambda _w, _h: [self._hint], id="prompt-hint")

    def ask(
        self, label: str, value: str, done: Typed, live: Callable[[str], None] | None = None
    ) -> None:
        """Ask for a text. `live` hears every keystroke, and the old value on escape."""
        self._label = line((f" {label} ", Ink.KEY)).spans
        self._done, self._live, self._undo = done, live, value
        self._back = self.screen.focused
        self._say("")
        box = self.query_one("#prompt-label", Painted)
        box.styles.width = len(label) + 2
        field = self.query_one(Input)
        field.cursor_blink = False
        with field.prevent(Input.Changed):
            field.value = value
        self.display = True
        self.post_message(self.Toggled())
        box.redraw()
        field.focus()

    def _say(self, problem: str) -> None:
        self._hint = line((f"✕ {problem}" if problem else "", Ink.BAD))
        hint = self.query_one("#prompt-hint", Painted)
        hint.styles.width = len(problem) + 3 if problem else 0
        hint.redraw()

    def _close(self) -> None:
        self.display = False
        self.post_message(self.Toggled())
        self.screen.set_focus(self._back)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._live is not None:
            self._live(event.value)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        problem = self._done(event.value)
        if problem:
            self._say(problem)
        else:
            self._close()

    def action_cancel(self) -> None:
        """Leave everything as it was."""
        if self._live is not None:
            self._live(self._undo)
        self._close()


class Question(Painted):
    """A yes-or-no question; whatever is not a clear yes means no."""

    DEFAULT_CSS = """
    Question { height: auto; max-height: 8; display: none; overflow: hidden hidden; }
    """

    class Answered(Message):
        """It is gone; its rows are free again."""

    def __init__(self) -> None:
        super().__init__(id="question")
        self._text: tuple[Spans, ...] = ()
        self._yes_keys: frozenset[str] = frozenset()
        self._then: Callable[[], None] = lambda: None
        self._back: Widget | None = None

    def ask(
        self,
        lines: list[Line],
        then: Callable[[], None],
        yes_keys: tuple[str, ...] = ("y",),
    ) -> None:
        """Ask; `then` runs on a yes."""
        self._text = tuple(of.spans for of in lines)
        self._yes_keys, self._then = frozenset(yes_keys), then
        self._back = self.screen.focused
        self.display = self.can_focus = True
        self.styles.height = len(self.lines(self.screen.size.width, 0))
        self.redraw()
        self.focus()

    def lines(self, width: int, height: int) -> list[Line]:
        """The question, wrapped."""
        return [Line(row) for spans in self._text for row in wrap(spans, width, indent=2)]

    def on_key(self, event: events.Key) -> None:
        """The only keys that count while a question stands."""
        event.stop()
        event.prevent_default()
        yes = event.key in self._yes_keys
        if not yes and event.key not in ("n", "N", "escape", "enter"):
            return
        self._close()
        self.screen.set_focus(self._back)
        if yes:
            self._then()

    def on_blur(self) -> None:
        """A question left alone is a no."""
        self._close()

    def _close(self) -> None:
        if self.display:
            self.display = self.can_focus = False
            self.post_message(self.Answered())
