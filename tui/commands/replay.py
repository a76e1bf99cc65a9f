"""`replay`: a recording played on the migration screen; no engine, no hosts, no libvirt."""

import argparse
import shutil
import sys
from pathlib import Path

from backend.service.client import BadInput
from tui import recording
from tui.render import room

MOST_SPEED = 1000.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """FILE and how fast."""
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="of `export --recording`; default: an example"
    )
    parser.add_argument("--speed", type=float, default=1.0, metavar="N", help="times as fast")


def replay(options: argparse.Namespace) -> int:
    """Play it until the operator leaves. Raises BadInput."""
    if not 0 < options.speed <= MOST_SPEED:
        raise BadInput(f"--speed: it lies between 0 and {MOST_SPEED:.0f}.", "As in --speed 4.")
    path = Path(options.file) if options.file else recording.SHIPPED
    recordings = recording.read(path)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("A replay needs a terminal.")
    if reason := room.too_little(*shutil.get_terminal_size()):
        raise BadInput(reason, room.REMEDY)
    from tui.app import FerryApp
    from tui.recorded_engine import RecordedEngine
    from tui.screens.base import FerryScreen
    from tui.screens.history import HistoryScreen
    from tui.screens.replay import ReplayScreen

    def home() -> FerryScreen:
        """The one there is, at once; of several the list."""
        if len(recordings) > 1:
            return HistoryScreen()
        return ReplayScreen(recordings[0].migration.id, options.speed)

    engine = RecordedEngine(recordings)
    app = FerryApp(engine.connect, path.name, ascii_only=options.ascii or None, home=home)
    app.run()
    return app.return_code or 0
