"""What every screen has: a title line, a clock, a place for sentences, the footer, and one gate.

Every key, click and palette entry goes through `action_act`: it asks `why_not` first, and an
action that cannot be done says why in the flash line instead of doing nothing.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget

from backend.model import EvacuationState
from backend.service.client import FerryError
from tui.actions import COMMON, Action
from tui.bridge import StoreMoved
from tui.render import headline, room, units
from tui.render.alarm import alarm_lines
from tui.render.ink import Ink, Line, line, spans_of, wrap
from tui.render.roll_words import what_is_so
from tui.store import Store
from tui.widgets.key_bar import KeyBar
from tui.widgets.painted import Painted, PaintedLine
from tui.widgets.prompt import Prompt, Question

if TYPE_CHECKING:
    from tui.app import FerryApp

FLASH_S = 12.0


class FerryScreen(Screen[None]):
    """A screen that draws from the store and acts through the bridge."""

    AUTO_FOCUS = ""
    ACTIONS: ClassVar[tuple[Action, ...]] = ()
    NAME: ClassVar[str] = ""
    """For the help."""
    PACE_S: ClassVar[float] = 1.0
    """How often data may redraw it."""

    def __init_subclass__(cls) -> None:
        cls.BINDINGS = [action.binding for action in (*cls.ACTIONS, *COMMON)]
        super().__init_subclass__()

    def __init__(self) -> None:
        super().__init__()
        self._flash: tuple[str, Ink, float] | None = None
        self._drawn_version = -1
        self._drawn_at = 0.0

    @property
    def ferry(self) -> "FerryApp":
        """The app, by its own type."""
        from tui.app import FerryApp

        assert isinstance(self.app, FerryApp)
        return self.app

    @property
    def store(self) -> Store:
        """What is known."""
        return self.ferry.store

    def compose(self) -> ComposeResult:
        """The frame around `body`."""
        yield Painted(lambda w, _: alarm_lines(self.store.fleet.alarms, w), id="alarm")
        with Horizontal(id="top"):
            yield PaintedLine(lambda w, _: [self.headline(w)], id="title")
            yield PaintedLine(lambda _w, _h: [self._clock()], id="clock")
        yield from self.body()
        yield Question()
        yield Painted(lambda w, _: self._flash_lines(w), id="flash")
        yield Prompt()
        yield KeyBar((*self.ACTIONS, *COMMON), self.why_not, self.label, self.in_footer)
        yield Painted(lambda w, _: self._too_little(w), id="too-little")

    # -- for the screens ------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """Between the title and the footer."""
        return ()

    def headline(self, width: int) -> Line:
        """The first line: the fleet's name and counts, where a screen has nothing better."""
        store = self.store
        name = store.fleet.name or self.ferry.fleet_label
        return headline.title(name, store.fleet, len(store.running), width)

    def draw(self) -> None:
        """Bring the body up to date with the store."""

    def why_not(self, name: str) -> str:
        """Why an action cannot be done now, as a sentence; empty when it can."""
        return ""

    def label(self, action: Action) -> str:
        """What the footer calls an action now."""
        return action.label

    def in_footer(self, action: Action) -> bool:
        """Whether the footer names an action now; help and palette name all."""
        return action.footer

    def needs_engine(self) -> str:
        """The reason shared by all that goes to the engine."""
        return "" if self.store.link.up else "The engine is not there; this console connects again."

    # -- drawing --------------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        """Whatever happened while another screen was seen."""
        self.draw_all()

    def on_resize(self) -> None:
        """Rows that give way to others are counted anew, at the new size; what cannot be seen is
        not shown in part: a sentence stands over all of it."""
        self.set_class(bool(self._why_too_little), "-too-little")
        self.call_after_refresh(self.draw_all)

    @on(StoreMoved)
    def _store_moved(self, event: StoreMoved) -> None:
        due = event.at_once or time.monotonic() - self._drawn_at >= self.PACE_S * 0.9
        if event.version != self._drawn_version and due:
            self.draw_all()
        else:
            self._tick()

    def draw_all(self) -> None:
        """Everything, now; only what changed is repainted."""
        if not self.is_mounted:
            return
        self._drawn_version, self._drawn_at = self.store.version, time.monotonic()
        self.set_class(self.store.filled and not self.store.link.up, "-stale")
        self.draw()
        self.query_one(KeyBar).redraw()
        self._tick()

    def _tick(self) -> None:
        """What the time of day alone changes."""
        self._sound()
        for name in ("#title", "#clock"):
            self.query_one(name, PaintedLine).redraw()
        flash = self.query_one("#flash", Painted)
        lines = self._flash_lines(self.size.width)
        flash.styles.height = max(len(lines), 1)
        flash.redraw()

    def _sound(self) -> None:
        """The alarm stands on top of all else until it is gone."""
        alarm = self.query_one("#alarm", Painted)
        alarm.styles.height = len(alarm_lines(self.store.fleet.alarms, self.size.width))
        alarm.redraw()

    def _clock(self) -> Line:
        return line((f"  {units.clock(self.ferry.clock())}", Ink.DIM))

    # -- sentences ------------------------------------------------------------------------

    def say(self, sentence: str, remedy: str = "", ink: Ink = Ink.WARN) -> None:
        """One sentence in the flash line, for a while."""
        until = self.ferry.clock() + FLASH_S
        self._flash = (f"{sentence} {remedy}".strip(), ink, until)
        self._tick()

    def _flash_lines(self, width: int) -> list[Line]:
        return self.flash_lines(width)

    def flash_lines(self, width: int, *, about_rolls: bool = True) -> list[Line]:
        """What is to be said now; why a roll stands not where the screen itself says that."""
        link, now = self.store.link, self.ferry.clock()
        if not link.up and link.sentence:
            left = max((link.retry_at or now) - now, 0)
            again = f" Next try in {left:.0f} s." if left >= 1 else " Connecting …"
            spans = spans_of((f" ✕ {link.sentence} {link.remedy}{again}", Ink.BAD))
        elif self._flash and now < self._flash[2]:
            spans = spans_of((f" {self._flash[0]}", self._flash[1]))
        elif about_rolls and (roll := self.store.roll_that_stands()):
            said = f" ! The roll is {roll.state}. {what_is_so(roll)}"
            goes_on = "r on the fleet screen shows it, p there goes on with it."
            spans = spans_of((f"{said} {goes_on}", Ink.WARN))
        elif (run := self.store.open_run()) and run.state is EvacuationState.INTERRUPTED:
            said = f" ! The {run.kind} of {run.host} was interrupted: its engine ended. "
            spans = spans_of((f"{said}e on that host shows it, p there goes on with it.", Ink.WARN))
        elif self.store.trouble:
            spans = spans_of((f" {self.store.trouble}", Ink.WARN))
        else:
            return []
        return [Line(row) for row in wrap(spans, max(width - 1, 1), indent=3)][:4]

    def ask(self, lines: list[Line], then: Callable[[], None], *yes_keys: str) -> None:
        """A question under the data; only a clear yes runs `then`."""
        self.query_one(Question).ask(lines, then, yes_keys or ("y",))
        self.draw_all()

    @on(Prompt.Toggled)
    @on(Question.Answered)
    def _rows_changed(self) -> None:
        self.draw_all()

    # -- acting ---------------------------------------------------------------------------

    @property
    def _why_too_little(self) -> str:
        return room.too_little(*self.app.size)

    def _too_little(self, width: int) -> list[Line]:
        said = f" {self._why_too_little} {room.REMEDY} q leaves: what moves goes on."
        return [Line(row) for row in wrap(spans_of((said, Ink.WARN)), max(width - 1, 1), indent=1)]

    def action_act(self, name: str) -> None:
        """The one gate to every action."""
        if self._why_too_little:
            if name == "quit":
                running = self.store.running
                self.ferry.leave(running) if running else self.app.exit()
            return
        if reason := self.why_not(name):
            self.say(reason)
            return
        self._flash = None
        getattr(self, f"do_{name}")()
        self._tick()

    @on(KeyBar.Pressed)
    def _key_clicked(self, event: KeyBar.Pressed) -> None:
        self.action_act(event.action.name)

    def engine(self, work: Awaitable[None], about: str) -> None:
        """Talk to the engine in a worker; what it refuses is said in the flash line."""
        self.run_worker(self._told(work), group="engine", description=about)

    async def _told(self, work: Awaitable[None]) -> None:
        try:
            await work
        except FerryError as error:
            self.say(error.sentence, error.remedy, Ink.BAD)

    def do_help(self) -> None:
        """Every key of this screen."""
        from tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self))

    def do_palette(self) -> None:
        """All actions by name."""
        self.app.action_command_palette()

    def do_quit(self) -> None:
        """Leave, after saying what goes on without this console."""
        running = self.store.running
        if not running:
            self.app.exit()
            return
        names = ", ".join(f"{m.vm} {m.source} ⇢ {m.target}" for m in running)
        one = len(running) == 1
        self.ask(
            [
                line(
                    (" Quit the console? ", Ink.BOLD),
                    ("y", Ink.KEY),
                    " quit  ",
                    ("n", Ink.KEY),
                    " stay",
                ),
                line(f" {names}: {'it goes on' if one else 'they go on'} without this console;"),
                line(" the engine keeps steering. Come back with: ", ("virt-ferry", Ink.BOLD)),
            ],
            lambda: self.ferry.leave(running),
            "y",
            "q",
        )
