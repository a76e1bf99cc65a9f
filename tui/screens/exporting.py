"""Writing reports and recordings from a screen: one prompt for the file's name, the rest beside."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from backend.service.protocol import GetMigration, MigrationReply
from tui.actions import Action
from tui.export import files
from tui.render.ink import Ink
from tui.replay import Recording
from tui.screens.base import FerryScreen
from tui.widgets.prompt import Prompt

EXPORT = Action("export", "x", "export", "Write a report (.html, .md) or a recording (.jsonl).")


class Exporting(FerryScreen):
    """A screen whose `do_export` asks for a file."""

    def ask_export(self, name: str, ids: Sequence[str]) -> None:
        """Ask where to; `name` is suggested. Nothing that exists is written over."""

        def typed(text: str) -> str:
            path = Path(text.strip()).expanduser()
            if path.suffix not in files.ENDINGS:
                return f"A name ends in one of {' '.join(files.ENDINGS)}."
            self.engine(self._export(path, ids), "export")
            return ""

        self.query_one(Prompt).ask(f"write to ({' '.join(files.ENDINGS)})", name, typed)

    async def _export(self, path: Path, ids: Sequence[str]) -> None:
        recordings = [await self.fetched(id) for id in ids]
        where = await asyncio.to_thread(_write, path, recordings)
        self.say(f"Written: {where}", ink=Ink.OK)

    async def fetched(self, id: str) -> Recording:
        """A migration with its whole chart. Raises FerryError."""
        reply = await self.ferry.bridge.call(GetMigration(id))
        assert isinstance(reply, MigrationReply)
        return Recording(reply.migration, reply.samples)


def _write(path: Path, recordings: list[Recording]) -> str:
    """Its whole path."""
    files.write(path, files.written_as(path.suffix, recordings))
    return str(path.absolute())
