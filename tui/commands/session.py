"""What every verb does first and last: connect, ask, print."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from rich.cells import cell_len

from backend.service.client import EngineClient
from backend.service.protocol import FleetChoice

SETTLE_S = 12.0
"""How long a command waits for hosts that have not answered yet."""


@asynccontextmanager
async def connected(
    choice: FleetChoice | None, *, start: bool = True
) -> AsyncIterator[EngineClient]:
    """A connection to the engine, hung up at the end."""
    client = await EngineClient.connect(choice, start=start)
    try:
        yield client
    finally:
        await client.close()


def plain(thing: object) -> Any:
    """A model object as JSON-ready dicts and lists."""
    return msgspec.to_builtins(thing)


def print_json(thing: object) -> None:
    """One object on one line, at once."""
    sys.stdout.write(json.dumps(plain(thing)) + "\n")
    sys.stdout.flush()


def clean(text: object) -> str:
    """Text from outside, harmless on a terminal: no control characters."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def warn(sentence: str) -> None:
    """Said beside the output, not in it."""
    print(f"virt-ferry: {clean(sentence)}", file=sys.stderr)


def print_table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Columns as wide as they need to be."""
    cells = [header, *(tuple(clean(cell) for cell in row) for row in rows)]
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        padded = (c + " " * (w - cell_len(c)) for c, w in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())
