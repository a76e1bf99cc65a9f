"""The fleet file's own policies, as `fleet.config` read them, checked and typed. Pure.

[policies.night]
base = "balanced"            # what is not said here comes from it; default: balanced
pause_ms = 1000
deadline_s = 3600            # of the migrate call
deadline_s_per_gib = 150     # per GiB of memory; the shorter one counts
throttle_percent = 60        # 0: never slow the VM
post_copy = false
suspend = false
compression = false
streams = 1
about = "Nobody works then."
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.errors import BadInput
from backend.model import Policy

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_WHOLE = {"pause_ms": (1, 2_000_000), "throttle_percent": (0, 90), "streams": (1, 16)}
_SPANS = {"deadline_s": (1, 604_800), "deadline_s_per_gib": (1, 604_800)}
_SWITCHES = ("post_copy", "suspend", "compression")
KEYS = ("base", "about", *_WHOLE, *_SPANS, *_SWITCHES)


def own_policies(
    tables: Any, built_in: Mapping[str, Policy], path: Path | None
) -> tuple[Policy, ...]:
    """The `[policies]` of a fleet file; a base may be built in or stand above. Raises BadInput."""
    if tables is None:
        return ()
    if not isinstance(tables, dict):
        raise BadInput(f"The fleet file {path}: policies must be a table of tables.")
    known = dict(built_in)
    found = []
    for name, table in tables.items():
        policy = _policy(str(name), table, known, path)
        known[policy.name] = policy
        found.append(policy)
    return tuple(found)


def _policy(name: str, table: Any, known: Mapping[str, Policy], path: Path | None) -> Policy:
    where = f"The fleet file {path}: policies.{name}"
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"The fleet file {path}: {name!r} is not a policy's name.",
            "Use lower-case letters, digits and '-', at most 40 of them.",
        )
    if not isinstance(table, dict):
        raise BadInput(f"{where} must be a table.")
    for key in table:
        if key not in KEYS:
            raise BadInput(f"{where} has an unknown key {key!r}.", f"Allowed: {', '.join(KEYS)}.")
    base = table.get("base", "balanced")
    if not isinstance(base, str) or base not in known:
        raise BadInput(f"{where}.base is {base!r}.", f"Allowed: {', '.join(known)}.")
    fields: dict[str, Any] = {key: _whole(table[key], key, where) for key in _WHOLE if key in table}
    fields |= {key: _span(table[key], key, where) for key in _SPANS if key in table}
    fields |= {key: _switch(table[key], key, where) for key in _SWITCHES if key in table}
    about = table.get("about", "")
    if not isinstance(about, str) or not (about.isprintable() and len(about) <= 200):
        raise BadInput(f"{where}.about must be a line of at most 200 characters.")
    return replace(known[base], name=name, about=about, **fields)


def _whole(value: Any, key: str, where: str) -> int:
    low, high = _WHOLE[key]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"{where}.{key} is {value!r}.", f"Allowed: {low} to {high:,}.")
    return value


def _span(value: Any, key: str, where: str) -> float:
    low, high = _SPANS[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadInput(f"{where}.{key} is {value!r}.", f"Allowed: {low} to {high:,} seconds.")
    return float(value)


def _switch(value: Any, key: str, where: str) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{where}.{key} is {value!r}.", "Allowed: true, false.")
    return value
