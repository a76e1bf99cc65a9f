"""An evacuation's moves as table rows: reviewed before the start, on a timeline after it."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.model import Evacuation, EvacuationMove, EvacuationNote, MoveState
from tui.render import evacuation_words as words
from tui.render import units
from tui.render.ink import Ink, Line, Span, Spans, fit, spans_of, wrap
from tui.render.table import Column, Note

LABEL = 12
_ENDED: dict[MoveState, Ink] = {MoveState.MOVED: Ink.OK, MoveState.STAYED: Ink.WARN}


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One move with what its cells need besides."""

    move: EvacuationMove
    run: Evacuation
    now: float
    rate_bytes_s: float | None = None
    """What its migration sends now."""
    readied: bool = False
    """It was begun and has sent nothing yet: it is made ready, or waits for its link."""

    @property
    def goes(self) -> bool:
        """It is to move, moves, or has moved."""
        return self.move.state not in (MoveState.CANNOT, MoveState.LEFT_OUT)

    def note(self) -> Note | None:
        """On the timeline of one that does not go: why."""
        why = spans_of((self.move.reason, Ink.DIM))
        return None if self.goes else Note("line", "pause", why)


def _name(row: MoveRow, _width: int) -> Spans:
    return spans_of((row.move.vm, Ink.BOLD))


def _to(row: MoveRow, _width: int) -> Spans:
    if row.move.target is None or not row.goes:
        return spans_of((units.DASH, Ink.DIM))
    return spans_of(row.move.target)


def _way(row: MoveRow, _width: int) -> Spans:
    if row.goes:
        return spans_of(words.way_word(row.move))
    return spans_of(words.state_span(row.move))


def _when(row: MoveRow, _width: int) -> Spans:
    begins_s, ends_s = row.move.begins_s, row.move.ends_s
    if begins_s is None or ends_s is None or not (row.goes and words.foreseen(row.move)):
        return spans_of((units.DASH, Ink.DIM))
    return spans_of(f"{begins_s:.0f}–{units.duration(ends_s)}")


def _pause(row: MoveRow, _width: int) -> Spans:
    return spans_of(words.pause_words(row.move) if row.goes else (units.DASH, Ink.DIM))


def _why(row: MoveRow, _width: int) -> Spans:
    return spans_of((row.move.reason, Ink.DIM if row.goes else Ink.TEXT))


REVIEW: tuple[Column[MoveRow], ...] = (
    Column("vm", "VM", 10, _name, narrow=8, flex=6),
    Column("to", "TO", 8, _to, flex=4),
    Column("how", "HOW", 14, _way, narrow=11),
    Column("when", "WHEN", 11, _when, narrow=8),
    Column("pause", "PAUSE", 11, _pause, narrow=9),
    Column("why", "WHY", 30, _why, narrow=14, rank=1, flex=80),
)
"""Before the start."""


# -- the timeline ------------------------------------------------------------------------------


def _span_of(row: MoveRow) -> tuple[float, float] | None:
    """(begin, end) in seconds from the run's start, as done or as forecast."""
    move, started = row.move, row.run.started
    if started is None:
        return None
    begin = move.began - started if move.began is not None else move.begins_s
    end = move.ended - started if move.ended is not None else move.ends_s
    if begin is None or end is None or not row.goes:
        return None
    if move.state is MoveState.MOVING:
        end = max(end, row.now - started)
    return begin, max(end, begin)


def whole_s(run: Evacuation, now: float) -> float:
    """What the timeline spans."""
    started = run.started or now
    if run.ended is not None:
        return max(run.ended - started, 1.0)
    forecast = run.total_s.mid if run.total_s else 0.0
    return max(forecast, now - started, 1.0)


def bar(row: MoveRow, width: int) -> Spans:
    """Where on the run's time this move lies: solid what has been, light what is to come."""
    span = _span_of(row)
    if span is None or row.run.started is None:
        return ()
    scale = width / whole_s(row.run, row.now)
    at = min(max(round((row.now - row.run.started) * scale), 0), width)
    first = min(max(int(span[0] * scale), 0), width - 1)
    last = min(max(round(span[1] * scale), first + 1), width)
    past = last if row.move.state.final else min(max(at, first), last)
    ink = _ENDED.get(row.move.state, Ink.MOVE if not row.move.state.final else Ink.BAD)
    cells: tuple[Span, ...] = (
        (" " * first, Ink.TEXT),
        ("█" * (past - first), ink),
        ("░" * (last - past), Ink.DIM),
    )
    return spans_of(*cells)


def _state(row: MoveRow, _width: int) -> Spans:
    if row.readied and not row.move.stop:
        return spans_of(("⇢ gets ready", Ink.DIM))
    return spans_of(words.state_span(row.move))


def _ways(row: MoveRow, _width: int) -> Spans:
    if row.move.target is None:
        return spans_of((row.move.source, Ink.DIM))
    return spans_of(f"{row.move.source} ⇢ {row.move.target}")


def _rate(row: MoveRow, _width: int) -> Spans:
    if row.move.state is not MoveState.MOVING or row.rate_bytes_s is None:
        return spans_of((units.DASH, Ink.DIM))
    return spans_of(units.brief_rate(row.rate_bytes_s))


def _took(row: MoveRow, _width: int) -> Spans:
    move = row.move
    if move.began is None:
        return spans_of((units.DASH, Ink.DIM))
    return spans_of(units.duration((move.ended or row.now) - move.began))


TIMELINE: tuple[Column[MoveRow], ...] = (
    Column("vm", "VM", 10, _name, narrow=8, flex=6),
    Column("way", "FROM ⇢ TO", 15, _ways, narrow=13, flex=4),
    Column("state", "STATE", 12, _state),
    Column("rate", "SENDS", 9, _rate, rank=2, right=True),
    Column("line", "TIMELINE", 20, bar, narrow=12, flex=120),
    Column("took", "TIME", 7, _took, narrow=6, right=True),
    Column("pause", "PAUSE", 10, _pause, rank=1, right=True),
)
"""From the start on."""


def whole_line(run: Evacuation, now: float, width: int) -> list[Line]:
    """How many, how long, until when, the worst pause."""
    ink = Ink.WARN if words.staying(run) and not run.state.open else Ink.BOLD
    return [Line(part) for part in wrap(spans_of((f" {words.whole(run, now)}", ink)), width, 3)]


def detail_lines(move: EvacuationMove, width: int) -> list[Line]:
    """One VM: why there, and what every host said."""
    rows: list[tuple[str, str, Ink]] = [("why", move.reason, Ink.TEXT)]
    for one in move.candidates:
        label = one.target if one.mode == move.mode else f"{one.target} {one.mode}"
        if one.refused:
            rows.append((f"✕ {label}", one.refused, Ink.DIM))
            continue
        chosen = one == move.candidate
        said = [one.summary]
        if one.forecast is not None:
            known = one.forecast.total_s is not None
            said.append(units.band_s(one.forecast.total_s) if known else "time not known")
        if one.disks:
            names = ", ".join(f"{disk.target} as {disk.volume}" for disk in one.disks)
            said.append(f"a file of its name is there: {names}")
        rows.append((f"{'▸' if chosen else '✓'} {label}", ", ".join(said), Ink.TEXT))
        rows += [("!", warning, Ink.WARN) for warning in one.warnings if chosen]
    rows += [("", said, Ink.DIM) for said in move.kept]
    rows += [("left over", said, Ink.WARN) for said in move.leftovers]
    return [line for label, said, ink in rows for line in _labelled(label, said, ink, width)]


def _labelled(label: str, said: str, ink: Ink, width: int) -> list[Line]:
    head = fit(spans_of(" ", (label, Ink.BOLD)), max(LABEL, len(label) + 2))
    parts = wrap((*head, *spans_of((said, ink))), max(width - 1, 1), indent=LABEL)
    return [Line(part) for part in parts]


def note_lines(notes: Sequence[EvacuationNote], width: int) -> list[Line]:
    """What was decided and done, oldest first."""
    lines: list[Line] = []
    for note in notes:
        by = " (you)" if note.by == "operator" else ""
        head: Span = (f" {units.clock(note.at)}{by}  ", Ink.DIM)
        lines += [Line(p) for p in wrap(spans_of(head, note.sentence), max(width - 1, 1), 11)]
    return lines
