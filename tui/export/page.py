"""A report as one HTML page that needs nothing else: no script, no network, printable."""

from collections.abc import Sequence

from tui.export import content, svg
from tui.export.content import Section
from tui.export.markup import Html, joined, tag
from tui.render import charts
from tui.render.ink import Spans
from tui.render.report import FORECAST, HAPPENED, Row
from tui.replay import Recording

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto;
  padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { margin-top: 2em; border-top: 2px solid #ccc; padding-top: .7em; }
table { border-collapse: collapse; margin: .7em 0; }
th, td { text-align: left; vertical-align: top; padding: .2em .9em .2em 0;
  border-bottom: 1px solid #e4e4e4; overflow-wrap: anywhere; }
th { color: #666; font-weight: 600; white-space: nowrap; }
pre { background: #f4f4f4; padding: .7em; white-space: pre-wrap; overflow-wrap: anywhere; }
.charts { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; }
figcaption { color: #666; } svg { max-width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: #666; }
.curve { fill: none; stroke: #005faf; stroke-width: 1.6; stroke-linejoin: round; }
.curve.bold { stroke: #222; } .curve.warn { stroke: #b36b00; }
.curve.dotted { stroke-dasharray: 3 3; }
.grid { stroke: #ddd; } .pass { stroke: #bbb; stroke-dasharray: 2 3; }
.ok { color: #00752f; } .warn { color: #8a5300; } .bad { color: #c00000; font-weight: 600; }
.bold, .head { font-weight: 600; } .dim { color: #666; }
@media print { h2, figure, tr { break-inside: avoid; } }
"""


def page(recordings: Sequence[Recording], made: str) -> str:
    """The whole file; `made` says when and by what."""
    sections = [content.section(one) for one in recordings]
    title = content.title(recordings)
    head = tag(
        "head",
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "body",
        tag("h1", title),
        tag("p", made, class_="dim"),
        _summary(recordings),
        *(_section(one) for one in sections),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _summary(recordings: Sequence[Recording]) -> Html:
    head = tag("tr", *(tag("th", name) for name in content.SUMMARY))
    rows = [tag("tr", *(tag("td", cell) for cell in content.summary(one))) for one in recordings]
    return tag("table", head, *rows)


def _section(one: Section) -> Html:
    word, ink = one.word
    parts = [
        tag("h2", one.heading),
        tag("p", tag("strong", word, class_=ink.value), f"  {one.sentence}"),
        tag("table", *(tag("tr", tag("th", row.label), _cell(row.value)) for row in one.facts)),
        _outcome(one.outcome),
        tag("div", *_charts(one), class_="charts"),
    ]
    if one.decisions:
        parts += [tag("h3", "Decisions"), _decisions(one.decisions)]
    if one.virsh:
        parts += [tag("h3", "The equal virsh command"), tag("pre", one.virsh)]
    return tag("section", *parts)


def _outcome(rows: Sequence[Row]) -> Html:
    if not rows:
        return Html()
    with_forecast = any(row.forecast for row in rows)
    names = ("", FORECAST.capitalize(), HAPPENED.capitalize()) if with_forecast else ("", "")
    head = tag("tr", *(tag("th", name) for name in names))
    return tag("table", head, *(_outcome_row(row, with_forecast) for row in rows))


def _outcome_row(row: Row, with_forecast: bool) -> Html:
    foreseen = (tag("td", row.forecast, class_="dim"),) if with_forecast else ()
    return tag("tr", tag("th", row.label), *foreseen, _cell(row.value))


def _cell(spans: Spans) -> Html:
    return tag("td", *(tag("span", text, class_=ink.value) for text, ink in spans))


def _charts(one: Section) -> tuple[Html, ...]:
    left = svg.drawing(one.left, charts.size_label, "Left to send over time")
    rates = svg.drawing(one.rates, charts.rate_label, "Throughput and dirty rate over time")
    return (
        tag("figure", tag("figcaption", "Left to send (bytes); vertical lines: passes"), left),
        tag("figure", tag("figcaption", "Sent per second; dotted: written by the VM"), rates),
    )


def _decisions(decisions: Sequence[tuple[str, str, str]]) -> Html:
    rows = [
        tag("tr", tag("td", at), tag("td", joined(why, "" if by == "engine" else f" ({by})")))
        for at, why, by in decisions
    ]
    return tag("table", *rows)
