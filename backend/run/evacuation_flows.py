"""What the moves of one run really get of the wires, and what its order makes of that. No I/O."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from backend.model import Migration, Sample
from backend.plan.queue_types import LinkMap, QueuedMove, QueueState, Stage
from backend.plan.shares import as_measured, completed
from backend.plan.shortfalls import Flow, Wire, WireKind, lowered, shortfalls
from backend.plan.wording import rate as said_rate

SPAN_S = 3.0
"""Over a shorter time than this a rate is noise."""
SLOW_S = 9.0
"""For so long, in every span, a wire carries less before that is believed: a pass that skips empty
pages, or a disk's holes, are over sooner."""
KEPT_S = 120.0
"""Nobody looks at a wire on which nothing moves: so long it is thought slow."""
FASTER_PART = 1.1
"""Of what was thought, for a slow wire to be as it was before."""


@dataclass(frozen=True, slots=True)
class _Rates:
    """What one migration sent over a span."""

    all_bytes_s: float
    memory_bytes_s: float
    """Without its disks, whose holes count as sent."""


@dataclass(frozen=True, slots=True)
class _Spell:
    """Since when a wire carries less, and the most it carried since."""

    since_s: float
    most_bytes_s: float


@dataclass(frozen=True, slots=True)
class _Slow:
    """A wire that is believed to carry less, and when that was last seen."""

    at_s: float
    rate_bytes_s: float


class Flows:
    """Of one run: `take` its state now and then; `links` are what is known of the wires by it."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}
        self._uplinks: dict[str, float] = {}
        self._downlinks: dict[str, float] = {}
        self._spells: dict[Wire, _Spell] = {}
        self._slow: dict[Wire, _Slow] = {}

    def take(
        self, state: QueueState, migrations: Mapping[str, Migration], now_s: float
    ) -> tuple[str, ...]:
        """`state.links` as `links` made them; `migrations` by the VM's UUID; `now_s`: any clock.
        What was found, as sentences."""
        sending = [one.move for one in state.going if one.stage is Stage.COPYING]
        rates = self._rates(sending, migrations)
        moves = [move for move in sending if move.id in rates]
        if not moves:
            return ()
        links = completed(state.links, moves)
        flows = [Flow(move, rates[move.id].all_bytes_s) for move in moves]
        if self._look_again(flows, now_s):
            return ()
        return (
            *self._faster(links, [Flow(move, rates[move.id].memory_bytes_s) for move in moves]),
            *self._slower(shortfalls(links, flows), now_s),
        )

    def links(self, known: LinkMap, now_s: float) -> LinkMap:
        """With what was measured."""
        self._slow = {w: one for w, one in self._slow.items() if now_s - one.at_s < KEPT_S}
        faster = replace(
            known,
            uplinks=_most(known.uplinks, self._uplinks),
            downlinks=_most(known.downlinks, self._downlinks),
        )
        return lowered(faster, {wire: one.rate_bytes_s for wire, one in self._slow.items()})

    def _rates(
        self, sending: list[QueuedMove], migrations: Mapping[str, Migration]
    ) -> dict[str, _Rates]:
        """Of those that have sent for long enough to tell, by their VM's UUID."""
        known = {move.id: migrations[move.id] for move in sending if move.id in migrations}
        ids = {migration.id for migration in known.values()}
        self._samples = {id: seen for id, seen in self._samples.items() if id in ids}
        found = {uuid: self._rate(migration) for uuid, migration in known.items()}
        return {uuid: rates for uuid, rates in found.items() if rates is not None}

    def _rate(self, migration: Migration) -> _Rates | None:
        now = migration.sample
        if now is None:
            return None
        seen = self._samples.setdefault(migration.id, deque())
        if not seen or now.t_s > seen[-1].t_s:
            seen.append(now)
        while len(seen) > 2 and now.t_s - seen[1].t_s >= SPAN_S:
            seen.popleft()
        first, span_s = seen[0], seen[-1].t_s - seen[0].t_s
        if span_s < SPAN_S:
            return None
        return _Rates(
            (now.sent_bytes - first.sent_bytes) / span_s,
            (now.memory_sent_bytes - first.memory_sent_bytes) / span_s,
        )

    def _faster(self, links: LinkMap, flows: list[Flow]) -> Iterator[str]:
        told = as_measured(links, [(flow.pair, flow.rate_bytes_s) for flow in flows])
        for now, before, found, word in (
            (told.uplinks, links.uplinks, self._uplinks, "sends"),
            (told.downlinks, links.downlinks, self._downlinks, "receives"),
        ):
            for host in sorted(host for host, rate in now.items() if rate != before.get(host)):
                found[host] = now[host]
                yield f"{host} {word} {said_rate(now[host])}, more than was thought of its link"

    def _slower(self, short: Mapping[Wire, float], now_s: float) -> Iterator[str]:
        spells = {}
        for wire, rate in short.items():
            spell = self._spells.get(wire) or _Spell(now_s, rate)
            spells[wire] = replace(spell, most_bytes_s=max(spell.most_bytes_s, rate))
        self._spells = spells
        for wire, spell in spells.items():
            if now_s - spell.since_s >= SLOW_S:
                self._slow[wire] = _Slow(now_s, spell.most_bytes_s)
                yield f"{_said(wire)} {said_rate(spell.most_bytes_s)}, less than was thought"

    def _look_again(self, flows: list[Flow], now_s: float) -> bool:
        """A wire that was slow may carry more again: whether one does."""
        known = len(self._slow)
        for wire, one in list(self._slow.items()):
            users = [flow.rate_bytes_s for flow in flows if wire.carries(flow.pair)]
            if sum(users) > FASTER_PART * one.rate_bytes_s:
                del self._slow[wire]
            elif users:
                self._slow[wire] = replace(one, at_s=now_s)
        return len(self._slow) < known


def _said(wire: Wire) -> str:
    source, target = wire.ends
    if wire.kind is WireKind.PAIR:
        return f"the way from {source} to {target} carries"
    return f"{source} sends" if wire.kind is WireKind.OUT else f"{target} receives"


def _most(known: Mapping[str, float], measured: Mapping[str, float]) -> dict[str, float]:
    return {
        host: max(known.get(host, 0.0), measured.get(host, 0.0)) for host in {*known, *measured}
    }
