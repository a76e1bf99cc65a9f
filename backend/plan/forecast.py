"""What a migration would do, before it starts: the recurrence in `precopy` in wide bands.

Bytes, bytes/s, seconds; pauses in ms. What is not known is said in `Forecast.needs`. The
forecasts for a running migration (`outlook`, `progress_fraction`, `pass_ended_note`) have
rooms of their own and are found here too.
"""

from backend.model import Band, Forecast
from backend.plan.outlook import outlook, pass_ended_note
from backend.plan.passes import KEPT_PART
from backend.plan.pause import predicted_pause, would_help
from backend.plan.precopy import Course, Writing, course
from backend.plan.progress import progress_fraction
from backend.plan.wording import two_digits

__all__ = ["forecast_before", "outlook", "pass_ended_note", "progress_fraction"]

STARTUP_S = Band(0.5, 1.5, 3.0)
"""From the call to the first byte: connecting, checking, starting QEMU at the target."""


_SCENARIOS = ((0.5, 1.05, 0.8), (0.9, 0.95, 1.0), (1.1, 0.85, 1.1))
"""Lucky, likely, unlucky: the parts of the memory used, the link and the dirty rate."""


def forecast_before(
    vm_memory_used_bytes: int,
    link_bytes_s: float | None,
    dirty_bytes_s: float | None,
    working_set_bytes: float | None,
    pause_ms: int,
) -> Forecast:
    """The same recurrence before anything runs, in wide bands.

    The memory used is what QEMU holds resident; empty pages are not sent, so half of it may be
    enough. Without a working set, all memory used may be written over.
    """
    needs = _not_known(link_bytes_s, dirty_bytes_s)
    pause = predicted_pause(pause_ms)
    if not link_bytes_s:
        return Forecast(True, pause_ms=pause, needs=needs)
    writes = dirty_bytes_s or 0.0
    cap = working_set_bytes or vm_memory_used_bytes
    kept = KEPT_PART * link_bytes_s * pause_ms / 1000
    runs = [
        course(
            vm_memory_used_bytes * part,
            link_bytes_s * link,
            Writing(writes * more, kept * link, cap + kept * link),
            pause_ms,
        )
        for part, link, more in _SCENARIOS
    ]
    if not runs[1].converges:
        would = two_digits(runs[1].left_bytes / link_bytes_s * 1000 + 1)
        return Forecast(False, needs=would_help(writes, link_bytes_s, would))
    return Forecast(
        converges=True,
        total_s=_total_band(runs, known=dirty_bytes_s is not None),
        pause_ms=pause,
        passes=runs[1].passes if dirty_bytes_s is not None else None,
        sent_bytes=round(runs[1].sent_bytes + runs[1].left_bytes),
        needs=needs,
    )


def _not_known(link_bytes_s: float | None, dirty_bytes_s: float | None) -> str:
    missing = []
    if not link_bytes_s:
        missing.append("the link's speed is not known")
    if dirty_bytes_s is None:
        missing.append("the VM's dirty rate is not known yet: it has not been moved before")
    return "; ".join(missing)


def _total_band(runs: list[Course], known: bool) -> Band:
    low, mid, high = runs
    most_s = high.seconds if high.converges else 3 * mid.seconds
    if not known:
        most_s = max(most_s, 4 * mid.seconds)
    return Band(
        low.seconds + STARTUP_S.low,
        mid.seconds + STARTUP_S.mid,
        max(most_s, mid.seconds) + STARTUP_S.high,
    )
