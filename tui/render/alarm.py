"""The alarm that stands on top of every screen."""

from collections.abc import Sequence

from backend.model import Alarm
from tui.render.ink import Ink, Line, spans_of, wrap

_MOST = 6


def alarm_lines(alarms: Sequence[Alarm], width: int) -> list[Line]:
    """Each VM that runs twice, where, and what to do; nothing without one."""
    lines: list[Line] = []
    for alarm in alarms:
        spans = spans_of((f" ✕ {alarm.sentence} ", Ink.BAD), (alarm.remedy, Ink.TEXT))
        lines += [Line(row) for row in wrap(spans, max(width - 1, 20), indent=3)]
    if len(lines) <= _MOST:
        return lines
    names = ", ".join(alarm.vm for alarm in alarms)
    told = f" ✕ {len(alarms)} VMs RUN TWICE: {names}. "
    spans = spans_of((told, Ink.BAD), "`virt-ferry doctor` tells more.")
    return [Line(row) for row in wrap(spans, max(width - 1, 20), indent=3)][:_MOST]
