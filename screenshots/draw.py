"""Draws every picture in this folder from recorded real migrations: `python screenshots/draw.py`.

The table below is all there is to a picture. tests/console/test_screenshots.py draws the SVGs
again and fails when the committed ones are stale.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
os.environ |= {"TZ": "UTC", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
os.environ |= {"LC_ALL": "C.UTF-8"}
time.tzset()

from rich.terminal_theme import DIMMED_MONOKAI  # noqa: E402

from screenshots.svg import svg  # noqa: E402
from tests.console import scenes  # noqa: E402
from tests.console.recorded import RecordedLink, load  # noqa: E402
from tests.console.scenes import Scene  # noqa: E402
from tui.app import FerryApp  # noqa: E402

FONTS = Path("/usr/share/fonts/truetype/dejavu")
FONT_FILES = [FONTS / "DejaVuSansMono.ttf", FONTS / "DejaVuSansMono-Bold.ttf"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One screenshot."""

    name: str
    scene: Scene
    size: tuple[int, int] = (120, 36)
    theme: str = "ferry-dark"


PICTURES = (
    Picture("fleet", scenes.FLEET),
    Picture("plan", scenes.PLAN),
    Picture("migration-converging", scenes.CONVERGING),
    Picture("migration-not-converging", scenes.WILL_NOT_CONVERGE),
    Picture("report", scenes.MOVED),
    Picture("history", scenes.HISTORY, size=(120, 20)),
    Picture("migration-80x24", scenes.CONVERGING, size=(80, 24)),
    Picture("fleet-light", scenes.FLEET, theme="ferry-light"),
    Picture("advice", scenes.ADVISED),
    Picture("evacuate", scenes.REVIEW),
    Picture("evacuation", scenes.TIMELINE),
    Picture("cold-move", scenes.COLD),
    Picture("doctor", scenes.DOCTOR),
    Picture("roll", scenes.ROLL_RECORDED),
)


async def draw(picture: Picture) -> str:
    """The picture as SVG."""
    link = RecordedLink(load(picture.scene.recording))
    app = FerryApp(link.connect, "lab", link.clock, ascii_only=False)
    async with app.run_test(size=picture.size) as pilot:
        app.theme = picture.theme
        await pilot.pause()
        await scenes.played(app, pilot, link, picture.scene)
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
