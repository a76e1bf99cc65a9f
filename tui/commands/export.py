"""`export`: reports of migrations for a change ticket, and recordings of them."""

import argparse
import sys
from pathlib import Path

from backend.service.client import BadInput
from backend.service.protocol import FleetChoice
from tui.commands.history import recorded
from tui.commands.session import clean, connected, print_json
from tui.export import files, markdown
from tui.replay import Recording

_FORMS = {"html": ".html", "markdown": ".md", "recording": ".jsonl"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """IDs and one or more files."""
    what = "a migration's id, or a VM's name (its newest one)"
    parser.add_argument("id", nargs="+", metavar="ID", help=what)
    parser.add_argument("--html", metavar="FILE", help="one page with its charts")
    parser.add_argument("--markdown", metavar="FILE", help="the same as text; - or none: printed")
    parser.add_argument("--recording", metavar="FILE", help="for `virt-ferry replay`")
    parser.add_argument("--force", action="store_true", help="write over a file that exists")


async def export(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Each file that was asked for; without any, Markdown on the standard output."""
    recordings: list[Recording] = []
    async with connected(choice) as client:
        for wanted in options.id:
            one = await recorded(client, wanted)
            if one.migration.id not in {known.migration.id for known in recordings}:
                recordings.append(one)
    if running := [one.migration for one in recordings if one.migration.running]:
        raise BadInput(
            f"{running[0].vm} is on its way yet.",
            f"Export it when it has ended: `virt-ferry watch {running[0].id}`.",
        )
    asked = {ending: getattr(options, form) for form, ending in _FORMS.items()}
    written = [
        _written(Path(name), ending, recordings, options.force)
        for ending, name in asked.items()
        if name is not None and (name, ending) != ("-", ".md")
    ]
    if not written or options.markdown == "-":
        sys.stdout.write(markdown.document(recordings, files.made_now()))
    elif options.json:
        print_json({"ids": [one.migration.id for one in recordings], "files": written})
    else:
        print("\n".join(f"Written: {clean(name)}" for name in written))
    return 0


def _written(path: Path, ending: str, recordings: list[Recording], force: bool) -> str:
    files.write(path, files.written_as(ending, recordings), force)
    return str(path)
