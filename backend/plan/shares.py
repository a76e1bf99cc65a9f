"""What each of several moves gets of the wires they share: max-min fair, about as TCP is. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from backend.plan.queue_types import UNKNOWN_LINK_BYTES_S, LinkMap, QueuedMove

Pair = tuple[str, str]
"""(source, target)."""
_EVEN = 1e-9
_MORE = 1.05
"""A sum of measured rates above what was thought of a wire by this is not noise."""


def alone_bytes_s(move: QueuedMove, links: LinkMap) -> float:
    """What it gets while nothing else is sent."""
    return fair_shares((move,), links)[0]


def fair_shares(moves: Sequence[QueuedMove], links: LinkMap) -> list[float]:
    """Bytes/s of each, in their order: all rise together; one stops where a wire it uses is full.

    `links` as `completed` makes them.
    """
    wires = list(_wires(moves, links))
    shares = [0.0] * len(moves)
    rising = set(range(len(moves)))
    room = [rate for rate, _ in wires]
    while rising:
        users = [len(rising & uses) for _, uses in wires]
        step = min(left / count for left, count in zip(room, users, strict=True) if count)
        for number in rising:
            shares[number] += step
        room = [left - step * count for left, count in zip(room, users, strict=True)]
        full: set[int] = set()
        for (rate, uses), left in zip(wires, room, strict=True):
            if left <= _EVEN * rate:
                full |= uses
        rising -= full
    return shares


def completed(links: LinkMap, moves: Iterable[QueuedMove]) -> LinkMap:
    """With a rate for every pair and end that the moves use.

    A pair that was never measured carries what its ends do; an end of which nothing is known, as
    much as the fastest pair that uses it.
    """
    used = {(move.source, move.target) for move in moves}
    pairs = dict(links.pairs)
    for pair in sorted(used - set(pairs)):
        ends = (links.uplinks.get(pair[0]), links.downlinks.get(pair[1]))
        pairs[pair] = min([end for end in ends if end], default=UNKNOWN_LINK_BYTES_S)
    return replace(
        links,
        pairs=pairs,
        uplinks={**_fastest(pairs, 0), **links.uplinks},
        downlinks={**_fastest(pairs, 1), **links.downlinks},
    )


def as_measured(links: LinkMap, sent: Sequence[tuple[Pair, float]]) -> LinkMap:
    """What moves that were sending at one time, each at so many bytes/s, have shown: a host whose
    moves sent (or received) more together than was thought of its link has a faster one."""
    full = completed(links, ())
    uplinks = dict(links.uplinks)
    downlinks = dict(links.downlinks)
    for end, known, found in ((0, full.uplinks, uplinks), (1, full.downlinks, downlinks)):
        for host in {pair[end] for pair, _ in sent}:
            total = sum(rate for pair, rate in sent if pair[end] == host)
            if total > _MORE * known.get(host, UNKNOWN_LINK_BYTES_S):
                found[host] = total
    return replace(links, uplinks=uplinks, downlinks=downlinks)


def _wires(moves: Sequence[QueuedMove], links: LinkMap) -> Iterator[tuple[float, set[int]]]:
    """Each wire's rate, and which of the moves use it."""
    pairs = [(move.source, move.target) for move in moves]
    for number, (move, pair) in enumerate(zip(moves, pairs, strict=True)):
        rate = links.pairs[pair]
        yield min(rate, move.most_bytes_s or rate), {number}
    for end, known in ((0, links.uplinks), (1, links.downlinks)):
        for host in {pair[end] for pair in pairs}:
            yield known[host], {n for n, pair in enumerate(pairs) if pair[end] == host}
    for bottleneck in links.bottlenecks:
        uses = {number for number, pair in enumerate(pairs) if pair in bottleneck.pairs}
        if uses:
            yield bottleneck.rate_bytes_s, uses


def _fastest(pairs: Mapping[Pair, float], end: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair, rate in pairs.items():
        found[pair[end]] = max(rate, found.get(pair[end], 0.0))
    return found
