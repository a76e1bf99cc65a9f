"""What each of several flows gets of the wires they share: max-min fair, about as TCP is. Pure."""

from collections.abc import Iterator, Sequence

from backend.plan.queue_types import UNKNOWN_LINK_BYTES_S, LinkMap

Pair = tuple[str, str]
"""(source, target)."""
_EVEN = 1e-9


def alone_bytes_s(pair: Pair, links: LinkMap) -> float:
    """What one move gets while nothing else is sent."""
    return fair_shares((pair,), links)[0]


def fair_shares(flows: Sequence[Pair], links: LinkMap) -> list[float]:
    """Bytes/s of each flow, in their order.

    All rise together; one stops where a wire it uses is full. A host's uplink (or downlink) of
    which nothing is known carries as much as the fastest pair that uses it.
    """
    wires = list(_wires(flows, links))
    shares = [0.0] * len(flows)
    rising = set(range(len(flows)))
    room = [rate for rate, _ in wires]
    while rising:
        users = [len(rising & uses) for _, uses in wires]
        step = min(left / count for left, count in zip(room, users, strict=True) if count)
        for flow in rising:
            shares[flow] += step
        room = [left - step * count for left, count in zip(room, users, strict=True)]
        full = set()
        for (rate, uses), left in zip(wires, room, strict=True):
            if left <= _EVEN * rate:
                full |= uses
        rising -= full
    return shares


def _wires(flows: Sequence[Pair], links: LinkMap) -> Iterator[tuple[float, set[int]]]:
    """Each wire's rate, and which flows use it."""
    for number, pair in enumerate(flows):
        yield links.pairs.get(pair, _pair_unknown(pair, links)), {number}
    for end, known in ((0, links.uplinks), (1, links.downlinks)):
        for host in {pair[end] for pair in flows}:
            uses = {number for number, pair in enumerate(flows) if pair[end] == host}
            yield known.get(host) or _fastest(host, end, links), uses
    for bottleneck in links.bottlenecks:
        uses = {number for number, pair in enumerate(flows) if pair in bottleneck.pairs}
        if uses:
            yield bottleneck.rate_bytes_s, uses


def _pair_unknown(pair: Pair, links: LinkMap) -> float:
    ends = [links.uplinks.get(pair[0]), links.downlinks.get(pair[1])]
    return min([end for end in ends if end], default=UNKNOWN_LINK_BYTES_S)


def _fastest(host: str, end: int, links: LinkMap) -> float:
    rates = [rate for pair, rate in links.pairs.items() if pair[end] == host]
    return max(rates, default=UNKNOWN_LINK_BYTES_S)
