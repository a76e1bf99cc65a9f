"""A console on a recorded real migration, its clock in the test's hand."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest
from textual.pilot import Pilot

from backend.service.client import FerryError
from backend.service.protocol import Change
from tests.console.recorded import Entry, RecordedLink, answered, load
from tui.app import FerryApp
from tui.screens.base import FerryScreen
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import Painted

T = TypeVar("T")


@dataclass
class Console:
    """The app, the engine it thinks it has, and hands to press keys."""

    app: FerryApp
    link: RecordedLink
    pilot: Pilot[None]

    async def at(self, t: float) -> None:
        """Play to `t` and draw."""
        await self.link.play_to(t)
        await self.settle()

    async def publish(self, change: Change) -> None:
        """One change that is not in the recording."""
        await self.link.publish(change)
        await self.settle()

    async def press(self, *keys: str) -> None:
        """Press keys, and wait for what the engine answers."""
        for key in keys:
            await self.pilot.press(key)
            await answered(self.app)
        await self.settle()

    async def settle(self) -> None:
        """Everything drawn, whatever the pace."""
        self.app.flush()
        await self.come_to_rest()

    async def resize(self, width: int, height: int) -> None:
        """Another size of the terminal; nothing but that draws anew."""
        await self.pilot.resize_terminal(width, height)
        await self.come_to_rest()

    async def come_to_rest(self) -> None:
        """Until nothing waits, or it is left: Textual's pause may end while it still draws."""
        await self.pilot.pause()
        while not self.app._exit and self._waits():
            await self.pilot._wait_for_screen()
            self.app.screen._on_timer_update()

    def _waits(self) -> bool:
        screen = self.app.screen
        pumps = (self.app, *screen.walk_children(with_self=True))
        return bool(
            self.app._resize_event
            or screen._layout_required
            or screen._callbacks
            or screen._dirty_widgets
            or any(one.message_queue_size for one in pumps)
        )

    @property
    def screen(self) -> FerryScreen:
        """The one that is seen."""
        assert isinstance(self.app.screen, FerryScreen)
        return self.app.screen

    @property
    def text(self) -> str:
        """The screen as text, row by row, as the compositor has it."""
        strips = self.app.screen._compositor.render_strips(self.app.size)
        return "\n".join(strip.text.rstrip() for strip in strips)

    def table(self, id: str) -> LiveTable[object]:
        """A table of the screen."""
        return self.app.screen.query_one(f"#{id}", LiveTable)

    def box(self, id: str) -> str:
        """What one painted box shows."""
        return "\n".join(line.text for line in self.app.screen.query_one(f"#{id}", Painted).painted)

    def asked(self, kind: type[T]) -> list[T]:
        """The requests of a kind that reached the engine."""
        return [call for call in self.link.calls if isinstance(call, kind)]


Open = Callable[..., AbstractAsyncContextManager[Console]]


@pytest.fixture(scope="session")
def recordings() -> Callable[[str], list[Entry]]:
    """Recordings by name, read once."""
    known: dict[str, list[Entry]] = {}

    def by_name(name: str) -> list[Entry]:
        if name not in known:
            known[name] = load(name)
        return known[name]

    return by_name


@pytest.fixture(autouse=True)
def quick_pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's pilot looks every 20 ms whether the app idles, several times a key."""
    monkeypatch.setattr("textual.screen.UPDATE_PERIOD", 0.002)
    monkeypatch.setattr("textual._wait.SLEEP_GRANULARITY", 0.004)
    monkeypatch.setattr("textual._wait.SLEEP_IDLE", 0.002)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same terminal wherever the tests run."""
    monkeypatch.setenv("VIRT_FERRY_THEME", "ferry-dark")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def console(recordings: Callable[[str], list[Entry]]) -> Open:
    """`async with console("web", size=(80, 24)) as c:` at the first whole fleet."""

    @asynccontextmanager
    async def opened(
        name: str,
        size: tuple[int, int] = (120, 36),
        t: float = 0.5,
        ascii_only: bool = False,
        late: bool = False,
        failing: FerryError | None = None,
    ) -> AsyncIterator[Console]:
        link = RecordedLink(recordings(name), failing=failing)
        if late:
            link.skip_to(t)
        connect: Callable[[], Awaitable[RecordedLink]] = link.connect
        app = FerryApp(connect, "lab", link.clock, ascii_only=ascii_only)
        async with app.run_test(size=size) as pilot:
            console = Console(app, link, pilot)
            await (console.settle() if failing else console.at(t))
            yield console

    return opened
