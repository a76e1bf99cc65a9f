"""One migration: its chart while it runs, its report after; leaving it cancels nothing."""

from collections.abc import Iterable
from typing import ClassVar

from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from backend.model import Word
from backend.service.protocol import Abort, Request, SetBandwidth, SetPauseLimit
from tui.actions import Action
from tui.render import charts, headline, units
from tui.render import migration_lines as words
from tui.render.ink import Ink, Line, line
from tui.render.migration_lines import MigrationView
from tui.render.phases import phase_line
from tui.render.report import report_lines
from tui.screens.base import FerryScreen
from tui.widgets.painted import Painted, PaintedLine, Scrolled
from tui.widgets.prompt import Prompt
from tui.widgets.time_chart import TimeChart


class MigrationScreen(FerryScreen):
    """Charts, the big line, figures or report, and the decision log."""

    NAME = "migration"
    PACE_S = 0.5
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("bandwidth", "b", "bandwidth", "Limit how fast memory is sent; 0 lifts it."),
        Action("pause", "d", "pause limit", "The longest pause the VM may take at the end."),
        Action("abort", "a", "abort", "Ask the VM to stay on its source; asks you first."),
        Action("next", "n,tab", "next", "The next running migration."),
        Action("previous", "p,shift+tab", "previous", "The one before.", footer=False),
        Action("list", "M", "migrations", "List running and ended ones.", footer=False),
        Action("back", "escape", "leave it running", "Back; the migration goes on."),
    )

    def __init__(self, id: str) -> None:
        super().__init__()
        self.migration_id = id
        self._view: MigrationView | None = None
        self._left = TimeChart(charts.size_label, id="left-chart")
        self._rates = TimeChart(charts.rate_label, id="rates-chart")
        self._seen_decisions = 0

    def body(self) -> Iterable[Widget]:
        """Top to bottom as in the drawing."""
        yield PaintedLine(lambda _w, _h: self._lines(phase_line), id="phases")
        yield Horizontal(
            Vertical(PaintedLine(lambda w, _: self._left_title(w)), self._left, id="left-pane"),
            Vertical(PaintedLine(lambda w, _: self._rates_title(w)), self._rates, id="rates-pane"),
            id="charts",
        )
        yield PaintedLine(lambda w, _: self._with(words.big_lines, w), id="big")
        yield Painted(lambda w, _: self._figures(w), id="figures")
        yield Scrolled(lambda w, _: self._log(w), id="log")

    def on_mount(self) -> None:
        """The log scrolls."""
        self.query_one("#log", Scrolled).focus()

    # -- drawing --------------------------------------------------------------------------

    def headline(self, width: int) -> Line:
        """VM, way, policy, pass and time."""
        view = self.store.view(self.migration_id, self.ferry.clock())
        return words.title(view, width) if view else Line()

    def draw(self) -> None:
        """Charts first: they say most."""
        self._view = self.store.view(self.migration_id, self.ferry.clock())
        if self._view is None:
            return
        self._left.show(charts.left_to_send(self._view))
        self._rates.show(charts.rates(self._view))
        figures = self.query_one("#figures", Painted)
        figures.styles.height = len(self._figures(self.size.width))
        for box in self.query(Painted):
            if box not in (self._left, self._rates):
                box.redraw()
        self._follow_log()

    def _follow_log(self) -> None:
        count = len(self._view.migration.decisions) if self._view else 0
        if count != self._seen_decisions:
            self._seen_decisions = count
            log = self.query_one("#log", Painted)
            self.call_after_refresh(log.scroll_end, animate=False)

    def _lines(self, of: "words.OfMigration") -> list[Line]:
        return [of(self._view.migration)] if self._view else [Line()]

    def _with(self, of: "words.OfView", width: int) -> list[Line]:
        return of(self._view, width) if self._view else [Line()]

    def _figures(self, width: int) -> list[Line]:
        if self._view is None:
            return [Line()]
        if self._view.migration.verdict is not None:
            return report_lines(self._view, width)
        return words.figures(self._view, width)

    def _log(self, width: int) -> list[Line]:
        return words.decision_lines(self._view.migration.decisions, width) if self._view else []

    def _left_title(self, width: int) -> list[Line]:
        return [headline.rule(("LEFT TO SEND", *charts.left_legend(self._view)), width)]

    def _rates_title(self, width: int) -> list[Line]:
        return [headline.rule(("RATES", *charts.rates_legend(self._view, width)), width)]

    # -- actions --------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        track = self.store.tracks.get(self.migration_id)
        if name in ("bandwidth", "pause", "abort"):
            if track is None or not track.migration.running:
                return "This migration has ended."
            if name == "abort" and track.migration.abort_asked:
                return "The abort is asked for already: both hosts are letting go."
            return self.needs_engine()
        if name in ("next", "previous") and not self._others():
            return "No other migration is running."
        return ""

    def label(self, action: Action) -> str:
        """There is nothing to leave running after the end."""
        track = self.store.tracks.get(self.migration_id)
        ended = track is not None and not track.migration.running
        return "back" if action.name == "back" and ended else action.label

    def _others(self) -> list[str]:
        return [m.id for m in self.store.running if m.id != self.migration_id]

    def do_next(self) -> None:
        """The next running migration."""
        self._step(1)

    def do_previous(self) -> None:
        """The previous one."""
        self._step(-1)

    def _step(self, by: int) -> None:
        ids = [m.id for m in self.store.running]
        here = ids.index(self.migration_id) if self.migration_id in ids else -1
        self.migration_id = ids[(here + by) % len(ids)]
        self._seen_decisions = -1
        self.draw_all()

    def do_list(self) -> None:
        """All of them."""
        self.ferry.open_migrations()

    def do_back(self) -> None:
        """Leave it running."""
        self.dismiss()

    def do_abort(self) -> None:
        """Ask first; the default is no."""
        m = self.store.tracks[self.migration_id].migration
        near = words.word_of(m) is Word.SWITCHING_OVER
        self.ask(
            [
                line(
                    (f" Abort moving {m.vm} to {m.target}? ", Ink.BOLD),
                    ("y", Ink.KEY),
                    " abort  ",
                    ("n", Ink.KEY),
                    " go on",
                ),
                line(
                    f" It stays on {m.source} and runs on; what was sent is thrown away."
                    + (" It is switching over: the abort may come too late." if near else "")
                ),
            ],
            lambda: self._send(Abort(m.id), "abort asked"),
        )

    def do_pause(self) -> None:
        """A new pause limit."""
        m = self.store.tracks[self.migration_id].migration
        now = str(m.pause_limit_ms or m.policy.pause_ms)
        self.query_one(Prompt).ask("pause ≤ (ms)", now, self._set_pause)

    def _set_pause(self, text: str) -> str:
        try:
            pause_ms = units.parse_pause(text)
        except ValueError as error:
            return str(error)
        self._send(SetPauseLimit(self.migration_id, pause_ms), f"pause limit {pause_ms} ms")
        return ""

    def do_bandwidth(self) -> None:
        """A new bandwidth limit."""
        m = self.store.tracks[self.migration_id].migration
        now = units.number(m.bandwidth_bytes_s / 1e6) if m.bandwidth_bytes_s else ""
        self.query_one(Prompt).ask("bandwidth (MB/s, empty: unlimited)", now, self._set_bandwidth)

    def _set_bandwidth(self, text: str) -> str:
        try:
            rate = units.parse_rate(text)
        except ValueError as error:
            return str(error)
        said = units.rate(rate) if rate else "unlimited"
        self._send(SetBandwidth(self.migration_id, rate), f"bandwidth {said}")
        return ""

    def _send(self, request: Request, said: str) -> None:
        self.engine(self._sent(request, said), said)

    async def _sent(self, request: Request, said: str) -> None:
        await self.ferry.bridge.call(request)
        self.say(f"Asked the engine: {said}.", ink=Ink.DIM)
