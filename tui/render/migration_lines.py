"""A migration's words: its title, the big line, the figures and the decisions."""

from collections.abc import Callable
from dataclasses import dataclass

from backend.model import Decision, Migration, Mode, Outcome, Phase, Sample, Word
from tui.render import units
from tui.render.headline import spread
from tui.render.ink import Ink, Line, Span, Spans, Under, cut, line, spans_of, width_of, wrap

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
    guard = guarded(m.encrypted)
    states = [span for state in _states(m) for span in (state, (" · ", Ink.DIM))]
    where = m.source if m.mode is Mode.STORAGE else f"{m.source} ⇢ {m.target}"
    way = spans_of((f" {m.vm}", Ink.HEAD), f"  {where}  ", *states)
    full = spans_of((f"{m.mode} · {m.policy.name} · ", Ink.DIM), guard)
    brief = spans_of((m.policy.name, Ink.DIM), *(() if m.encrypted else (" · ", guard)))
    passes = f"pass {view.passes}  " if view.passes else ""
    right = spans_of(f"{passes}{units.duration(view.elapsed_s)}")
    fits = width_of((*way, *full, *right)) + 2 <= width
    return spread((*way, *(full if fits else brief)), right, width)


def guarded(encrypted: bool | None) -> Span:
    """Whether it travels encrypted, where that is known."""
    if encrypted is None:
        return ("encryption not known", Ink.DIM)
    return ("encrypted", Ink.TEXT) if encrypted else ("! plaintext", Ink.BAD)


def _states(m: Migration) -> list[Span]:
    """What is special about it now."""
    if not m.running:
        return []
    states: list[Span] = [("held", Ink.WARN)] * m.hold
    states += [("post-copy", Ink.WARN)] * m.post_copy + [("suspended", Ink.WARN)] * m.suspended
    return states + [(f"at {units.clock(m.at or 0)}", Ink.BOLD)] * (m.at is not None)


def deadline_left(view: MigrationView) -> Span:
    """Until it is given up; empty where it is not, or not any more."""
    m = view.migration
    given_up = m.running and not (m.post_copy or m.hold)
    if not given_up or m.deadline_s is None or m.called_at is None:
        return ("", Ink.DIM)
    if m.phase is Phase.DISK:
        return (f"deadline {units.duration(m.deadline_s)}, from the memory on", Ink.DIM)
    begun = m.memory_at or m.called_at
    left_s = max(m.deadline_s - max(view.now - begun, 0.0), 0.0)
    return (f"deadline {units.duration(left_s)}", Ink.WARN if left_s < 30 else Ink.DIM)


def big_lines(view: MigrationView, width: int) -> list[Line]:
    """The word with its number, then the reason: two lines, three where they are short."""
    rows, count = _big_rows(view.migration, width), _big_count(width)
    if says_more(view, width):
        rows[count - 1] = cut((*rows[count - 1], (" …", Ink.TEXT)), width)
    rows = (rows + [()] * count)[:count]
    return [Line(row, Under.PLAIN if index else Under.BIG) for index, row in enumerate(rows)]


def says_more(view: MigrationView, width: int) -> bool:
    """The big lines end within a sentence; one that has no room at all is not missed."""
    count = _big_count(width)
    whole = len(_head_rows(view.migration, width)) == count
    return not whole and len(_big_rows(view.migration, width)) > count


def _big_count(width: int) -> int:
    return 2 if width >= WIDE else 3


def _head_rows(m: Migration, width: int) -> list[Spans]:
    head, _ = _sentences(m)
    return wrap(spans_of((" ", Ink.TEXT), word_span(m), "  ", (head, Ink.BOLD)), width, indent=3)


def _big_rows(m: Migration, width: int) -> list[Spans]:
    _, more = _sentences(m)
    rest = wrap(spans_of((f"   {more}", Ink.TEXT)), width, indent=3) if more else []
    return _head_rows(m, width) + rest


def _sentences(m: Migration) -> tuple[str, str]:
    if m.mode is Mode.STORAGE and (said := _of_disks(m)):
        return said
    if m.verdict is not None:
        pause = units.milliseconds(m.verdict.pause_ms)
        took = f"in {units.number(m.verdict.total_s)} s"
        if m.verdict.outcome is Outcome.MOVED:
            paused = "" if m.mode is Mode.COLD else f", pause {pause}"
            return f"to {m.target} {took}{paused}", m.verdict.reason
        return m.verdict.reason, f"Ended after {units.number(m.verdict.total_s)} s."
    if m.abort_asked:
        return f"abort asked: {m.vm} stays on {m.source}", "Waiting for both hosts to let go."
    if m.hold and m.sample is not None:
        return _held(m, m.sample), _race(m)
    if m.outlook is None and m.sample is None:
        return f"{m.source} and {m.target} are being prepared", ""
    if m.outlook is None:
        return "the first pass is on its way", "What the VM writes meanwhile shows at its end."
    return m.outlook.reason, _race(m)


def _of_disks(m: Migration) -> tuple[str, str] | None:
    """Where only disks move, the VM stays and is not paused."""
    if m.verdict is not None and m.verdict.outcome is Outcome.MOVED:
        took = units.number(m.verdict.total_s)
        paused = "" if m.idle else ", not paused"
        return f"to other pools of {m.target} in {took} s{paused}", m.verdict.reason
    if m.verdict is not None:
        return None
    if m.abort_asked:
        return "abort asked: the disks stay where they are", "Waiting for the copies to end."
    return None if m.outlook else (f"{m.target} is being prepared", "")


def _held(m: Migration, sample: Sample) -> str:
    """What a held one waits for; the outlook tells how it would go if it were not held."""
    until = f"until {units.clock(m.at)}" if m.at is not None else "until told"
    return f"held {until}, {units.size(sample.remaining_bytes)} left to send; w switches over now"


def _race(m: Migration) -> str:
    """The two rates that decide, from the newest sample."""
    if m.sample is None or m.sample.dirty_bytes_s is None:
        return ""
    written, sent = m.sample.dirty_bytes_s, m.sample.rate_bytes_s
    return f"{units.megabytes(written)} MB/s written, {units.megabytes(sent)} MB/s sent"


def figures(view: MigrationView, width: int) -> list[Line]:
    """Sent, this pass, throttle, compression, outage, limits; wrapped when narrow."""
    m, sample = view.migration, view.migration.sample
    if sample is None:
        return [line((" no figures yet", Ink.DIM))]
    bandwidth = spans_of(f"bandwidth {_limit(m) if m.bandwidth_bytes_s else 'unlimited'}")
    if not m.mode.copies_memory:
        return _flowing([spans_of(f"copied {units.size(sample.sent_bytes)}"), bandwidth], width)
    expected = m.outlook.expected_sent_bytes if m.outlook else None
    full, empty = units.bar(view.pass_progress, 6)
    throttle = sample.throttle_percent or 0
    items: list[Spans] = [
        spans_of(f"sent {units.size(sample.sent_bytes)}", _of(expected)),
        spans_of(f"pass {sample.pass_number} ", (full, Ink.MOVE), (empty, Ink.DIM))
        if sample.pass_number
        else spans_of("disks first"),
        spans_of(("throttle ", Ink.TEXT), _slowed(throttle)),
        spans_of(f"compression {'XBZRLE' if m.tuning and m.tuning.compression else units.DASH}"),
        spans_of(f"pause ≤ {_pause_ms(m):,} ms"),
        bandwidth,
        _outage(m),
    ]
    return _flowing(items, width)


def _pause_ms(m: Migration) -> int:
    """The limit in force; a hold's own is only how it is held."""
    return m.policy.pause_ms if m.hold else m.pause_limit_ms or m.policy.pause_ms


def _of(expected: int | None) -> str:
    return f" of ~{units.size(expected)}" if expected else ""


def _slowed(percent: int) -> Span:
    return (units.percent(percent), Ink.WARN) if percent else (units.DASH, Ink.TEXT)


def _outage(m: Migration) -> Spans:
    if m.outage_ms is not None:
        return spans_of(f"outage so far {m.outage_ms:,} ms")
    return spans_of((no_outage(m), Ink.DIM))


def no_outage(m: Migration) -> str:
    """Why there is no figure for it."""
    if not m.probe:
        return "outage not measured"
    return m.probe if m.probe.startswith("outage") else f"outage not measured: {m.probe}"


def _flowing(items: list[Spans], width: int) -> list[Line]:
    """Side by side with dots between; an item goes to the next row whole."""
    rows: list[Spans] = []
    for item in items:
        joined = (*rows[-1], *spans_of(" · "), *item) if rows else ()
        if rows and width_of(joined) <= width - 1:
            rows[-1] = joined
        else:
            rows.append((*spans_of(" "), *item))
    return [Line(cut(row, width)) for row in rows]


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
