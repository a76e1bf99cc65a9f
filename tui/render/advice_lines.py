"""What a rule advises, in a few calm lines: what, how long, why, and what becomes of it."""

from collections.abc import Sequence

from backend.model import Advice, RuleLevel
from tui.render import headline, units
from tui.render.ink import Ink, Line, Span, line, spans_of, wrap

_MOST = 3
"""Rows under the rule: the hosts and VMs are what the screen is for."""
_BECOMES = {
    RuleLevel.ADVISE: "a apply",
    RuleLevel.ASK: "asks: a apply",
    RuleLevel.AUTOMATIC: "`virt-ferry run` does it, a apply now",
}


def advice_lines(advice: Sequence[Advice], at: int, width: int) -> list[Line]:
    """One of them, at that place; nothing without any."""
    if not advice:
        return []
    one = advice[at % len(advice)]
    rows = wrap(spans_of(*_what(one)), max(width - 1, 20), indent=3)
    rows += wrap(spans_of((f"   {one.reason}", Ink.DIM)), max(width - 1, 20), indent=3)
    return [headline.rule(_title(one, at, len(advice)), width), *map(Line, rows[:_MOST])]


def _title(one: Advice, at: int, count: int) -> tuple[Span | str, ...]:
    parts: list[Span | str] = ["ADVICE ", (one.rule, Ink.BOLD)]
    if count > 1:
        parts += [(f" ─ {at % count + 1} of {count}, A next", Ink.DIM)]
    return (*parts, (" ─ ", Ink.DIM), (_BECOMES[one.level], Ink.KEY))


def _what(one: Advice) -> tuple[Span | str, ...]:
    took = forecast_words(one)
    return (("   ◆ ", Ink.MOVE), one.gain, (f" · {took}" if took else "", Ink.DIM))


def forecast_words(one: Advice) -> str:
    """`24–31 s, pause 60–110 ms`; of several moves the longest of each."""
    known = [move.forecast for move in one.moves if move.forecast is not None]
    times = [forecast.total_s for forecast in known if forecast.total_s is not None]
    pauses = [forecast.pause_ms for forecast in known if forecast.pause_ms is not None]
    parts = []
    if times:
        parts.append(units.band_s(max(times, key=lambda band: band.high)))
    if pauses:
        parts.append(f"pause {units.band_ms(max(pauses, key=lambda band: band.high))}")
    said = ", ".join(parts)
    return f"each at most {said}" if said and len(one.moves) > 1 else said


def question_lines(one: Advice) -> list[Line]:
    """What is asked of the operator."""
    keys: tuple[Span | str, ...] = (("y", Ink.KEY), " plan it  ", ("n", Ink.KEY), " not now")
    return [
        line((f" {one.rule} asks: ", Ink.BOLD), f"{one.reason}; {one.gain}."),
        line((" Look at it? ", Ink.BOLD), *keys),
    ]
