"""Migrations that have ended, as the rows of the history."""

from backend.model import Outcome, Past
from tui.render import units
from tui.render.ink import Ink, Span, Spans, spans_of
from tui.render.table import Column

WITHOUT_YEAR = len("11-24 20:10")
_OUTCOMES: dict[Outcome, Span] = {
    Outcome.MOVED: ("✓ moved", Ink.OK),
    Outcome.STAYED: ("○ stayed", Ink.WARN),
    Outcome.UNKNOWN: ("? unknown", Ink.BAD),
    Outcome.LOST: ("✕ lost", Ink.BAD),
    Outcome.SPLIT: ("✕ split", Ink.BAD),
}


def _when(past: Past, width: int) -> Spans:
    when = units.day_clock(past.started)
    return spans_of(when if width >= len(when) else when[-WITHOUT_YEAR:])


def _ms(value: int | None) -> Spans:
    return spans_of(units.milliseconds(value))


def words_of(past: Past) -> str:
    """All that a filter looks at, in lower case."""
    when = units.day_clock(past.started)
    words = (past.vm, past.source, past.target, past.mode, past.outcome, past.policy, past.id, when)
    return " ".join(words).lower()


COLUMNS: tuple[Column[Past], ...] = (
    Column("when", "WHEN", WITHOUT_YEAR, _when, flex=5, sort=lambda p: p.started),
    Column(
        "vm",
        "VM",
        12,
        lambda p, _: spans_of((p.vm, Ink.BOLD)),
        narrow=8,
        flex=20,
        sort=lambda p: p.vm.lower(),
    ),
    Column(
        "way",
        "FROM ⇢ TO",
        15,
        lambda p, _: spans_of(f"{p.source} ⇢ {p.target}"),
        narrow=13,
        flex=20,
        sort=lambda p: (p.source, p.target),
    ),
    Column(
        "outcome",
        "OUTCOME",
        9,
        lambda p, _: spans_of(_OUTCOMES[p.outcome]),
        sort=lambda p: list(Outcome).index(p.outcome),
    ),
    Column(
        "total",
        "TOTAL",
        8,
        lambda p, _: spans_of(units.duration(p.total_s)),
        right=True,
        sort=lambda p: p.total_s,
    ),
    Column(
        "pause",
        "PAUSE",
        7,
        lambda p, _: _ms(p.pause_ms),
        right=True,
        rank=1,
        sort=lambda p: p.pause_ms or 0,
    ),
    Column(
        "outage",
        "OUTAGE",
        7,
        lambda p, _: _ms(p.outage_ms),
        right=True,
        rank=2,
        sort=lambda p: p.outage_ms or 0,
    ),
    Column(
        "mode",
        "MODE",
        7,
        lambda p, _: spans_of((p.mode.value, Ink.DIM)),
        rank=3,
        sort=lambda p: p.mode,
    ),
    Column(
        "policy",
        "POLICY",
        11,
        lambda p, _: spans_of((p.policy, Ink.DIM)),
        rank=4,
        sort=lambda p: p.policy.lower(),
    ),
    Column(
        "sent",
        "SENT",
        7,
        lambda p, _: spans_of(units.size(p.sent_bytes)),
        right=True,
        rank=5,
        sort=lambda p: p.sent_bytes,
    ),
    Column(
        "passes",
        "PASSES",
        6,
        lambda p, _: spans_of(str(p.passes or units.DASH)),
        right=True,
        rank=10,
        sort=lambda p: p.passes,
    ),
    Column("id", "ID", 12, lambda p, _: spans_of((p.id, Ink.DIM)), rank=10, flex=24),
    Column("reason", "REASON", 30, lambda p, _: spans_of((p.reason, Ink.DIM)), rank=11, flex=60),
)
"""In the order drawn."""
SORTS: tuple[Column[Past], ...] = tuple(column for column in COLUMNS if column.sort)
