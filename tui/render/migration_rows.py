"""Migrations, running and ended, as table rows."""

from backend.model import Word
from tui.render import units
from tui.render.ink import Ink, Span, Spans, spans_of
from tui.render.migration_lines import MigrationView, word_of, word_span
from tui.render.table import Column

LEAST_BAR = 3


def _vm(view: MigrationView, _width: int) -> Spans:
    """Its name, and whose migration it is where it is not ours."""
    foreign: Span = (" foreign" if view.migration.foreign else "", Ink.DIM)
    return spans_of((view.migration.vm, Ink.BOLD), foreign)


def _way(view: MigrationView, _width: int) -> Spans:
    return spans_of(f"{view.migration.source} ⇢ {view.migration.target}")


def _word(view: MigrationView, _width: int) -> Spans:
    return spans_of(word_span(view.migration))


def _progress(view: MigrationView, width: int) -> Spans:
    if not view.migration.running or word_of(view.migration) is Word.WILL_NOT_CONVERGE:
        return spans_of((units.DASH, Ink.DIM))
    done = f"{int(view.progress * 100):>3}%"
    if width < LEAST_BAR + 1 + len(done):
        return spans_of(done)
    full, empty = units.bar(view.progress, width - 1 - len(done))
    return spans_of((full, Ink.MOVE), (empty, Ink.DIM), f" {done}")


def _sent(view: MigrationView, _width: int) -> Spans:
    verdict, sample = view.migration.verdict, view.migration.sample
    value = verdict.sent_bytes if verdict else sample.sent_bytes if sample else None
    return spans_of(units.size(value))


def _rates(view: MigrationView, _width: int) -> Spans:
    sample = view.migration.sample
    if sample is None or not view.migration.running:
        return spans_of((units.DASH, Ink.DIM))
    dirty, sent = units.megabytes(sample.dirty_bytes_s), units.megabytes(sample.rate_bytes_s)
    return spans_of(f"{dirty} / {sent} MB/s")


def _pause(view: MigrationView, _width: int) -> Spans:
    verdict = view.migration.verdict
    return spans_of(units.milliseconds(verdict.pause_ms if verdict else None))


COLUMNS: tuple[Column[MigrationView], ...] = (
    Column("vm", "VM", 15, _vm, flex=15),
    Column("way", "FROM ⇢ TO", 15, _way, narrow=13, flex=20),
    Column("word", "STATE", 19, _word),
    Column("progress", "DONE", 14, _progress, narrow=4),
    Column("passes", "PASS", 4, lambda v, _: spans_of(str(v.passes or "–")), rank=2, right=True),
    Column("sent", "SENT", 7, _sent, rank=3, right=True),
    Column("rates", "WRITTEN/SENT", 18, _rates, rank=4),
    Column("time", "TIME", 8, lambda v, _: spans_of(units.duration(v.elapsed_s)), right=True),
    Column("pause", "PAUSE", 7, _pause, rank=1, right=True),
    Column(
        "started",
        "STARTED",
        8,
        lambda v, _: spans_of((units.clock(v.migration.started), Ink.DIM)),
        rank=5,
    ),
    Column("id", "ID", 12, lambda v, _: spans_of((v.migration.id, Ink.DIM)), rank=6, flex=24),
)
"""In the order drawn."""
