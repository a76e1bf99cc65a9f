"""The title lines and rules around the tables."""

from backend.model import FleetSnapshot
from tui.render.ink import Ink, Line, Span, Spans, cut, fit, spans_of, width_of
from tui.render.units import counted


def spread(left: Spans, right: Spans, width: int) -> Line:
    """One part at the left edge, one at the right; the left one gives way."""
    room = width - width_of(right) - 2
    return Line((*fit(left, max(room, 0)), *spans_of("  "), *right))


def counts(fleet: FleetSnapshot, moving: int) -> Spans:
    """`3 hosts · 7 VMs · 1 moving`."""
    hosts, vms = len(fleet.hosts), len({vm.uuid for vm in fleet.vms})
    parts: list[str | Span] = [
        f"{counted(hosts, 'host')} · {counted(vms, 'VM')} · ",
        (f"{moving} moving", Ink.MOVE if moving else Ink.TEXT),
    ]
    return spans_of(*parts)


def title(label: str, fleet: FleetSnapshot, moving: int, width: int) -> Line:
    """The fleet screen's first line."""
    left = spans_of((" virt-ferry", Ink.HEAD), "  ", (label, Ink.BOLD))
    return spread(left, counts(fleet, moving), width)


def rule(words: tuple[Span | str, ...], width: int) -> Line:
    """`HOSTS ───────`: the words, then a line to the edge."""
    spans: Spans = (
        (" ", Ink.DIM),
        *((text, Ink.HEAD if ink is Ink.TEXT else ink) for text, ink in spans_of(*words)),
    )
    spans = cut(spans, max(width - 2, 0))
    return Line((*spans, (" " + "─" * max(width - width_of(spans) - 2, 0), Ink.DIM)))
