"""Every migration of this engine, running ones first."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.widget import Widget

from tui.actions import Action
from tui.render import headline, migration_rows
from tui.render.migration_lines import MigrationView
from tui.screens.base import FerryScreen
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import PaintedLine


class MigrationsScreen(FerryScreen):
    """A table of migrations; enter opens one."""

    NAME = "migrations"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("open", "enter", "open", "Open the migration under the cursor."),
        Action("history", "h", "history", "List every migration that has ended."),
        Action("back", "escape", "back", "Back to the fleet; migrations go on."),
    )

    def __init__(self) -> None:
        super().__init__()
        self._table: LiveTable[MigrationView] = LiveTable(
            migration_rows.COLUMNS,
            lambda view: view.migration.id,
            dim=lambda view: not view.migration.running,
            empty="no VM has been moved by this engine yet",
            id="migrations",
        )

    def body(self) -> Iterable[Widget]:
        """One rule, one table."""
        yield PaintedLine(lambda w, _: [headline.rule(("MIGRATIONS",), w)])
        yield self._table

    def on_mount(self) -> None:
        """The table has the keyboard."""
        self._table.focus()

    def draw(self) -> None:
        """Running ones first, the newest on top."""
        now = self.ferry.clock()
        ordered = sorted(self.store.migrations, key=lambda m: (m.running, m.started), reverse=True)
        views = [self.store.view(m.id, now) for m in ordered]
        self._table.apply([view for view in views if view])

    def why_not(self, name: str) -> str:
        """Opening needs a row."""
        if name == "open" and self._table.current is None:
            return "There is no migration to open."
        return ""

    def do_open(self) -> None:
        """What enter does."""
        self._table.action_open()

    def do_history(self) -> None:
        """Of earlier engines too."""
        self.ferry.open_history()

    def do_back(self) -> None:
        """To the screen before."""
        self.dismiss()

    @on(LiveTable.Opened, "#migrations")
    def _opened(self, event: LiveTable.Opened) -> None:
        self.ferry.open_migration(event.key)
