"""What moves that send at one time show of the wires they use: one that carries less than was
thought of it. Pure. (`shares.as_measured` is told of those that carry more.)"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from backend.plan.queue_types import LinkMap, QueuedMove
from backend.plan.shares import fair_shares

SHORT_PART = 0.8
"""Of its fair share: a move that gets less is held by something that is not known yet."""
STALLED_PART = 0.05
"""One that gets less than this is stalled: that says nothing of what the wire carries."""


class WireKind(StrEnum):
    """Which part of the way."""

    PAIR = "pair"
    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Wire:
    """One part of the way that moves take."""

    kind: WireKind
    ends: tuple[str, str]
    """(source, target) of a pair; of a host's way out or in, the host at its own place and
    nothing at the other."""

    def carries(self, pair: tuple[str, str]) -> bool:
        """A move from and to these hosts takes it."""
        return all(end in ("", mine) for end, mine in zip(self.ends, pair, strict=True))


@dataclass(frozen=True, slots=True)
class Flow:
    """What one move gets, over some seconds in which others were sending too."""

    move: QueuedMove
    rate_bytes_s: float

    @property
    def pair(self) -> tuple[str, str]:
        return self.move.source, self.move.target


def shortfalls(links: LinkMap, flows: Sequence[Flow]) -> dict[Wire, float]:
    """Wires that seem to carry less than `links` (as `completed` makes them) say, with what they
    do: a host's way out where all that it sends, to several others, falls short; else the pair.
    """
    shares = fair_shares([flow.move for flow in flows], links)
    short = [
        STALLED_PART * share < flow.rate_bytes_s < SHORT_PART * share
        for flow, share in zip(flows, shares, strict=True)
    ]
    found: dict[Wire, float] = {}
    explained: set[int] = set()
    for kind in (WireKind.OUT, WireKind.IN, WireKind.PAIR):
        for wire, numbers in _users(kind, flows).items():
            several = len({flows[number].pair for number in numbers}) > 1
            if kind is not WireKind.PAIR and not several:
                continue  # it may be the other end: what it is not held by would wait for it
            if not all(short[number] for number in numbers) or explained >= numbers:
                continue
            found[wire] = sum(flows[number].rate_bytes_s for number in numbers)
            explained |= numbers
    return found


def lowered(links: LinkMap, slow: Mapping[Wire, float]) -> LinkMap:
    """With these wires at these rates, where that is less."""
    pairs, uplinks, downlinks = dict(links.pairs), dict(links.uplinks), dict(links.downlinks)
    for wire, rate in slow.items():
        source, target = wire.ends
        match wire.kind:
            case WireKind.PAIR:
                pairs[wire.ends] = min(rate, pairs.get(wire.ends, rate))
            case WireKind.OUT:
                uplinks[source] = min(rate, uplinks.get(source, rate))
            case WireKind.IN:
                downlinks[target] = min(rate, downlinks.get(target, rate))
    return replace(links, pairs=pairs, uplinks=uplinks, downlinks=downlinks)


def _users(kind: WireKind, flows: Sequence[Flow]) -> dict[Wire, set[int]]:
    found: dict[Wire, set[int]] = {}
    for number, flow in enumerate(flows):
        source, target = flow.pair
        ends = {
            WireKind.PAIR: (source, target),
            WireKind.OUT: (source, ""),
            WireKind.IN: ("", target),
        }[kind]
        found.setdefault(Wire(kind, ends), set()).add(number)
    return found
