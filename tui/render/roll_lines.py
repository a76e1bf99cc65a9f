"""A roll in lines: what goes on or stopped it, what to press, what comes, what was decided."""

from collections.abc import Sequence

from backend.model import Roll, RollHost, RollState, RollStep
from tui.render import evacuation_words, headline, roll_view, units
from tui.render import roll_words as words
from tui.render.evacuation_rows import note_lines
from tui.render.ink import Ink, Line, Span, Spans, Under, cut, line, spans_of, width_of, wrap
from tui.render.roll_view import RollView

HOW = (
    "A roll maintains several hosts, one after the other: each is emptied, a command of yours runs"
    " there, and its VMs come home before the next one begins. It is begun on the command line:"
)
COMMAND = "virt-ferry roll HOST… --hook COMMAND"
_BIG: dict[RollStep, str] = {
    RollStep.WAITING: "BEGINNING",
    RollStep.EMPTYING: "EMPTYING",
    RollStep.HOOK: "HOOK RUNS",
    RollStep.BACK: "COMING BACK",
    RollStep.RETURNING: "RETURNING",
}
_STEPS = (
    (RollStep.EMPTYING, "empty"),
    (RollStep.HOOK, "hook"),
    (RollStep.BACK, "back"),
    (RollStep.RETURNING, "VMs home"),
)
_STATES: dict[RollState, Span] = {
    RollState.PLANNED: ("  planned", Ink.DIM),
    RollState.RUNNING: ("  ⇢ running", Ink.MOVE),
    RollState.PAUSED: ("  ○ PAUSED", Ink.WARN),
    RollState.STOPPED: ("  ✕ STOPPED", Ink.BAD),
    RollState.INTERRUPTED: ("  ✕ INTERRUPTED: its engine ended", Ink.BAD),
    RollState.ENDED: ("  ended", Ink.DIM),
}


def title(roll: Roll, place: str) -> tuple[Span | str, ...]:
    """`ROLL kvm-a, kvm-b  ⇢ running`; `place`: which of several."""
    span = _STATES[roll.state]
    if roll.aborted and roll.state.open:
        span = ("  ○ TO BE ENDED", Ink.WARN)
    return (f"ROLL {listed(roll.wish.hosts)}", span, (place, Ink.DIM))


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first of them, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


# -- what goes on ------------------------------------------------------------------------------


def big(view: RollView) -> tuple[Span, str]:
    """A word, and what it is about: the one line to read."""
    roll, host = view.roll, view.roll.current
    if host is None or roll.state is RollState.ENDED:
        word: Span = ("DONE", Ink.OK) if host is None else ("ENDED EARLY", Ink.WARN)
        return word, words.ended(roll)
    if roll.trouble:
        return _stands(view)
    if view.your_turn:
        since = _for(host.hook_began, view.now)
        about = f"{host.host} is empty, the roll waits for your work{since}"
        return ("YOUR TURN", Ink.WARN), about
    if roll.state is RollState.RUNNING and not roll.aborted:
        return (_BIG[host.step], Ink.MOVE), f"{host.host}{_step_words(view, host)}"
    word = ("TO BE ENDED" if roll.aborted else "PAUSED", Ink.WARN)
    doing = (roll_view.DOING if view.hook_runs else roll_view.NAMES)[host.step]
    said = f"nothing new is begun; {doing}: {host.host}{_step_words(view, host)}"
    return word, said


def _stands(view: RollView) -> tuple[Span, str]:
    roll = view.roll
    word = "NEEDS YOU" if roll.needs_you else roll.state.upper()
    at = _stopped_at(roll)
    since = f"at {units.clock(at)}{_ago(at, view.now)}: " if at is not None else ""
    return (word, Ink.BAD), f"{since}{words.what_is_so(roll)}"


def _stopped_at(roll: Roll) -> float | None:
    """Its last note says that it stopped; an engine that died said nothing."""
    return roll.notes[-1].at if roll.notes and roll.state is RollState.STOPPED else None


def _for(began: float | None, now: float) -> str:
    return f" for {units.duration(now - began)}" if began is not None else ""


def _ago(at: float, now: float) -> str:
    return f", {units.duration(now - at)} ago"


def _step_words(view: RollView, host: RollHost) -> str:
    wish, run = view.roll.wish, view.run
    match host.step:
        case RollStep.EMPTYING | RollStep.RETURNING:
            how_far = evacuation_words.whole(run, view.now) if run else "it is being planned"
            return f"{_for(host.began, view.now)}: {how_far}"
        case RollStep.HOOK if view.hook_runs:
            return f"{_for(host.hook_began, view.now)}{_limit(wish.hook_within_s)}"
        case RollStep.HOOK:
            return ": the hook has ended" if host.hook else ": it is empty"
        case RollStep.BACK:
            seen = view.fleet.host(host.host)
            why = f". Now: {seen.reason}" if seen is not None and seen.reason else ""
            return f"{_for(host.began, view.now)}{_limit(wish.back_within_s)}{why}"
    return ""


def _limit(limit_s: float) -> str:
    return f"; after {units.duration(limit_s)} the roll stops"


def big_rows(view: RollView, width: int) -> list[Spans]:
    """The big line, wrapped."""
    word, said = big(view)
    return wrap(spans_of(" ", word, "  ", said), max(width - 1, 1), 3)


def now_lines(
    view: RollView, keys: Sequence[Span | str], width: int, most: int, *, brief: bool = False
) -> list[Line]:
    """All above the table, of a long reason `most` rows; `brief`: what changes only."""
    lines = [Line(row, Under.BIG) for row in shortened(big_rows(view, width), most, width)]
    if keys:
        lines += [Line(row) for row in wrap(spans_of(" ", *keys), max(width - 1, 1), 1)]
    if view.roll.state.open:
        lines.append(_steps_line(view, width))
    return lines if brief else [*lines, _facts(view, width), _hook_line(view, width)]


def shortened(rows: Sequence[Spans], most: int, width: int) -> list[Spans]:
    """The first `most`, the last of them with an ellipsis where something is lost."""
    if len(rows) <= most:
        return list(rows)
    last = (*cut(rows[most - 1], max(width - 3, 1)), *spans_of((" …", Ink.DIM)))
    return [*rows[: most - 1], last]


def _steps_line(view: RollView, width: int) -> Line:
    """`kvm-b  empty ✓ ── hook ● ── back ○ ── VMs home ○   then kvm-c`."""
    host = view.roll.current
    if host is None:
        return Line()
    steps: list[Span | str] = []
    for step, name in _STEPS:
        glyph, ink = _mark(view, host, step)
        own = name if step is not RollStep.HOOK or view.roll.wish.hook else "your work"
        steps += [(" ── ", Ink.DIM)] * bool(steps)
        steps += [(own, Ink.DIM if ink is Ink.DIM else Ink.TEXT), (f" {glyph}", ink)]
    then = listed(view.following, 3)
    after = spans_of((f"   then {then}" if then else "   the last host", Ink.DIM))
    whole = spans_of(*steps)
    head = cut(spans_of(" ", (host.host, Ink.BOLD)), max(width - width_of(whole) - 3, 8))
    return Line(cut((*head, *spans_of("  "), *whole, *after), width - 1))


def _mark(view: RollView, host: RollHost, step: RollStep) -> Span:
    order = list(RollStep)
    if order.index(step) < order.index(host.step):
        return ("✓", Ink.OK)
    if step is not host.step:
        return ("○", Ink.DIM)
    if view.roll.trouble:
        return ("✕", Ink.BAD)
    return ("●", Ink.MOVE if view.roll.state is RollState.RUNNING else Ink.WARN)


def _facts(view: RollView, width: int) -> Line:
    roll = view.roll
    parts = [f"{view.done} of {len(roll.hosts)} done"]
    if roll.started is not None:
        begun = f"begun {units.day_clock(roll.started)}"
        parts.append(begun if roll.ended else f"{begun}{_ago(roll.started, view.now)}")
    parts += ["each is to boot anew"] * roll.wish.reboots
    return Line(cut(spans_of(f" {' · '.join(parts)}"), width - 1))


def _hook_line(view: RollView, width: int) -> Line:
    hook = view.roll.wish.hook
    none = "none: the roll waits on each host until you say that your work is done"
    said: Span = (hook, Ink.TEXT) if hook else (none, Ink.DIM)
    return Line(cut(spans_of((" hook  ", Ink.DIM), said), width - 1))


def empty_lines(width: int) -> list[Line]:
    """Where no roll is known: what one is, and how it begins."""
    rows = wrap(spans_of(f" {HOW}"), max(width - 1, 1), 1)
    return [*map(Line, rows), line("   ", (COMMAND, Ink.KEY)), Line()]


# -- below the table -------------------------------------------------------------------------------


def log_lines(view: RollView, width: int, most: int) -> list[Line]:
    """What was decided and done, oldest first; then what `most` rows above could not hold."""
    lines = note_lines(view.roll.notes, width)
    if view.roll.trouble and len(big_rows(view, width)) > most:
        rows = wrap(spans_of(" ", (view.roll.trouble, Ink.WARN)), max(width - 1, 1), 1)
        lines += map(Line, rows)
    return lines


# -- on the fleet screen -----------------------------------------------------------------------


def fleet_line(view: RollView, width: int) -> Line:
    """`ROLL HOOK RUNS  kvm-b: … ─ 1 of 3 hosts done ─ r shows it`."""
    word, said = big(view)
    host = view.roll.current
    if view.roll.trouble and host is not None:
        at = _stopped_at(view.roll)
        ago = _ago(at, view.now) if at is not None else ""
        said = f"{host.host}: {roll_view.NAMES[host.step]}{ago}"
    count = f"{view.done} of {units.counted(len(view.roll.hosts), 'host')} done"
    tail = spans_of((f" ─ {count} ─ ", Ink.DIM), ("r shows it", Ink.KEY))
    head = spans_of("ROLL  ", word, "  ", said)
    return headline.rule((*cut(head, max(width - width_of(tail) - 4, 8)), *tail), width)
