"""Every action of the screen in the command palette, with the reason when it cannot be done."""

from collections.abc import Callable
from functools import partial
from typing import cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from tui import themes
from tui.actions import COMMON
from tui.render.ink import clean
from tui.screens.base import FerryScreen

Entry = tuple[str, str, Callable[[], None]]


def _literal(about: str) -> str:
    """Textual takes a help text for markup, and the reason in it may name a VM; a Content it takes
    as it is, whatever its annotation says."""
    return cast(str, Content(clean(about)))


class FerryCommands(Provider):
    """The screen's actions and the themes, by name."""

    def _entries(self) -> list[Entry]:
        screen = self.screen
        if not isinstance(screen, FerryScreen):
            return []
        entries: list[Entry] = []
        for action in (*screen.ACTIONS, *(a for a in COMMON if a.name != "palette")):
            reason = screen.why_not(action.name)
            about = f"{action.key} · " + (f"not now: {reason}" if reason else action.about)
            entries.append((action.label, about, partial(screen.action_act, action.name)))
        for theme in themes.ALL:
            colours = partial(setattr, self.app, "theme", theme.name)
            entries.append((f"colours {theme.name.removeprefix('ferry-')}", "", colours))
        return entries

    async def discover(self) -> Hits:
        """All of them, before anything is typed."""
        for label, about, run in self._entries():
            yield DiscoveryHit(Content(label), run, text=label, help=_literal(about))

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for label, about, run in self._entries():
            if (score := matcher.match(f"{label} {about}")) > 0:
                yield Hit(score, Content(label), run, text=label, help=_literal(about))
