"""What copying disks adds to a forecast. Pure.

The disks go first, all of them at once over the same link; the memory follows. A mirror writes
at the target as well as it sends, and what the guest writes meanwhile goes again.
"""

from dataclasses import replace

from backend.model import Band, Forecast
from backend.plan.wording import memory

SLOWEST_PART = 0.6
"""Of the link's slow end: where the target's storage, or the guest's own writing, is the slower."""
HASHED_BYTES_S = 400e6
"""Read and hashed by one CPU (SHA-256)."""
SETUP_S = Band(0.2, 0.5, 1.5)
"""Creating the volumes, opening the target's NBD server, ending the mirrors."""


def with_disks(forecast: Forecast, copied_bytes: int, link_bytes_s: Band | None) -> Forecast:
    """The forecast of the whole: its memory's, after so many bytes of disk."""
    if copied_bytes <= 0:
        return forecast
    sent = None if forecast.sent_bytes is None else forecast.sent_bytes + copied_bytes
    basis = f"{forecast.basis}; {memory(copied_bytes)} of disk are sent first".lstrip("; ")
    forecast = replace(forecast, sent_bytes=sent, basis=basis)
    if forecast.total_s is None or link_bytes_s is None:
        return forecast
    disks_s = copy_time_s(copied_bytes, link_bytes_s)
    total = forecast.total_s
    return replace(
        forecast,
        total_s=Band(total.low + disks_s.low, total.mid + disks_s.mid, total.high + disks_s.high),
    )


def copy_time_s(copied_bytes: int, link_bytes_s: Band) -> Band:
    """From the migrate call to the end of the mirrors."""
    return Band(
        SETUP_S.low + copied_bytes / link_bytes_s.high,
        SETUP_S.mid + copied_bytes / link_bytes_s.mid,
        SETUP_S.high + copied_bytes / (SLOWEST_PART * link_bytes_s.low),
    )


def idle_forecast(copied_bytes: int, link_bytes_s: Band | None) -> Forecast:
    """Of a VM that does not run: its disks, sent once and then read at both ends."""
    if copied_bytes <= 0:
        return Forecast(True, Band(0.5, 2.0, 6.0), sent_bytes=0, basis="only its definition moves")
    basis = f"{memory(copied_bytes)} of disk, sent once, then hashed at both ends"
    if link_bytes_s is None:
        return Forecast(True, sent_bytes=copied_bytes, basis=basis)
    sent_s = copy_time_s(copied_bytes, link_bytes_s)
    hashed_s = copied_bytes / HASHED_BYTES_S
    total = Band(sent_s.low + 1.0, sent_s.mid + hashed_s + 2.0, sent_s.high + 5 * hashed_s + 8.0)
    return Forecast(True, total, sent_bytes=copied_bytes, basis=basis)
