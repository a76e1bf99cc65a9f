"""The five phases as one line; the whole never runs backwards, a phase only goes on."""

from backend.model import Migration, Phase, PhaseState
from tui.render.ink import Ink, Line, Span, line

_GLYPHS = {
    PhaseState.WAITING: ("○", Ink.DIM),
    PhaseState.ACTIVE: ("●", Ink.MOVE),
    PhaseState.DONE: ("✓", Ink.OK),
    PhaseState.SKIPPED: ("–", Ink.DIM),
    PhaseState.FAILED: ("✕", Ink.BAD),
}


def phase_line(migration: Migration) -> Line:
    """`prepare ✓ ── disk – ── memory ● ── switchover ○ ── verify ○`."""
    parts: list[Span | str] = [" "]
    for phase in Phase:
        state = migration.phases.get(phase, PhaseState.WAITING)
        glyph, ink = _GLYPHS[state]
        if phase is not Phase.PREPARE:
            parts.append((" ── ", Ink.DIM))
        parts += [(phase.value, Ink.DIM if ink is Ink.DIM else Ink.TEXT), (f" {glyph}", ink)]
    return line(*parts)
