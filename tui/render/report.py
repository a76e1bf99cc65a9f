"""The report after the end: what it took, who owns the VM now, what is left behind."""

from backend.model import Outcome, Sample, Verdict
from tui.render import units
from tui.render.ink import Ink, Line, Span, Spans, fit, spans_of, wrap
from tui.render.migration_lines import MigrationView

PAGE = 4096
LABEL = 11


def least_bytes(samples: tuple[Sample, ...]) -> int | None:
    """The least any migration could have sent: each page that is not zero once, and the disk."""
    first_pass = [sample for sample in samples if sample.pass_number <= 1]
    if not first_pass:
        return None
    last = first_pass[-1]
    memory = max(last.total_bytes - last.pages_dup * PAGE, 0)
    return min(memory + samples[-1].disk_total_bytes, samples[-1].sent_bytes)


def report_lines(view: MigrationView, width: int) -> list[Line]:
    """Two columns of figures, then the sentences."""
    verdict = view.migration.verdict
    if verdict is None:
        return []
    cells = [_cell(label, value) for label, value in _figures(view, verdict)]
    lines = _in_columns(cells, width)
    lines += _sentence("owner", _owner(verdict), width)
    if verdict.leftovers:
        for index, leftover in enumerate(verdict.leftovers):
            lines += _sentence("" if index else "leftovers", ((leftover, Ink.WARN),), width)
    else:
        lines += _sentence("leftovers", (("none", Ink.OK),), width)
    return lines


def _figures(view: MigrationView, verdict: Verdict) -> list[tuple[str, Spans]]:
    m = view.migration
    allowed = m.pause_limit_ms or m.policy.pause_ms
    outage = units.milliseconds(verdict.outage_ms)
    if verdict.outage_ms is None:
        outage += " not measured"
    return [
        ("total", spans_of(f"{verdict.total_s:.1f} s, {verdict.wall_s:.1f} s from the confirm")),
        ("sent", _sent(view, verdict)),
        ("pause", _pause(verdict, allowed)),
        ("passes", _passes(verdict, sum(d.action != "note" for d in m.decisions))),
        ("outage", spans_of(outage)),
        ("link", _guard(verdict)),
    ]


def _passes(verdict: Verdict, decisions: int) -> Spans:
    return spans_of(f"{verdict.passes}, {decisions} decision{'s' * (decisions != 1)}")


def _pause(verdict: Verdict, allowed: int) -> Spans:
    if verdict.pause_ms is None:
        return spans_of("none" if verdict.outcome is Outcome.STAYED else units.DASH)
    ink = Ink.OK if verdict.pause_ms <= allowed else Ink.WARN
    return spans_of((units.milliseconds(verdict.pause_ms), ink), f" of {allowed} ms allowed")


def _sent(view: MigrationView, verdict: Verdict) -> Spans:
    least = least_bytes(view.samples)
    text = units.size(verdict.sent_bytes)
    if not least or verdict.outcome is not Outcome.MOVED:
        return spans_of(text)
    over = max(verdict.sent_bytes / least - 1, 0.0)
    return spans_of(f"{text}, least possible {units.size(least)} (+{over:.0%})")


def _guard(verdict: Verdict) -> Spans:
    encrypted: Span = ("encrypted", Ink.OK) if verdict.encrypted else ("! plaintext", Ink.BAD)
    known: Span = (
        (", both ends authenticated", Ink.TEXT)
        if verdict.authenticated
        else (", ! ends not authenticated", Ink.BAD)
    )
    return spans_of(encrypted, known)


def _owner(verdict: Verdict) -> Spans:
    if verdict.owner:
        return spans_of((verdict.owner, Ink.BOLD), ", as seen from both ends")
    return spans_of((f"not known: {verdict.reason}", Ink.BAD))


def _cell(label: str, value: Spans) -> Spans:
    return (*fit(spans_of((f" {label}", Ink.DIM)), LABEL), *value)


def _in_columns(cells: list[Spans], width: int) -> list[Line]:
    if width < 100:
        return [Line(fit(cell, width)) for cell in cells]
    half = width // 2
    pairs = zip(cells[::2], cells[1::2], strict=True)
    return [Line((*fit(left, half), *fit(right, width - half))) for left, right in pairs]


def _sentence(label: str, value: Spans, width: int) -> list[Line]:
    return [Line(row) for row in wrap(_cell(label, value), width, indent=LABEL)]
