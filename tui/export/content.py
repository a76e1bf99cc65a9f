"""What a report says, whatever its form: of each VM what moved, when, how, and what is left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.model import Decision, Migration, Mode
from tui.render import charts, units
from tui.render.charts import Picture
from tui.render.disks import disk_words
from tui.render.ink import Ink, Span, Spans, spans_of
from tui.render.migration_lines import word_span
from tui.render.report import Row, report_rows
from tui.replay import Recording

_LABELS = {
    "rested on": "forecast rested on",
    "so far": "forecasts so far",
    "total": "total time",
    "owner": "owner now",
}
SUMMARY = ("VM", "From", "To", "Mode", "Outcome", "Confirmed", "Total", "Pause", "Outage", "Sent")


@dataclass(frozen=True, slots=True)
class Section:
    """One migration's part of a report."""

    heading: str
    word: Span
    sentence: str
    facts: tuple[Row, ...]
    """What was to be done."""
    outcome: tuple[Row, ...]
    """What came of it; its forecasts beside it."""
    decisions: tuple[tuple[str, str, str], ...]
    """Time of day, sentence, by whom."""
    left: Picture
    rates: Picture
    virsh: str = ""


def section(one: Recording) -> Section:
    """All that is told of one migration."""
    view = one.view(one.length_s)
    m = view.migration
    return Section(
        heading=f"{m.vm}: {_way(m)}",
        word=word_span(m),
        sentence=m.verdict.reason if m.verdict else "It has not ended yet.",
        facts=tuple(_facts(m)),
        outcome=tuple(map(_labelled, report_rows(view))),
        decisions=tuple(map(_decision, m.decisions)),
        left=charts.left_to_send(view),
        rates=charts.rates(view),
        virsh=m.virsh,
    )


def title(recordings: Sequence[Recording]) -> str:
    """Each VM once, however often it has moved."""
    return "Migration report: " + ", ".join(dict.fromkeys(one.migration.vm for one in recordings))


def summary(one: Recording) -> tuple[str, ...]:
    """Its cells under `SUMMARY`."""
    m, verdict = one.migration, one.migration.verdict
    return (
        m.vm,
        m.source,
        m.target,
        m.mode.value,
        verdict.outcome.value if verdict else "on its way",
        units.stamp(m.started),
        f"{verdict.total_s:.1f} s" if verdict else units.DASH,
        units.milliseconds(verdict.pause_ms if verdict else None),
        units.milliseconds(verdict.outage_ms if verdict else None),
        units.size(verdict.sent_bytes if verdict else None),
    )


def _way(m: Migration) -> str:
    return m.source if m.mode is Mode.STORAGE else f"{m.source} → {m.target}"


def _facts(m: Migration) -> list[Row]:
    ended = m.started + m.verdict.wall_s if m.verdict else None
    rows = [
        _row("id", m.id),
        _row("VM", f"{m.vm}, UUID {m.uuid}"),
        _row("way", _way(m)),
        _row("mode", m.mode.value),
        Row("policy", _policy(m)),
        _row("confirmed", units.stamp(m.started)),
        _row("ended", units.stamp(ended) if ended else units.DASH),
    ]
    for disk in m.moves:
        rows += [_row(f"disk {disk.target}", said) for said in disk_words(disk, m.target)]
    return rows


def _labelled(row: Row) -> Row:
    """A page has room for whole labels."""
    return replace(row, label=_LABELS.get(row.label, row.label))


def _policy(m: Migration) -> Spans:
    if m.encrypted is None:
        return spans_of("not known: somebody else has begun it")
    guard: Span = ("encrypted", Ink.OK) if m.encrypted else ("plaintext", Ink.BAD)
    return spans_of(f"{m.policy.name}, pause at most {m.policy.pause_ms:,} ms, ", guard)


def _row(label: str, text: str) -> Row:
    return Row(label, spans_of(text))


def _decision(decision: Decision) -> tuple[str, str, str]:
    return units.clock(decision.at), decision.reason, decision.by
