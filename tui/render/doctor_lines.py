"""An examination as lines: check by check, each finding with its remedy."""

from backend.model import Examination, FleetFinding, Grade
from tui.render.ink import Ink, Line, Spans, line, spans_of, wrap

GLYPHS: dict[Grade, tuple[str, Ink]] = {
    Grade.OK: ("✓", Ink.OK),
    Grade.REMARK: ("·", Ink.DIM),
    Grade.MEND: ("!", Ink.WARN),
    Grade.ALARM: ("✕", Ink.BAD),
}
_CHECK_WIDTH = 13


def examination_lines(of: Examination, width: int) -> list[Line]:
    """What has to be mended first, then the rest in the order of the checks."""
    bad = [one for one in of.findings if one.grade.rank >= Grade.MEND.rank]
    rest = [one for one in of.findings if one not in bad]
    bad.sort(key=lambda one: -one.grade.rank)
    lines = [row for one in bad for row in finding_lines(one, width)]
    lines += [Line()] if bad else []
    return lines + [row for one in rest for row in finding_lines(one, width)]


def finding_lines(of: FleetFinding, width: int) -> list[Line]:
    """Its sentence after glyph and check, its remedy below."""
    glyph, ink = GLYPHS[of.grade]
    told = Ink.BAD if of.grade is Grade.ALARM else Ink.TEXT
    check = f"{of.check:<{_CHECK_WIDTH}}"
    head = spans_of((f" {glyph} ", ink), (check, Ink.DIM), (of.sentence, told))
    rows = _wrapped(head, width)
    if of.remedy:
        rows += _wrapped(spans_of((" " * _INDENT, Ink.DIM), (of.remedy, Ink.KEY)), width)
    return rows


_INDENT = 3 + _CHECK_WIDTH


def _wrapped(spans: Spans, width: int) -> list[Line]:
    return [Line(row) for row in wrap(spans, max(width - 2, 20), indent=_INDENT)]


def summary(of: Examination) -> Line:
    """`1 alarm · 3 to mend · 2 remarks · 9 well, in 4.2 s`."""
    counts = {grade: sum(one.grade is grade for one in of.findings) for grade in Grade}
    words = {
        Grade.ALARM: "alarm" if counts[Grade.ALARM] == 1 else "alarms",
        Grade.MEND: "to mend",
        Grade.REMARK: "remark" if counts[Grade.REMARK] == 1 else "remarks",
        Grade.OK: "well",
    }
    parts = []
    for grade, word in words.items():
        if counts[grade] or grade is Grade.OK:
            parts += [(f"{counts[grade]} {word}", GLYPHS[grade][1]), (" · ", Ink.DIM)]
    return line(" ", *parts[:-1], (f", in {of.took_s:.1f} s", Ink.DIM))
