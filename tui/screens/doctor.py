"""An examination of the fleet: what is wrong, and how to mend it. Nothing is changed by it."""

from collections.abc import Iterable
from typing import ClassVar

from textual.widget import Widget

from backend.model import Examination
from backend.service.protocol import Examine, Examined
from tui.actions import Action
from tui.render import headline, units
from tui.render.doctor_lines import examination_lines, summary
from tui.render.ink import Ink, Line, line
from tui.screens.base import FerryScreen
from tui.widgets.painted import PaintedLine, Scrolled


class DoctorScreen(FerryScreen):
    """One scrolling text; it examines when it opens, and when told to."""

    NAME = "doctor"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("examine", "r,enter", "again", "Examine the fleet again; nothing is changed."),
        Action("back", "escape", "back", "Back to the fleet."),
    )

    def __init__(self) -> None:
        super().__init__()
        self._found: Examination | None = None
        self._asking = False

    def body(self) -> Iterable[Widget]:
        """One rule, one line of counts, one text."""
        yield PaintedLine(lambda w, _: [headline.rule(("DOCTOR",), w)])
        yield PaintedLine(lambda _w, _h: [self._counts()], id="counts")
        yield Scrolled(lambda w, _: self._text(w), id="findings")

    def on_mount(self) -> None:
        """The text has the keyboard; the examination begins."""
        self.query_one("#findings", Scrolled).focus()
        self.action_act("examine")

    def draw(self) -> None:
        """Counts and text."""
        self.query_one("#counts", PaintedLine).redraw()
        self.query_one("#findings", Scrolled).redraw()

    def why_not(self, name: str) -> str:
        """It takes an engine, and one examination at a time."""
        if name != "examine":
            return ""
        return "An examination is under way." if self._asking else self.needs_engine()

    def do_examine(self) -> None:
        """Ask; what was found before stays until then."""
        self._asking = True
        self.draw_all()
        self.engine(self._examine(), "examine the fleet")

    async def _examine(self) -> None:
        try:
            reply = await self.ferry.bridge.call(Examine())
            if isinstance(reply, Examined):
                self._found = reply.examination
        finally:
            self._asking = False
            self.draw_all()

    def do_back(self) -> None:
        """To the screen before."""
        self.dismiss()

    def _counts(self) -> Line:
        if self._asking:
            return line((" examining every host, and the ways between them …", Ink.MOVE))
        if self._found is None:
            return line((" not examined yet: r examines", Ink.DIM))
        at = (f" at {units.clock(self._found.at)}", Ink.DIM)
        return Line((*summary(self._found).spans, at))

    def _text(self, width: int) -> list[Line]:
        return examination_lines(self._found, width) if self._found else []
