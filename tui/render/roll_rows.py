"""The hosts of a roll as table rows, in the order of their turn."""

from dataclasses import dataclass

from backend.model import RollHost, RollStep
from tui.render import roll_view, units
from tui.render.ink import Ink, Span, Spans, spans_of
from tui.render.roll_view import RollView
from tui.render.table import Column

_NONE: Span = (units.DASH, Ink.DIM)


@dataclass(frozen=True, slots=True)
class RollRow:
    """One host, and the roll that it is in."""

    host: RollHost
    view: RollView

    @property
    def begun(self) -> bool:
        """Its turn has come."""
        return self.host == self.view.roll.current or self.host.step is not RollStep.WAITING


def _since(row: RollRow, _width: int) -> Spans:
    began = row.host.began
    return spans_of(units.clock(began) if began is not None and row.begun else _NONE)


def _time(row: RollRow, _width: int) -> Spans:
    began = row.view.turn_began(row.host)
    if began is None:
        return spans_of(_NONE)
    done = row.host.began if row.host.step is RollStep.DONE else row.view.roll.ended
    return spans_of(units.duration((done or row.view.now) - began))


def _vms(row: RollRow, _width: int) -> Spans:
    return spans_of(roll_view.vms_words(row.view, row.host) or _NONE)


def _hook(row: RollRow, _width: int) -> Spans:
    return spans_of(roll_view.hook_span(row.view, row.host) or _NONE)


def _run(row: RollRow, _width: int) -> Spans:
    return spans_of(roll_view.run_words(row.view, row.host) or _NONE)


COLUMNS: tuple[Column[RollRow], ...] = (
    Column("host", "HOST", 12, lambda r, _: spans_of((r.host.host, Ink.BOLD)), narrow=8, flex=16),
    Column("step", "STEP", 17, lambda r, _: spans_of(roll_view.step_span(r.view, r.host))),
    Column("since", "SINCE", 8, _since),
    Column("time", "TIME", 10, _time, narrow=9, right=True),
    Column("vms", "VMS", 13, _vms, narrow=12),
    Column("hook", "HOOK", 11, _hook, rank=1),
    Column("run", "EVACUATION OR RETURN", 28, _run, rank=2, narrow=20, flex=60),
)
"""SINCE is when the step began, TIME how long the host's whole turn has taken."""
