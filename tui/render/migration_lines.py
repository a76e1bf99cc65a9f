"""A migration's words: its title, the big line, the figures and the decisions."""

from collections.abc import Callable
from dataclasses import dataclass

from backend.model import Decision, Migration, Outcome, Sample, Word
from tui.render import units
from tui.render.headline import spread
from tui.render.ink import Ink, Line, Span, Spans, Under, line, spans_of, wrap

_WORDS = {
    Word.STARTING: ("⇢", Ink.MOVE),
    Word.COPYING_DISK: ("⇢", Ink.MOVE),
    Word.CONVERGING: ("⇢", Ink.MOVE),
    Word.WILL_NOT_CONVERGE: ("!", Ink.WARN),
    Word.SWITCHING_OVER: ("⇢", Ink.MOVE),
    Word.MOVED: ("✓", Ink.OK),
    Word.STAYED: ("○", Ink.WARN),
    Word.NEEDS_YOU: ("✕", Ink.BAD),
}


WIDE = 100
OfMigration = Callable[[Migration], Line]
OfView = Callable[["MigrationView", int], list[Line]]


@dataclass(frozen=True, slots=True)
class MigrationView:
    """A migration and what its screen needs besides."""

    migration: Migration
    now: float
    samples: tuple[Sample, ...] = ()
    progress: float = 0.0
    pass_progress: float = 0.0

    @property
    def elapsed_s(self) -> float:
        """Since libvirt's migrate call, or the confirm before it; the total once ended."""
        if self.migration.verdict:
            return self.migration.verdict.total_s
        return self.now - (self.migration.called_at or self.migration.started)

    @property
    def passes(self) -> int:
        """The pass it is in, or how many there were."""
        if self.migration.verdict:
            return self.migration.verdict.passes
        return self.migration.sample.pass_number if self.migration.sample else 0


def word_of(migration: Migration) -> Word:
    """The big line's word; a verdict overrules every outlook."""
    if migration.verdict is not None:
        ends = {Outcome.MOVED: Word.MOVED, Outcome.STAYED: Word.STAYED}
        return ends.get(migration.verdict.outcome, Word.NEEDS_YOU)
    return migration.outlook.word if migration.outlook else Word.STARTING


def word_span(migration: Migration) -> Span:
    """The word with its glyph and state."""
    word = word_of(migration)
    glyph, ink = _WORDS[word]
    return (f"{glyph} {word.value}", ink)


def title(view: MigrationView, width: int) -> Line:
    """`db-1  kvm-a ⇢ kvm-b    live · balanced · encrypted      pass 4   38 s`."""
    m = view.migration
    guard: Span = ("encrypted", Ink.TEXT) if m.encrypted else ("! plaintext", Ink.BAD)
    left = spans_of(
        (f" {m.vm}", Ink.HEAD),
        f"  {m.source} ⇢ {m.target}  ",
        (f"{m.mode} · {m.policy.name} · ", Ink.DIM),
        guard,
    )
    passes = f"pass {view.passes}  " if view.passes else ""
    return spread(left, spans_of(f"{passes}{units.duration(view.elapsed_s)}"), width)


def big_lines(view: MigrationView, width: int) -> list[Line]:
    """The word with its number, then the reason: two lines, three where they are short."""
    word = word_span(view.migration)
    head, more = _sentences(view.migration)
    first = wrap(spans_of((" ", Ink.TEXT), word, "  ", (head, Ink.BOLD)), width, indent=3)
    rest = wrap(spans_of((f"   {more}", Ink.TEXT)), width, indent=3) if more else []
    count = 2 if width >= WIDE else 3
    rows = (first + rest + [()] * count)[:count]
    return [Line(row, Under.PLAIN if index else Under.BIG) for index, row in enumerate(rows)]


def _sentences(m: Migration) -> tuple[str, str]:
    if m.verdict is not None:
        pause = units.milliseconds(m.verdict.pause_ms)
        took = f"in {units.number(m.verdict.total_s)} s"
        if m.verdict.outcome is Outcome.MOVED:
            return f"to {m.target} {took}, pause {pause}", m.verdict.reason
        return m.verdict.reason, f"Ended after {units.number(m.verdict.total_s)} s."
    if m.abort_asked:
        return f"abort asked: {m.vm} stays on {m.source}", "Waiting for both hosts to let go."
    if m.outlook is None and m.sample is None:
        return f"{m.source} and {m.target} are being prepared", ""
    if m.outlook is None:
        return "the first pass is on its way", "What the VM writes meanwhile shows at its end."
    return m.outlook.reason, _race(m)


def _race(m: Migration) -> str:
    """The two rates that decide, from the newest sample."""
    if m.sample is None or m.sample.dirty_bytes_s is None:
        return ""
    written, sent = m.sample.dirty_bytes_s, m.sample.rate_bytes_s
    return f"{units.megabytes(written)} MB/s written, {units.megabytes(sent)} MB/s sent"


def figures(view: MigrationView, width: int) -> list[Line]:
    """Sent, this pass, throttle, limits; wrapped when narrow."""
    m, sample = view.migration, view.migration.sample
    if sample is None:
        return [line((" no figures yet", Ink.DIM))]
    expected = m.outlook.expected_sent_bytes if m.outlook else None
    full, empty = units.bar(view.pass_progress, 6)
    parts: list[Span | str] = [
        f" sent {units.size(sample.sent_bytes)}",
        f" of ~{units.size(expected)}" if expected else "",
        f" · pass {sample.pass_number} ",
        (full, Ink.MOVE),
        (empty, Ink.DIM),
        f" · throttle {units.percent(sample.throttle_percent or None)}",
        f" · pause ≤ {m.pause_limit_ms or m.policy.pause_ms} ms",
        f" · bandwidth {'unlimited' if not m.bandwidth_bytes_s else _limit(m)}",
    ]
    return [Line(row) for row in wrap(spans_of(*parts), width, indent=1)]


def _limit(m: Migration) -> str:
    return f"≤ {units.rate(m.bandwidth_bytes_s)}"


def decision_lines(decisions: tuple[Decision, ...], width: int) -> list[Line]:
    """The log, oldest first, long reasons wrapped."""
    lines: list[Line] = []
    for decision in decisions:
        spans: Spans = spans_of(
            (f" {units.clock(decision.at)}", Ink.DIM),
            (f"  {decision.reason}", Ink.TEXT),
            (" (operator)" if decision.by == "operator" else "", Ink.MOVE),
        )
        lines += [Line(row) for row in wrap(spans, width, indent=11)]
    return lines
