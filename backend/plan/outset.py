"""What is known at the outset of a migration, put together into three scenarios. Pure.

Bytes, bytes/s, seconds; fractions 0 to 1. Each figure says where it came from, for the plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from backend.model import Band
from backend.plan.precopy import Writing
from backend.plan.simulate import Scenario
from backend.plan.wording import rate
from backend.plan.writes import Count, WritingBand, explains, fit, newest_agreeing

EMPTY_PART = Band(0.0, 0.036, 0.08)
"""Of a VM's memory, the part that its QEMU holds although it is zeros, before it is known better
(measured on the lab: 19 of 512 MiB, however much was in use)."""
MOST_EMPTY_PART = 0.25
"""Of what QEMU holds."""
WITHOUT_SMAPS = Band(0.4, 0.7, 1.0)
"""Of what QEMU holds resident in all, the part that is the VM's memory."""
LINK_ERROR = 0.04
UNSEEN_LINK_ERROR = 0.15
"""Where the figure is what the network card says of itself."""


@dataclass(frozen=True, slots=True)
class Past:
    """What one earlier migration of the same VM has shown."""

    passes: tuple[tuple[float, float], ...] = ()
    """(seconds, unique bytes written in them) of each pass without a throttle."""
    empty_bytes: float | None = None
    """Held by QEMU, but pages of zeros."""


@dataclass(frozen=True, slots=True)
class Outset:
    """All inputs of a forecast; None: not known."""

    memory_bytes: int
    in_use_bytes: int | None = None
    """Pages of the VM's memory that its QEMU holds."""
    resident_bytes: int | None = None
    """All that its QEMU holds, where the former is not known."""
    link_bytes_s: float | None = None
    link_origin: str = ""
    """`learned`, `probed`, `card`."""
    link_why: str = ""
    """` (REASON)` where its speed is not known."""
    bandwidth_bytes_s: int | None = None
    """The operator's limit."""
    sharing: int = 0
    """Other migrations on the same link."""
    counts: tuple[Count, ...] = ()
    past: tuple[Past, ...] = ()
    """Of the same VM, newest first."""
    cpu_part: float | None = None
    """Of its vCPUs' time that the VM uses."""
    pauses_ms: tuple[float, ...] = ()
    """What the newest pauses took besides half of their limit, newest first."""
    paused: bool = False
    encrypted: bool = True


@dataclass(frozen=True, slots=True)
class Views:
    """The scenarios `lucky`, `likely` and `unlucky`, and what they rest on."""

    lucky: Scenario
    likely: Scenario
    unlucky: Scenario
    basis: str


def views(outset: Outset) -> Views | None:
    """The three scenarios; None while the link's speed is not known."""
    link = _link(outset)
    if link is None:
        return None
    first = first_pass_bytes(outset)
    writing, told = writing_of(outset)
    cpu = 1.0 if outset.cpu_part is None else min(1.0, max(0.02, outset.cpu_part))
    return Views(
        lucky=Scenario(first.low, link.high, writing.low, min(1.0, cpu * 1.1)),
        likely=Scenario(first.mid, link.mid, writing.mid, cpu),
        unlucky=Scenario(first.high, link.low, writing.high, cpu * 0.9),
        basis=f"{told}; link {outset.link_origin or 'given'}: {rate(link.mid)}",
    )


def _link(outset: Outset) -> Band | None:
    known = outset.link_bytes_s
    limit = outset.bandwidth_bytes_s
    if not known:
        return Band(0.9 * limit, 0.97 * limit, limit) if limit else None
    error = UNSEEN_LINK_ERROR if outset.link_origin == "card" else LINK_ERROR
    share = known / (1 + outset.sharing)
    low, mid, high = share * (1 - error), share, share * (1 + error)
    if outset.sharing:
        high = known * (1 + error)
    if limit:
        low, mid, high = min(low, limit), min(mid, limit), min(high, limit)
    return Band(low, mid, high)


def first_pass_bytes(outset: Outset) -> Band:
    """What the first pass sends: memory in use without its pages of zeros."""
    if outset.in_use_bytes is None:
        held = outset.resident_bytes or outset.memory_bytes
        held = min(held, outset.memory_bytes)
        parts = WITHOUT_SMAPS
        return Band(parts.low * held, parts.mid * held, parts.high * held)
    held = outset.in_use_bytes
    known = [past.empty_bytes for past in outset.past if past.empty_bytes is not None]
    if known:
        mid = max(held - median(known), (1 - MOST_EMPTY_PART) * held)
        return Band(0.97 * mid, mid, min(float(held), 1.04 * mid))
    low, mid, high = (
        held - min(part * outset.memory_bytes, MOST_EMPTY_PART * held)
        for part in (EMPTY_PART.high, EMPTY_PART.mid, EMPTY_PART.low)
    )
    return Band(low, mid, high)


def writing_of(outset: Outset) -> tuple[WritingBand, str]:
    """How the VM writes, and the sentence's part that says how that is known."""
    most = float(outset.in_use_bytes or outset.memory_bytes)
    if outset.paused:
        still = Writing(0.0, 0.0, 0.0)
        return WritingBand(still, still, still), "the VM is paused"
    past = _past_counts(outset.past)
    moves = f"{len(outset.past)} earlier move{'s' * (len(outset.past) != 1)}"
    seen = fit(past, most)
    fresh = newest_agreeing(outset.counts, most)
    agreed = seen is not None and explains(seen.mid, fresh)
    counts = (*past, *fresh) if agreed else fresh
    found = fit(counts, most)
    if found is None and seen is not None:
        return seen, moves
    if found is None:
        return _unknown(most), "how fast the VM writes is not known"
    readings = f"{len(fresh)} reading{'s' * (len(fresh) != 1)}"
    if past and not agreed:
        return found, f"{readings} of its writing, which has changed since its last move"
    if past and outset.counts:
        return found, f"{moves} and {readings} of its writing"
    return found, f"{readings} of its writing" if outset.counts else "earlier moves"


def _past_counts(pasts: Sequence[Past]) -> tuple[Count, ...]:
    """A pass is as good as a reading with ten hits: the VM may write otherwise today."""
    return tuple(
        Count(seconds, dirtied, max(dirtied / 10, 64 * 1024.0))
        for past in pasts[:3]
        for seconds, dirtied in past.passes
        if seconds >= 0.5
    )


def _unknown(most: float) -> WritingBand:
    return WritingBand(
        Writing(0.0, 0.0, most), Writing(most / 60, 0.0, most), Writing(most / 10, 0.0, most), False
    )
