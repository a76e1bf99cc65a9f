"""The fleet file's `[rules.*]`, checked and typed. Pure.

[rules.even]
kind = "balance"             # balance, consolidate, drain, follow
level = "advise"             # the default; or "ask", "automatic"
measure = "cpu"              # or memory, pressure
above_percent = 75           # of a host, in each of the last `rounds` (20 s each, the mean)
rounds = 3
gain_percent = 10            # less is not worth a move
cooldown_s = 1800            # between two moves of one VM
hosts = ["kvm-a", "kvm-b"]   # default: all

[rules.night]
kind = "drain"
host = "kvm-a"
at = "02:00"
until = "05:00"              # what would not end by then is not started
days = ["sat", "sun"]        # default: every day

[rules.pack]
kind = "consolidate"
below_percent = 30           # a host so empty is emptied ...
most_percent = 65            # ... if no other gets fuller than this

[rules.home]
kind = "follow"              # VMs go to a host that their tag prefers
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from backend.errors import BadInput
from backend.model import RuleKind, RuleLevel

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_Word = TypeVar("_Word", bound=StrEnum)
MARGIN_PERCENT = 5.0
"""Below the threshold that a target of a move stays, in points."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Measure(StrEnum):
    """Which load of a host."""

    CPU = "cpu"
    MEMORY = "memory"
    PRESSURE = "pressure"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; what its kind does not use has its default."""

    name: str
    kind: RuleKind
    level: RuleLevel = RuleLevel.ADVISE
    measure: Measure = Measure.CPU
    above_percent: float = 75.0
    below_percent: float = 30.0
    most_percent: float = 65.0
    rounds: int = 3
    gain_percent: float = 10.0
    """Of the busier of the two hosts, in points."""
    cooldown_s: float = 1800.0
    hosts: tuple[str, ...] = ()
    """Those it looks at; empty: all."""
    host: str = ""
    at_min: int = 0
    """Of the day, local time."""
    until_min: int = 0
    """At or before `at_min`: on the next day."""
    days: tuple[int, ...] = tuple(range(7))
    """On which it begins; 0 is Monday."""


_COMMON = ("kind", "level")
_HELD = ("rounds", "cooldown_s", "hosts")
KEYS: Mapping[RuleKind, tuple[str, ...]] = {
    RuleKind.BALANCE: (*_COMMON, *_HELD, "measure", "above_percent", "gain_percent"),
    RuleKind.CONSOLIDATE: (*_COMMON, *_HELD, "below_percent", "most_percent"),
    RuleKind.DRAIN: (*_COMMON, "host", "at", "until", "days"),
    RuleKind.FOLLOW: (*_COMMON, "cooldown_s", "hosts"),
}
NEEDED: Mapping[RuleKind, tuple[str, ...]] = {RuleKind.DRAIN: ("host", "at", "until")}
_NUMBERS = {
    "above_percent": (1, 100),
    "below_percent": (1, 100),
    "most_percent": (1, 100),
    "gain_percent": (1, 100),
    "cooldown_s": (0, 604_800),
}


def rules_of(tables: Any, hosts: Collection[str], path: Path | None) -> tuple[Rule, ...]:
    """The `[rules]` of a fleet file with those hosts. Raises BadInput with every mistake named."""
    if tables is None:
        return ()
    if not isinstance(tables, dict):
        raise BadInput(f"The fleet file {path}: rules must be a table of tables.")
    wrong: list[str] = []
    found = [_Reader(str(name), table, hosts, wrong).rule() for name, table in tables.items()]
    wrong += _fighting([rule for rule in found if rule is not None])
    if wrong:
        raise BadInput(f"The fleet file {path}: {'; '.join(wrong)}.", "Mend it and try again.")
    return tuple(rule for rule in found if rule is not None)


def _fighting(rules: Sequence[Rule]) -> Iterator[str]:
    """A host filled by one rule up to where another empties it would never come to rest."""
    for full in rules:
        for even in rules:
            kinds = (full.kind, even.kind) == (RuleKind.CONSOLIDATE, RuleKind.BALANCE)
            if kinds and full.most_percent > even.above_percent - MARGIN_PERCENT:
                most = even.above_percent - MARGIN_PERCENT
                yield (
                    f"rules.{full.name}.most_percent is {full.most_percent:.0f}, which"
                    f" rules.{even.name} would undo (allowed beside it: at most {most:.0f})"
                )


class _Reader:
    """One table; what is wrong with it is added to `wrong`, key by key."""

    def __init__(self, name: str, table: Any, hosts: Collection[str], wrong: list[str]) -> None:
        self._name, self._table, self._hosts, self._wrong = name, table, hosts, wrong

    def rule(self) -> Rule | None:
        """None where the rest cannot be understood."""
        if not _NAME.fullmatch(self._name):
            self._wrong.append(
                f"{self._name!r} is not a rule's name (lower-case letters, digits and '-')"
            )
            return None
        if not isinstance(self._table, dict):
            self._wrong.append(f"rules.{self._name} must be a table")
            return None
        kind = self._word("kind", RuleKind, None)
        if kind is None:
            return None
        for key in self._table:
            if key not in KEYS[kind]:
                self._bad(str(key), f"is not a key of {kind}", KEYS[kind])
        for key in NEEDED.get(kind, ()):
            if key not in self._table:
                self._bad(key, f"is needed by {kind}", ())
        return self._typed(kind)

    def _typed(self, kind: RuleKind) -> Rule:
        fields: dict[str, Any] = {}
        for key, value in self._table.items():
            if key in KEYS[kind] and key not in _COMMON:
                fields |= self._field(key, value)
        level = self._word("level", RuleLevel, RuleLevel.ADVISE) or RuleLevel.ADVISE
        return Rule(self._name, kind, level, **fields)

    def _field(self, key: str, value: Any) -> dict[str, Any]:
        if key in _NUMBERS:
            return {key: self._number(key, value, *_NUMBERS[key])}
        if key == "rounds":
            return {key: int(self._number(key, value, 1, 1000, whole=True))}
        if key == "measure":
            return {key: self._word(key, Measure, Measure.CPU) or Measure.CPU}
        if key in ("at", "until"):
            return {f"{key}_min": self._minute(key, value)}
        if key == "days":
            days = self._words(key, value, DAYS)
            return {key: tuple(sorted(DAYS.index(day) for day in days))}
        if key == "host":
            return {key: next(iter(self._words(key, [value], self._hosts)), "")}
        return {key: self._words(key, value, self._hosts)}

    def _number(self, key: str, value: Any, low: float, high: float, whole: bool = False) -> float:
        kinds = int if whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            self._bad(key, f"is {value!r}", (f"{low} to {high:,}",))
            return low
        return float(value)

    def _minute(self, key: str, value: Any) -> int:
        found = _TIME.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self._bad(key, f"is {value!r}", ("a time of day like 02:30",))
            return 0
        return 60 * int(found[1]) + int(found[2])

    def _words(self, key: str, value: Any, allowed: Collection[str]) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            self._bad(key, f"is {value!r}", ("a list", *allowed))
            return ()
        for word in value:
            if not isinstance(word, str) or word not in allowed:
                self._bad(key, f"names {word!r}", allowed)
        return tuple(dict.fromkeys(w for w in value if isinstance(w, str) and w in allowed))

    def _word(self, key: str, kind: type[_Word], default: _Word | None) -> _Word | None:
        value = self._table.get(key, default)
        allowed = [one.value for one in kind]
        if value not in allowed:
            self._bad(key, "is needed" if value is None else f"is {value!r}", allowed)
            return None
        return kind(value)

    def _bad(self, key: str, what: str, allowed: Collection[str]) -> None:
        told = f" (allowed: {', '.join(allowed)})" if allowed else ""
        self._wrong.append(f"rules.{self._name}.{key} {what}{told}")
