"""The console's wiring: one store, one bridge, one heartbeat, and which screen is open."""

import os
import time
from collections.abc import Callable
from typing import ClassVar

# Both are read once, at Textual's import. Data redraws at 1-2 Hz by itself; the first bounds
# what a held key costs on a slow link, and 30 keeps the answer to a key under 35 ms. Why 256
# colours is said in tui.themes.
os.environ.setdefault("TEXTUAL_FPS", "30")
if "256" in os.environ.get("TERM", "") or os.environ.get("COLORTERM"):
    os.environ.setdefault("TEXTUAL_COLOR_SYSTEM", "256")

from rich.console import RenderableType
from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from backend.model import EvacuationWish, Migration, Vm
from tui import themes
from tui.bridge import Bridge, Connect, StoreMoved
from tui.exact_update import exact
from tui.palette import FerryCommands
from tui.render.ascii import wants_ascii
from tui.render.ink import clean
from tui.screens.base import FerryScreen
from tui.screens.fleet import FleetScreen
from tui.store import Store
from tui.widgets.painted import Painted

HEARTBEAT_S = 0.5


class FerryApp(App[None]):
    """The console. Closing it changes nothing that runs."""

    CSS_PATH = "styles/ferry.tcss"
    TITLE = "virt-ferry"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (160, "-broad")]  # noqa: RUF012  # Textual's own type
    COMMANDS: ClassVar = {FerryCommands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q,ctrl+c", "leave", "quit", show=False, priority=True)
    ]

    def __init__(
        self,
        connect: Connect,
        fleet_label: str,
        clock: Callable[[], float] = time.time,
        *,
        ascii_only: bool | None = None,
        home: Callable[[], FerryScreen] = FleetScreen,
    ) -> None:
        """`home` makes the first screen."""
        super().__init__()
        self._home = home
        self.animation_level = "none"
        self.fleet_label = fleet_label
        self.clock = clock
        self.store = Store()
        self.bridge = Bridge(connect, self.store, clock, self.hurry)
        Painted.ascii_only = wants_ascii(os.environ) if ascii_only is None else ascii_only
        for theme in themes.ALL:
            self.register_theme(theme)
        self.theme = themes.choose(os.environ)

    def get_default_screen(self) -> Screen[None]:
        """The fleet is home, unless something else was asked for."""
        return self._home()

    def on_mount(self) -> None:
        """Start listening and beating."""
        self.run_worker(self.bridge.run(), group="bridge", description="listen to the engine")
        self.set_interval(HEARTBEAT_S, self.beat)

    async def on_unmount(self) -> None:
        """Hang up; the engine goes on."""
        await self.bridge.close()

    def beat(self) -> None:
        """Tell the visible screen, and only that, that time or knowledge went on."""
        if self.screen_stack:
            self.screen.post_message(StoreMoved(self.store.version))

    def hurry(self) -> None:
        """The same, to be drawn at once."""
        if self.screen_stack:
            self.screen.post_message(StoreMoved(self.store.version, at_once=True))

    def flush(self) -> None:
        """Draw what is known at once, whatever the pace."""
        if self.ferry_screen is not None:
            self.ferry_screen.draw_all()

    @property
    def ferry_screen(self) -> FerryScreen | None:
        """The screen under any palette."""
        own = [screen for screen in self.screen_stack if isinstance(screen, FerryScreen)]
        return own[-1] if own else None

    def open_plan(self, vms: tuple[Vm, ...], target: str = "") -> None:
        """Plan a move of these; the cursor begins on that target."""
        from tui.screens.plan import PlanScreen

        self.push_screen(PlanScreen(vms, target))

    def open_migration(self, id: str) -> None:
        """Show one migration."""
        from tui.screens.migration import MigrationScreen

        self.push_screen(MigrationScreen(id))

    def open_replay(self, id: str) -> None:
        """Show one that has ended, to be played."""
        from tui.screens.replay import ReplayScreen

        self.push_screen(ReplayScreen(id))

    def open_evacuate(self, wish: EvacuationWish) -> None:
        """Review the emptying of a host, or the way home."""
        from tui.screens.evacuate import EvacuateScreen

        self.push_screen(EvacuateScreen(wish))

    def open_evacuation(self, id: str) -> None:
        """Show a run."""
        from tui.screens.evacuation import EvacuationScreen

        self.push_screen(EvacuationScreen(id))

    def open_migrations(self) -> None:
        """Show the list of all."""
        from tui.screens.migrations import MigrationsScreen

        self.push_screen(MigrationsScreen())

    def open_history(self) -> None:
        """Show what has ended, of earlier engines too."""
        from tui.screens.history import HistoryScreen

        self.push_screen(HistoryScreen())

    def open_rolls(self) -> None:
        """Show the roll that goes on, or the newest."""
        from tui.screens.roll import RollScreen

        self.push_screen(RollScreen())

    def leave_screen(self, screen: FerryScreen) -> None:
        """To the one before it; from the home screen out of the console."""
        if screen is self.screen_stack[0]:
            self.exit()
        else:
            screen.dismiss()

    def open_doctor(self) -> None:
        """Examine the fleet."""
        from tui.screens.doctor import DoctorScreen

        self.push_screen(DoctorScreen())

    def started(self, migrations: tuple[Migration, ...]) -> None:
        """Leave the plan for what it started."""
        for migration in migrations:
            self.store.renew(migration)
        self.pop_screen()
        if len(migrations) == 1:
            self.open_migration(migrations[0].id)
        else:
            self.open_migrations()

    def action_leave(self) -> None:
        """Ctrl+C and ctrl+q ask as `q` does."""
        if self.ferry_screen is not None:
            self.ferry_screen.action_act("quit")

    def leave(self, running: list[Migration]) -> None:
        """Go, and say on the terminal what goes on."""
        lines = [f"{m.vm} is moving from {m.source} to {m.target}." for m in running]
        said = "\n".join(clean(of) for of in [*lines, "Come back with: virt-ferry"])
        # As a Text, because the exit message would be read as markup.
        self.exit(message=Text(said))

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        super()._display(screen, exact(renderable))
