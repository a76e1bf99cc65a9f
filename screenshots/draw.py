"""Draws every picture in this folder from recorded real migrations: `python screenshots/draw.py`.

The table below is all there is to a picture. tests/console/test_screenshots.py draws the SVGs
again and fails when the committed ones are stale.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
os.environ |= {"TZ": "UTC", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
os.environ |= {"LC_ALL": "C.UTF-8"}
time.tzset()

from rich.terminal_theme import DIMMED_MONOKAI  # noqa: E402

from backend.model import Migration, Word  # noqa: E402
from screenshots.svg import svg  # noqa: E402
from tests.console.recorded import Entry, RecordedLink, answered, begun, load, when  # noqa: E402
from tui.app import FerryApp  # noqa: E402

FONTS = Path("/usr/share/fonts/truetype/dejavu")
FONT_FILES = [FONTS / "DejaVuSansMono.ttf", FONTS / "DejaVuSansMono-Bold.ttf"]
Moment = Callable[[list[Entry]], float]


def _first(wanted: Callable[[Migration], bool], later_s: float = 0.0) -> Moment:
    """So long after a migration was first seen like that."""
    return lambda entries: when(entries, wanted) + later_s


def _both(entries: list[Entry]) -> float:
    """A while after the second of two began."""
    return max(seen.t for seen in begun(entries).values()) + 12.0


@dataclass(frozen=True, slots=True)
class Picture:
    """One screenshot."""

    name: str
    recording: str
    moment: Moment
    keys: tuple[str, ...] = ()
    size: tuple[int, int] = (120, 36)
    theme: str = "ferry-dark"


def _passing(number: int) -> Callable[[Migration], bool]:
    return lambda m: m.sample is not None and m.sample.pass_number >= number


def _hopeless(m: Migration) -> bool:
    return m.outlook is not None and m.outlook.word is Word.WILL_NOT_CONVERGE


_OPEN = ("M", "enter")
_DB = ("slash", *"db-1", "enter", "m")
PICTURES = (
    Picture("fleet", "two-at-once", _both),
    Picture("plan", "db", lambda _: 0.5, _DB),
    Picture("migration-converging", "db", _first(_passing(9), 1.0), _OPEN),
    Picture("migration-not-converging", "cache-abort", _first(_hopeless, 6.0), _OPEN),
    Picture("report", "db", _first(lambda m: m.verdict is not None, 1.0), _OPEN),
    Picture("history", "two-at-once", lambda entries: entries[-1].t, ("h",), size=(120, 20)),
    Picture("migration-80x24", "db", _first(_passing(9), 1.0), _OPEN, size=(80, 24)),
    Picture("fleet-light", "two-at-once", _both, theme="ferry-light"),
)


async def draw(picture: Picture) -> str:
    """The picture as SVG."""
    entries = load(picture.recording)
    link = RecordedLink(entries)
    app = FerryApp(link.connect, "lab", link.clock, ascii_only=False)
    async with app.run_test(size=picture.size) as pilot:
        app.theme = picture.theme
        await pilot.pause()
        await link.play_to(picture.moment(entries))
        for key in picture.keys:
            await pilot.press(key)
            await answered(app)
        app.flush()
        await pilot.pause()
        strips = app.screen._compositor.render_strips(app.size)
        return svg(strips, picture.size[0], DIMMED_MONOKAI)


def to_png(drawing: str) -> bytes:
    """The SVG as pixels, with the font of Debian's fonts-dejavu-core."""
    import resvg_py

    if missing := [str(path) for path in FONT_FILES if not path.exists()]:
        raise SystemExit(f"{missing[0]} is missing: apt-get install fonts-dejavu-core")
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=drawing,
            skip_system_fonts=True,
            font_files=[str(path) for path in FONT_FILES],
            font_family="DejaVu Sans Mono",
            monospace_family="DejaVu Sans Mono",
        )
    )


async def main(names: list[str]) -> None:
    """Draw the named pictures, or all, as SVG and PNG."""
    for picture in PICTURES:
        if names and picture.name not in names:
            continue
        drawing = await draw(picture)
        (HERE / f"{picture.name}.svg").write_text(drawing)
        (HERE / f"{picture.name}.png").write_bytes(to_png(drawing))
        print(picture.name)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
