"""A report as Markdown (with tables, as tickets take it), its charts as text."""

import re
from collections.abc import Callable, Sequence

from tui.export import content
from tui.export.content import Section
from tui.render import chart, charts
from tui.render.charts import Picture
from tui.render.ink import Spans, clean
from tui.render.plot import highest, plot_lines
from tui.render.report import FORECAST, HAPPENED, Row
from tui.replay import Recording

CHART_WIDTH, CHART_HEIGHT = 76, 9
_SPECIAL = re.compile(r"([\\`*_\[\]|~#$!^@])")
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp|www)([:.])")


def escaped(text: str) -> str:
    """Text from outside as Markdown that shows it: no markup, no link, no mention, one line.

    Not for the beginning of a line: a `-` or `1.` would begin a list there.
    """
    text = " ".join(clean(text).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _SPECIAL.sub(r"\\\1", text)
    return _LINK.sub(r"\1&#8203;\2", text)


def document(recordings: Sequence[Recording], made: str) -> str:
    """The whole file; `made` says when and by what."""
    head = [f"# {escaped(content.title(recordings))}", "", escaped(made), ""]
    rows = [content.summary(one) for one in recordings]
    parts = [*head, *_table(content.SUMMARY, rows)]
    for one in recordings:
        parts += ["", *_section(content.section(one))]
    return "\n".join(parts) + "\n"


def _section(one: Section) -> list[str]:
    facts = [(row.label, _text(row.value)) for row in one.facts]
    parts = [
        f"## {escaped(one.heading)}",
        "",
        f"**{escaped(one.word[0])}** {escaped(one.sentence)}",
        "",
        *_table(("What", ""), facts),
        "",
        *_outcome(one.outcome),
        *_chart("Left to send, vertical marks: passes", one.left, charts.size_label),
        *_chart("Sent per second; dotted: written by the VM", one.rates, charts.rate_label),
    ]
    if one.decisions:
        parts += ["", "### Decisions", ""]
        parts += [f"- {escaped(at)} {escaped(_by(why, by))}" for at, why, by in one.decisions]
    if one.virsh:
        parts += ["", "### The equal virsh command", "", *_fenced(clean(one.virsh).split("\n"))]
    return parts


def _outcome(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    names = ("", FORECAST.capitalize(), HAPPENED.capitalize())
    if not any(row.forecast for row in rows):
        return [*_table(("", names[2]), [(row.label, _text(row.value)) for row in rows]), ""]
    cells = [(row.label, row.forecast, _text(row.value)) for row in rows]
    return [*_table(names, cells), ""]


def _by(why: str, by: str) -> str:
    return why if by == "engine" else f"{why} ({by})"


def _text(spans: Spans) -> str:
    return "".join(text for text, _ in spans)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [_cells(names), _cells(["---"] * len(names), raw=True)]
    return lines + [_cells(row) for row in rows]


def _cells(row: Sequence[str], raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else escaped(cell) for cell in row) + " |"


def _chart(title: str, picture: Picture, label: Callable[[float], str]) -> list[str]:
    limit = picture.y_limit or chart.steps_up(highest(picture))
    lines = plot_lines(picture, label, limit, CHART_WIDTH, CHART_HEIGHT)
    return [f"{escaped(title)}:", "", *_fenced([of.text.rstrip() for of in lines]), ""]


def _fenced(lines: Sequence[str]) -> list[str]:
    """Between more backticks than there are in it."""
    longest = max((len(run) for of in lines for run in re.findall("`+", of)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *lines, fence]
