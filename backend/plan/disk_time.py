"""What copying disks adds to a forecast. Pure.

The disks go first, all of them at once over the same link; the memory follows. A mirror writes
at the target as well as it sends, and what the guest writes meanwhile goes again.
"""

from collections.abc import Sequence
from dataclasses import replace

from backend.model import Band, DiskAction, DiskMove, Forecast
from backend.plan.wording import memory

SLOWEST_PART = 0.6
"""Of the link's slow end: where the target's storage, or the guest's own writing, is the slower."""
HASHED_BYTES_S = 400e6
"""Read and hashed by one CPU (SHA-256)."""
HERE_BYTES_S = Band(60e6, 300e6, 1500e6)
"""From one pool of a host to another, where nobody knows: a disk that turns, an SSD, memory."""
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


def each_timed(
    moves: Sequence[DiskMove], link_bytes_s: Band | None, idle: bool
) -> tuple[DiskMove, ...]:
    """The disks of a plan, each with how long its copy takes; `idle`: one after the other."""
    if link_bytes_s is None:
        return tuple(moves)
    together = sum(one.copied_bytes for one in moves if one.action is DiskAction.COPY)
    return tuple(
        replace(
            one,
            takes_s=_idle_s(one.copied_bytes, link_bytes_s)
            if idle
            else copy_time_s(together, link_bytes_s),
        )
        if one.action is DiskAction.COPY
        else one
        for one in moves
    )


def idle_forecast(copied_bytes: int, link_bytes_s: Band | None) -> Forecast:
    """Of a VM that does not run: its disks, sent once and then read at both ends."""
    if copied_bytes <= 0:
        return Forecast(True, Band(0.5, 2.0, 6.0), sent_bytes=0, basis="only its definition moves")
    basis = f"{memory(copied_bytes)} of disk, sent once, then hashed at both ends"
    if link_bytes_s is None:
        return Forecast(True, sent_bytes=copied_bytes, basis=basis)
    return Forecast(True, _idle_s(copied_bytes, link_bytes_s), sent_bytes=copied_bytes, basis=basis)


def _idle_s(copied_bytes: int, link_bytes_s: Band) -> Band:
    sent_s = copy_time_s(copied_bytes, link_bytes_s)
    hashed_s = copied_bytes / HASHED_BYTES_S
    return Band(sent_s.low + 1.0, sent_s.mid + hashed_s + 2.0, sent_s.high + 5 * hashed_s + 8.0)


def timed_here(
    moves: Sequence[DiskMove], idle: bool, seen_bytes_s: float | None, limit_bytes_s: int | None
) -> tuple[DiskMove, ...]:
    """The same of disks that move between pools of one host, one after the other.

    `seen_bytes_s`: what a copy there got through before; None: there was none.
    """
    return tuple(
        replace(one, takes_s=_here_s(one, idle, seen_bytes_s, limit_bytes_s))
        if one.action is DiskAction.COPY
        else one
        for one in moves
    )


def _here_s(
    move: DiskMove, idle: bool, seen_bytes_s: float | None, limit_bytes_s: int | None
) -> Band:
    rate, carried = HERE_BYTES_S, move.copied_bytes
    if seen_bytes_s is not None:
        rate = Band(0.6 * seen_bytes_s, seen_bytes_s, 1.6 * seen_bytes_s)
    if limit_bytes_s is not None:
        rate = Band(*(min(one, limit_bytes_s) for one in (rate.low, rate.mid, rate.high)))
        if not idle and limit_bytes_s < rate.high * 1.01:
            # QEMU counts holes against the limit as if they were data.
            carried = max(carried, move.virtual_bytes or 0)
    return _idle_s(carried, rate) if idle else copy_time_s(carried, rate)


def here_forecast(moves: Sequence[DiskMove], seen: bool) -> Forecast:
    """Of all of them, timed already; `seen`: a copy there was seen before."""
    timed = [one for one in moves if one.takes_s is not None]
    bands = [one.takes_s for one in timed if one.takes_s is not None]
    copied_bytes = sum(one.copied_bytes for one in timed)
    basis = f"{memory(copied_bytes)} of disk, one disk after the other; " + (
        "as fast as the copy before on this host"
        if seen
        else "how fast this host copies was not seen yet: a wide guess"
    )
    total = Band(
        sum(one.low for one in bands), sum(one.mid for one in bands), sum(one.high for one in bands)
    )
    return Forecast(True, total, sent_bytes=copied_bytes, basis=basis)
