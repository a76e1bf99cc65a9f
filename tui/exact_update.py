"""Write exactly the changed spans to the terminal.

Textual 8.2.8 crops a partial update on its right side only: each changed span is sent from the
left edge of its widget on, which made one changed cell cost a whole row. This sends the span.
It leans on one private module; the byte budgets in tests/console hold it to its promise.
"""

from typing import Any

from rich.console import Console, RenderableType
from rich.control import Control
from textual._compositor import ChopsUpdate, CompositorUpdate


class ExactUpdate(CompositorUpdate):
    """A partial update without what did not change."""

    def __init__(self, update: ChopsUpdate) -> None:
        self._update = update

    def render_segments(self, console: Console) -> str:
        """The terminal sequences for the changed spans."""
        parts: list[str] = []
        for y, start, stop in self._update.spans:
            at = -1
            ends = self._update.chop_ends[y]
            for end, (x, strip) in zip(ends, self._update.chops[y].items(), strict=False):
                left, right = max(x, start), min(end, stop)
                if strip is None or left >= right:
                    continue
                if left != at:
                    parts.append(Control.move_to(left, y).segment.text)
                parts.append(strip.crop(left - x, right - x).render(console))
                at = right
        return "".join(parts)


def exact(update: RenderableType | None) -> Any:
    """An exact update in place of a partial one; anything else as it is."""
    return ExactUpdate(update) if isinstance(update, ChopsUpdate) else update
