"""Names as somebody who means harm would choose them, put wherever a name or text can be."""

import dataclasses
import unicodedata
from collections.abc import Callable
from enum import Enum
from typing import TypeVar, cast

import msgspec
from hypothesis import strategies as st

T = TypeVar("T")

PIECES = (
    "\x1b[2J",
    "\x1b]0;PWNED\x07",
    "\x1b]8;;http://evil\x1b\\",
    "\x9b31m",
    "\x90+q\x9c",
    "\r\n",
    "\n",
    "\t",
    "\x00",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\ud800",
    "[red]",
    "[/]",
    "[@click=app.exit]",
    "[link=http://evil]",
    "\\[",
    "$(touch /tmp/pwned)",
    "`id`",
    "';id;'",
    '"',
    "; rm -rf /",
    " | sh",
    "&& id",
    "<x a='1'>",
    "]]>",
    "</name>",
    "<!--",
    "&amp;",
    "../../etc/passwd",
    "/",
    "..",
    "-",
    "--help",
    "\\",
    "%s",
    "{name}",
    "漢字",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "db-1",
    " ",
    "7",
)
ALL_AT_ONCE = "".join(piece for piece in PIECES if piece != "\ud800")

texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), min_size=1, max_size=8).map("".join)
"""Anything; can hold half of a surrogate pair."""
names = texts.filter(lambda text: text.isascii() or text.encode("utf-8", "ignore").decode() == text)
"""Those that a host could send."""


def obeyed(text: str) -> list[str]:
    """The characters of a line that a terminal would obey, or not show."""
    return [c for c in text if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"]


def spoilt(thing: T, change: Callable[[str], str]) -> T:
    """A model object with each text in it changed, equal ones equally; an enum's words are not."""
    return cast(T, _spoilt(thing, change))


def _spoilt(thing: object, change: Callable[[str], str]) -> object:
    if isinstance(thing, Enum):
        return thing
    if isinstance(thing, str):
        return change(thing) if thing else thing
    if isinstance(thing, tuple):
        return tuple(_spoilt(one, change) for one in thing)
    if isinstance(thing, dict):
        return {_spoilt(k, change): _spoilt(v, change) for k, v in thing.items()}
    if isinstance(thing, msgspec.Struct):
        fields = {f: _spoilt(getattr(thing, f), change) for f in thing.__struct_fields__}
        return msgspec.structs.replace(thing, **fields)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        changed = {
            f.name: _spoilt(getattr(thing, f.name), change) for f in dataclasses.fields(thing)
        }
        return dataclasses.replace(thing, **changed)
    return thing
