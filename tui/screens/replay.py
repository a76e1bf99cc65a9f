"""A migration that has ended, played again: the panes as they were at any moment of it."""

from typing import ClassVar

from backend.service.client import FerryError
from tui.actions import Action
from tui.export import files
from tui.render import migration_lines as words
from tui.render import units
from tui.render.ink import Ink, Line, Spans, line, spans_of
from tui.render.migration_lines import MigrationView
from tui.replay import Recording
from tui.screens.exporting import EXPORT
from tui.screens.migration_panes import MigrationPanes

BEAT_S = 0.5
STEP_S = 5.0
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class ReplayScreen(MigrationPanes):
    """Opens at its end, with the report; playing begins at the confirm."""

    NAME = "replay"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("play", "space", "play", "Play it at the recorded pace, or pause."),
        Action("rewind", "left", "back", "Five seconds back."),
        Action("forward", "right", "forward", "Five seconds forward."),
        Action("slower", "minus", "slower", "Half as fast."),
        Action("faster", "plus,equals_sign", "faster", "Twice as fast."),
        Action("next", "n", "next event", "To the next phase or decision."),
        Action("previous", "N", "previous event", "To the one before.", footer=False),
        Action("first", "0", "start", "To the operator's confirm."),
        Action("last", "dollar_sign", "end", "To the verdict and the report."),
        EXPORT,
        Action("back", "escape", "leave", "Back to the screen before."),
    )

    def __init__(self, id: str, speed: float | None = None) -> None:
        """`speed`: play at once, so much faster than it was; None: wait for a key."""
        super().__init__()
        self.migration_id = id
        self.recording: Recording | None = None
        self._asked, self._trouble = False, ""
        self._speed = speed or 1.0
        self._starts = speed is not None
        self._playing = False
        self._t_s = 0.0
        """Where it stands, or stood when playing began at `_since`."""
        self._since = 0.0

    def on_mount(self) -> None:
        """Keep time."""
        super().on_mount()
        self.set_interval(BEAT_S, self._beat)

    def draw(self) -> None:
        """Asked again when the engine is back."""
        if self.recording is None and self.store.link.up and not self._asked:
            self._asked = True
            self.engine(self._fetch(), "the recorded migration")
        self._asked = self._asked and self.store.link.up
        super().draw()

    async def _fetch(self) -> None:
        try:
            self.recording = await self.fetched(self.migration_id)
        except FerryError as error:
            self._trouble = error.sentence
            self.draw_all()
            raise
        self._t_s = self.recording.length_s
        if self._starts:
            self.do_play()
        self.draw_all()

    # -- time -----------------------------------------------------------------------------

    @property
    def _length_s(self) -> float:
        return self.recording.length_s if self.recording else 0.0

    @property
    def position_s(self) -> float:
        """Seconds after the confirm."""
        ran = (self.ferry.clock() - self._since) * self._speed if self._playing else 0.0
        return min(max(self._t_s + ran, 0.0), self._length_s)

    def _go_to(self, t_s: float) -> None:
        self._t_s = min(max(t_s, 0.0), self._length_s)
        self._since = self.ferry.clock()
        self._playing = self._playing and self._t_s < self._length_s
        self.draw_all()

    def _beat(self) -> None:
        if self._playing and self.is_current:
            self.draw_all()

    def _set_speed(self, speed: float) -> None:
        here = self.position_s
        self._speed = speed
        self._go_to(here)

    # -- drawing --------------------------------------------------------------------------

    def look(self) -> MigrationView | None:
        """As it stood then."""
        if self.recording is None:
            return None
        if self._playing and self.position_s >= self._length_s:
            self._playing, self._t_s = False, self._length_s
        return self.recording.view(self.position_s)

    def headline(self, width: int) -> Line:
        """As it was; what went wrong where there is nothing."""
        if self._view is None:
            return line((f" {self.why_not('play')}", Ink.DIM))
        return words.title(self._view, width)

    def beside_phases(self, view: MigrationView) -> Spans:
        """`▸ replay  20:14:03  38 s of 1 m 12 s  ×4`; without words where it is narrow."""
        here, whole = units.duration(self.position_s), units.duration(self._length_s)
        ink = Ink.MOVE if self._playing else Ink.DIM
        glyph = "▸" if self._playing else ""
        speed = (f" ×{units.number(self._speed, 2)}", Ink.DIM)
        if self.size.width < words.WIDE:
            return spans_of((f"{glyph} ", ink), (f"{here}/{whole}", Ink.BOLD), speed)
        at = f"  {units.clock(view.now)}  "
        return spans_of(
            (f"{glyph} replay", ink), (at, Ink.DIM), (f"{here} of {whole} ", Ink.BOLD), speed
        )

    # -- actions --------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """There must be something to play."""
        if name in ("back", "help", "palette", "quit"):
            return ""
        if self.recording is None:
            return self.needs_engine() or self._trouble or "The engine has not answered yet."
        if name == "faster" and self._speed >= SPEEDS[-1]:
            return "It cannot be played faster."
        if name == "slower" and self._speed <= SPEEDS[0]:
            return "It cannot be played slower."
        return ""

    def label(self, action: Action) -> str:
        """Space pauses what plays."""
        return "pause" if action.name == "play" and self._playing else action.label

    def do_play(self) -> None:
        """Play on, or pause; at the end from the beginning."""
        here = self.position_s
        at_end = here >= self._length_s
        self._playing = not self._playing or at_end
        self._go_to(0.0 if at_end else here)

    def do_rewind(self) -> None:
        """Some seconds back."""
        self._go_to(self.position_s - STEP_S)

    def do_forward(self) -> None:
        """Some seconds on."""
        self._go_to(self.position_s + STEP_S)

    def do_faster(self) -> None:
        """The next speed."""
        self._set_speed(next(one for one in SPEEDS if one > self._speed))

    def do_slower(self) -> None:
        """The one before."""
        self._set_speed(next(one for one in reversed(SPEEDS) if one < self._speed))

    def do_next(self) -> None:
        """The next moment at which something happened, or the end."""
        assert self.recording is not None
        here = self.position_s
        later = [t_s for t_s in self.recording.moments() if t_s > here]
        self._go_to(min(later, default=self._length_s))

    def do_previous(self) -> None:
        """The moment before, or the confirm."""
        assert self.recording is not None
        here = self.position_s
        self._go_to(max((t_s for t_s in self.recording.moments() if t_s < here), default=0.0))

    def do_first(self) -> None:
        """The confirm."""
        self._go_to(0.0)

    def do_last(self) -> None:
        """The report."""
        self._playing = False
        self._go_to(self._length_s)

    def do_export(self) -> None:
        """Ask for a file."""
        assert self.recording is not None
        m = self.recording.migration
        self.ask_export(files.default_name(m.vm, m.started), [m.id])

    def do_back(self) -> None:
        """To the screen before."""
        self.ferry.leave_screen(self)
