"""What a migration's screens show: its chart while it runs, its report after."""

from collections.abc import Iterable

from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from tui.render import charts, headline
from tui.render import migration_lines as words
from tui.render.alarm import alarm_lines
from tui.render.disks import disk_lanes
from tui.render.ink import Line, Spans, spans_of
from tui.render.migration_lines import MigrationView
from tui.render.phases import phase_line
from tui.render.report import report_lines
from tui.screens.exporting import Exporting
from tui.widgets.painted import Painted, PaintedLine, Scrolled
from tui.widgets.prompt import Prompt, Question
from tui.widgets.time_chart import TimeChart

LOG_ROWS = 6
FRAME_ROWS = 5
"""Title, phases, flash line and two rows of keys."""


class MigrationPanes(Exporting):
    """Charts, the big line, figures or report, and the decision log of what `look` gives."""

    PACE_S = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._view: MigrationView | None = None
        self._left = TimeChart(charts.size_label, id="left-chart")
        self._rates = TimeChart(charts.rate_label, id="rates-chart")
        self._seen = (0, False)

    def look(self) -> MigrationView | None:
        """The migration as it is to be shown now; None while it is not known, as before a screen
        has been told of one."""
        return None

    def beside_phases(self, view: MigrationView) -> Spans:
        """What stands at the right of the phases."""
        return spans_of(words.deadline_left(view))

    def body(self) -> Iterable[Widget]:
        """Top to bottom as in the drawing."""
        yield PaintedLine(lambda w, _: self._phases(w), id="phases")
        yield Painted(lambda w, _: self._lanes(w), id="disks")
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
        view = self.look()
        return words.title(view, width) if view else Line()

    def draw(self) -> None:
        """Charts first: they say most."""
        self._view = self.look()
        if self._view is None:
            return
        self._left.show(charts.left_to_send(self._view))
        self._rates.show(charts.rates(self._view))
        self.query_one("#disks").styles.height = len(self._lanes(self.size.width))
        self.query_one("#figures").styles.height = len(self._figures(self.size.width))
        self.query_one("#log").styles.height = self._log_height()
        for box in self.query(Painted):
            if box not in (self._left, self._rates):
                box.redraw()
        self._follow_log()

    @property
    def _ended(self) -> bool:
        return self._view is not None and not self._view.migration.running

    def _log_height(self) -> int:
        """What the others leave; after the end the report stands in it and takes what charts spare.

        A question, a prompt or an alarm must never push anything off the screen: the log gives way.
        """
        question = self.query_one(Question)
        asked = len(question.lines(self.size.width, 0)) if question.display else 0
        asked += self.query_one(Prompt).display
        asked += len(alarm_lines(self.store.fleet.alarms, self.size.width))
        big = 2 if self.size.width >= words.WIDE else 3
        charts = 9 if self.size.height >= 30 and self._ended else 6
        lanes = len(self._lanes(self.size.width))
        others = FRAME_ROWS + big + charts + lanes + len(self._figures(self.size.width)) + asked
        wanted = len(self._log(self.size.width)) if self._ended else LOG_ROWS
        return max(min(max(wanted, LOG_ROWS), self.size.height - others), 1)

    def _follow_log(self) -> None:
        count = len(self._view.migration.decisions) if self._view else 0
        seen = (count, self._ended)
        if seen != self._seen:
            self._seen = seen
            log = self.query_one("#log", Painted)
            show = log.scroll_home if self._ended else log.scroll_end
            self.call_after_refresh(show, animate=False)

    def _phases(self, width: int) -> list[Line]:
        if self._view is None:
            return [Line()]
        left = phase_line(self._view.migration).spans
        return [headline.spread(left, self.beside_phases(self._view), width - 1)]

    def _with(self, of: "words.OfView", width: int) -> list[Line]:
        return of(self._view, width) if self._view else [Line()]

    def _lanes(self, width: int) -> list[Line]:
        """One a disk that is copied, until the end."""
        if self._view is None or self._ended:
            return []
        return disk_lanes(self._view.migration, width, self.size.height)

    def _figures(self, width: int) -> list[Line]:
        if self._view is None or self._ended:
            return []
        return words.figures(self._view, width)

    def _log(self, width: int) -> list[Line]:
        """What was decided; after the end the report before it."""
        if self._view is None:
            return []
        decisions = words.decision_lines(self._view.migration.decisions, width)
        return [*report_lines(self._view, width), *decisions]

    def _left_title(self, width: int) -> list[Line]:
        return [headline.rule(("LEFT TO SEND", *charts.left_legend(self._view)), width)]

    def _rates_title(self, width: int) -> list[Line]:
        return [headline.rule(("RATES", *charts.rates_legend(self._view, width)), width)]
