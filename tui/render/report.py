"""The report after the end: what it took, who owns the VM now, what is left behind."""

from dataclasses import dataclass

from backend.model import Band, Forecast, Migration, Mode, Outcome, Sample, Verdict
from tui.render import units
from tui.render.forecasts import inside, record_text
from tui.render.ink import Ink, Line, Span, Spans, fit, spans_of, wrap
from tui.render.migration_lines import (
    MigrationView,
    big_lines,
    decision_lines,
    no_outage,
    says_more,
    title,
)

PAGE = 4096
LABEL = 11
FORECAST, HAPPENED = "FORECAST", "WHAT HAPPENED"
NOTHING = Forecast(True)


def least_bytes(samples: tuple[Sample, ...]) -> int | None:
    """The least any migration could have sent: each page that is not zero once, and the disk."""
    first_pass = [sample for sample in samples if sample.pass_number <= 1]
    if not first_pass:
        return None
    last = first_pass[-1]
    memory = max(last.total_bytes - last.pages_dup * PAGE, 0)
    disks = max(sample.disk_total_bytes for sample in samples)
    return min(memory + disks, samples[-1].sent_bytes)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report: what was forecast, where it was, and what happened."""

    label: str
    value: Spans
    forecast: str = ""


def report_rows(view: MigrationView) -> list[Row]:
    """Everything `report_lines` says, as rows; none while there is no verdict."""
    verdict = view.migration.verdict
    if verdict is None:
        return []
    rows = [Row("owner", _owner(verdict))]
    ink = Ink.WARN if verdict.leftovers else Ink.OK
    rows += [Row("leftovers", spans_of((one, ink))) for one in verdict.leftovers or ("none",)]
    rows += [Row(label, value, foreseen) for label, foreseen, value in _figures(view, verdict)]
    disks = (*verdict.disks, *verdict.kept)
    rows += [Row("disks", spans_of((said, _disk_ink(said)))) for said in disks]
    rows += [Row("network", spans_of(verdict.network))] * bool(verdict.network)
    if verdict.forecast is not None:
        basis = verdict.forecast.basis
        rows += [Row("rested on", spans_of(basis))] * bool(basis)
        rows.append(Row("so far", spans_of(record_text(verdict.record))))
    return rows


def report_lines(view: MigrationView, width: int) -> list[Line]:
    """Who owns it and what is left to do; then forecast and outcome side by side."""
    verdict = view.migration.verdict
    if verdict is None:
        return []
    lines: list[Line] = []
    if verdict.owner and says_more(view, width):
        lines += _sentence("reason", ((verdict.reason, Ink.TEXT),), width)
    lines += _sentence("owner", _owner(verdict), width)
    for index, leftover in enumerate(verdict.leftovers or ("none",)):
        ink = Ink.WARN if verdict.leftovers else Ink.OK
        lines += _sentence("" if index else "leftovers", ((leftover, ink),), width)
    lines += _side_by_side(_figures(view, verdict), verdict.forecast is not None, width)
    for index, said in enumerate((*verdict.disks, *verdict.kept)):
        lines += _sentence("" if index else "disks", ((said, _disk_ink(said)),), width)
    if verdict.network:
        lines += _sentence("network", ((verdict.network, Ink.TEXT),), width)
    if verdict.forecast is not None:
        basis = verdict.forecast.basis
        lines += _sentence("rested on", ((basis, Ink.DIM),), width) if basis else []
        lines += _sentence("so far", ((record_text(verdict.record), Ink.DIM),), width)
    return lines


def report_text(view: MigrationView, width: int) -> list[str]:
    """The whole report for a terminal without a console: what it was, how it went, why."""
    m = view.migration
    head = [title(view, width), Line(), *big_lines(view, width), Line()]
    begun = _sentence("confirmed", spans_of(units.stamp(m.started), f"  id {m.id}"), width)
    lines = [*head, *begun, *report_lines(view, width)]
    if m.decisions:
        lines += [Line(), *decision_lines(m.decisions, width)]
    return [of.text.rstrip() for of in lines]


def _disk_ink(said: str) -> Ink:
    if "DIFFER" in said or "FAILS" in said:
        return Ink.BAD
    return Ink.BOLD if said.startswith("kept: ") else Ink.TEXT


def _figures(view: MigrationView, verdict: Verdict) -> list[tuple[str, str, Spans]]:
    """Label, forecast, what happened."""
    m, expected = view.migration, verdict.forecast or NOTHING
    # Steering keeps the limit below the budget; an operator may have gone above it.
    allowed = max(m.policy.pause_ms, m.pause_limit_ms or 0)
    moved = verdict.outcome is Outcome.MOVED
    judged = [
        _judged(expected.total_s if moved else None, verdict.total_s),
        _judged(expected.pause_ms if moved else None, verdict.pause_ms),
    ]
    total = f"{verdict.total_s:.1f} s, {verdict.wall_s:.1f} s from the confirm"
    slowed = f"{verdict.throttle_percent} %" if verdict.throttle_percent else "none"
    foreseen = f"{expected.throttle_percent} %" if expected.throttle_percent else "none"
    if not view.migration.mode.copies_memory:
        return _of_disks_alone(view, verdict, total)
    rows = [
        ("total", units.band_s(expected.total_s), spans_of(total, *judged[0])),
        ("pause", units.band_ms(expected.pause_ms), (*_pause(verdict, allowed), *judged[1])),
        ("outage", "", _outage(m, verdict)),
        ("passes", str(expected.passes or units.DASH), _passes(m, verdict)),
        ("sent", units.size(expected.sent_bytes), _sent(view, verdict)),
        ("throttle", foreseen, spans_of(slowed)),
        ("link", "", _guard(verdict)),
    ]
    if verdict.stall_ms is not None:
        stall = f"{units.milliseconds(verdict.stall_ms)} of waiting for pages, after post-copy"
        rows.insert(3, ("stall", "", spans_of(stall)))
    return rows


def _of_disks_alone(
    view: MigrationView, verdict: Verdict, total: str
) -> list[tuple[str, str, Spans]]:
    expected = verdict.forecast or NOTHING
    rows = [
        ("total", units.band_s(expected.total_s), spans_of(total)),
        ("copied", units.size(expected.sent_bytes), spans_of(units.size(verdict.sent_bytes))),
    ]
    if verdict.pause_ms is not None:
        rows.insert(1, ("off for", "", spans_of(units.milliseconds(verdict.pause_ms))))
    if view.migration.mode is not Mode.STORAGE:
        rows.append(("link", "", _guard(verdict)))
    return rows


def _judged(band: Band | None, value: float | None) -> tuple[Span, ...]:
    held = inside(band, value)
    if held is None:
        return ()
    return ((", inside the band", Ink.OK) if held else (", outside the band", Ink.WARN),)


def _passes(m: Migration, verdict: Verdict) -> Spans:
    decisions = sum(decision.action != "note" for decision in m.decisions)
    return spans_of(f"{verdict.passes}, {units.counted(decisions, 'decision')}")


def _outage(m: Migration, verdict: Verdict) -> Spans:
    if verdict.outage_ms is None:
        return spans_of(f"{units.DASH} {no_outage(m).removeprefix('outage ')}")
    lost = verdict.lost_probes
    said = f", {lost:,} probe{'s' * (lost != 1)} lost" if lost is not None else ""
    # The network's sentence tells how it was probed, too.
    how = "" if verdict.network else f"  {m.probe}"
    return spans_of(f"{units.milliseconds(verdict.outage_ms)}{said}", (how.rstrip(), Ink.DIM))


def _pause(verdict: Verdict, allowed: int) -> Spans:
    if verdict.pause_ms is None:
        return spans_of("none" if verdict.outcome is Outcome.STAYED else units.DASH)
    ink = Ink.OK if verdict.pause_ms <= allowed else Ink.WARN
    return spans_of((units.milliseconds(verdict.pause_ms), ink), f" of {allowed:,} ms allowed")


def _sent(view: MigrationView, verdict: Verdict) -> Spans:
    least = least_bytes(view.samples)
    text = units.size(verdict.sent_bytes)
    if not least or verdict.outcome is not Outcome.MOVED:
        return spans_of(text)
    over = max(verdict.sent_bytes / least - 1, 0.0)
    return spans_of(f"{text}, least possible {units.size(least)} (+{over:.0%})")


def _guard(verdict: Verdict) -> Spans:
    if verdict.encrypted is None:
        return spans_of(("not known: somebody else has begun it", Ink.DIM))
    encrypted: Span = ("encrypted", Ink.OK) if verdict.encrypted else ("! plaintext", Ink.BAD)
    known: Span = (
        (", both ends authenticated", Ink.TEXT)
        if verdict.authenticated
        else (", ! ends not authenticated", Ink.BAD)
    )
    return spans_of(encrypted, known)


def _owner(verdict: Verdict) -> Spans:
    if verdict.owner and verdict.mode is Mode.STORAGE:
        return spans_of((verdict.owner, Ink.BOLD), f": {verdict.reason}")
    if verdict.owner:
        return spans_of((verdict.owner, Ink.BOLD), ", as seen from both ends")
    return spans_of((f"not known: {verdict.reason}", Ink.BAD))


def _cell(label: str, value: Spans) -> Spans:
    return (*fit(spans_of((f" {label}", Ink.DIM)), LABEL), *value)


def _side_by_side(
    rows: list[tuple[str, str, Spans]], with_forecast: bool, width: int
) -> list[Line]:
    """A column for the forecast, where there was one."""
    if not with_forecast:
        return [of for label, _, value in rows for of in _sentence(label, value, width)]
    wide = max(len(FORECAST), *(len(foreseen) for _, foreseen, _ in rows)) + 2
    lines = [Line(spans_of(" " * LABEL, (f"{FORECAST:<{wide}}{HAPPENED}", Ink.HEAD)))]
    for label, foreseen, value in rows:
        cell = _cell(label, (*fit(spans_of((foreseen, Ink.DIM)), wide), *value))
        lines += [Line(row) for row in wrap(cell, width, indent=LABEL + wide)]
    return lines


def _sentence(label: str, value: Spans, width: int) -> list[Line]:
    return [Line(row) for row in wrap(_cell(label, value), width, indent=LABEL)]
