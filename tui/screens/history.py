"""Every migration that has ended, of earlier engines too; enter opens one with its chart."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.widget import Widget

from backend.model import Past, PastFilter
from backend.service.protocol import ListPast, PastReply
from tui.actions import Action
from tui.export import files
from tui.render import headline, past_rows
from tui.render.ink import Ink, Line, Span, spans_of
from tui.screens.exporting import EXPORT, Exporting
from tui.screens.sifting import Sifting
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import PaintedLine

AT_A_TIME = 1000
"""Rows asked for; older ones on demand."""


class HistoryScreen(Exporting, Sifting):
    """A table that follows: what ends while it is open appears in it."""

    NAME = "history"
    SORTS = past_rows.SORTS
    FIRST_FALLS = True
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("open", "enter", "open", "Open the migration: its report, its chart, its replay."),
        Action("filter", "slash", "filter", "Show only rows that have all these words."),
        Action("sort", "s", "sort", "Sort by the next column."),
        Action("reverse", "S", "reverse", "Turn the sort order around.", footer=False),
        Action("older", "o", "older", "Show older ones, too."),
        Action("mark", "space", "mark", "Mark the row under the cursor, to export several."),
        EXPORT,
        Action("clear", "c", "clear", "Take all marks and the filter away.", footer=False),
        Action("back", "escape", "back", "Back to the screen before."),
    )

    def __init__(self) -> None:
        super().__init__()
        self._past: tuple[Past, ...] = ()
        self._limit = AT_A_TIME
        self._asked: object = None
        """What the answer at hand, or under way, was asked for."""
        self._table: LiveTable[Past] = LiveTable(
            past_rows.COLUMNS, lambda past: past.id, empty="asking the engine …", id="past"
        )

    def body(self) -> Iterable[Widget]:
        """One rule, one table."""
        yield PaintedLine(lambda w, _: [headline.rule(self._title(), w)], id="past-rule")
        yield self._table

    def on_mount(self) -> None:
        """The table has the keyboard."""
        self._table.focus()

    # -- asking ---------------------------------------------------------------------------

    def _ask(self) -> None:
        """Again whenever a migration has ended, or more is wanted."""
        ended = frozenset(m.id for m in self.store.migrations if not m.running)
        wanted = (ended, self._limit, self.store.link.up)
        if wanted != self._asked and self.store.link.up:
            self._asked = wanted
            self.engine(self._fetch(), "the history")

    async def _fetch(self) -> None:
        reply = await self.ferry.bridge.call(ListPast(PastFilter(limit=self._limit)))
        assert isinstance(reply, PastReply)
        self._past = reply.past
        self._table.empty = "no migration is known" if reply.trouble else "no VM has been moved yet"
        if reply.trouble:
            self.say(reply.trouble)
        self.draw_all()

    # -- drawing --------------------------------------------------------------------------

    def headline(self, width: int) -> Line:
        """As on the fleet screen, with what there is."""
        moved = sum(past.outcome == "moved" for past in self._past)
        name = self.store.fleet.name or self.ferry.fleet_label
        left = spans_of((" virt-ferry", Ink.HEAD), "  ", (name, Ink.BOLD))
        right = spans_of(f"{len(self._past):,} migrations · {moved:,} moved")
        return headline.spread(left, right, width)

    def draw(self) -> None:
        """The rows that are wanted."""
        self._ask()
        rows = self._arranged()
        if self._past and not rows:
            self._table.empty = f"no migration matches /{self._filter}: c clears it"
        self._table.apply(rows)
        self.query_one("#past-rule", PaintedLine).redraw()

    def _arranged(self) -> list[Past]:
        words = self._filter.lower().split()
        shown = [past for past in self._past if all(w in past_rows.words_of(past) for w in words)]
        column = past_rows.SORTS[self._sort]
        self._table.sorted_by, self._table.falling = column.key, self._falling
        assert column.sort is not None
        newest_first = sorted(shown, key=lambda past: past.started, reverse=True)
        return sorted(newest_first, key=column.sort, reverse=self._falling)

    def _title(self) -> tuple[Span | str, ...]:
        parts: list[Span | str] = ["HISTORY"]
        if self._filter:
            parts += [(" ─ ", Ink.DIM), (f"/{self._filter}", Ink.KEY)]
            parts += [(f" {len(self._table.keys):,} of {len(self._past):,}", Ink.DIM)]
        if self._table.marks:
            parts += [(" ─ ", Ink.DIM), (f"{len(self._table.marks)} marked", Ink.WARN)]
        return tuple(parts)

    # -- actions --------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        if name in ("open", "mark", "export") and self._table.current is None:
            return "There is no migration in this list."
        if name == "older":
            return self.needs_engine() or self._why_no_older()
        return self.needs_engine() if name in ("open", "export") else ""

    def _why_no_older(self) -> str:
        return "" if len(self._past) >= self._limit else "These are all that are known."

    def do_open(self) -> None:
        """What enter does."""
        self._table.action_open()

    @on(LiveTable.Opened, "#past")
    def _opened(self, event: LiveTable.Opened) -> None:
        self.ferry.open_replay(event.key)

    def do_older(self) -> None:
        """Ask for more."""
        self._limit += AT_A_TIME
        self.draw_all()

    def do_mark(self) -> None:
        """Mark and step on."""
        self._table.toggle_mark()
        self.draw_all()

    def do_export(self) -> None:
        """The marked ones into one file, or the one under the cursor."""
        current = self._table.current
        assert current is not None
        chosen = self._table.marked or [current]
        name = chosen[0].vm if len(chosen) == 1 else "migrations"
        self.ask_export(files.default_name(name, chosen[0].started), [past.id for past in chosen])

    def do_clear(self) -> None:
        """No marks, no filter."""
        self._table.marks.clear()
        self._set_filter("")

    def do_back(self) -> None:
        """To the screen before."""
        self.ferry.leave_screen(self)
