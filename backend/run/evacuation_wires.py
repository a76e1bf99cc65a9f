"""What a host can send, or take, in all: measured with several hosts at once."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from backend.fleet.inventory import Inventory
from backend.model import HostState
from backend.remote.link_probe import AMONG_OTHERS, LinkProbe, probe_link
from backend.run.links import Links

KEPT_S = 600.0
MOST_PROBED = 3
"""Hosts at the other ends; each probe sends for 2.6 s."""
LIMIT_S = 20.0
SHORT_PART = 0.8
"""Of its time: over sooner, as on a very fast link, a probe may have had the wire to itself."""


class Wires:
    """Each host's way out and way in. What is known of them is kept for a while."""

    def __init__(self, inventory: Inventory, links: Links) -> None:
        self._inventory = inventory
        self._links = links
        self._known: dict[tuple[str, bool], tuple[float, float]] = {}

    async def measure(self, host: str, others: Sequence[str], *, outward: bool) -> None:
        """Of one host to (from) the others; nothing happens where that cannot be."""
        able = [name for name in dict.fromkeys(others) if self._can(name)][:MOST_PROBED]
        if len(able) < 2 or not self._can(host) or self.rate(host, outward=outward) is not None:
            return
        pairs = [(host, name) if outward else (name, host) for name in able]
        probes = [partial(self._probe, *pair) for pair in pairs]
        try:
            async with asyncio.timeout(LIMIT_S):
                found = await self._links.probe_together(pairs, probes)
        except TimeoutError:
            return
        if found is not None:
            self._known[host, outward] = (found, time.monotonic())

    def rate(self, host: str, *, outward: bool) -> float | None:
        """Bytes/s; None where it is not known."""
        found = self._known.get((host, outward))
        return found[0] if found and time.monotonic() - found[1] < KEPT_S else None

    def pair(self, source: str, target: str) -> float:
        """What the way between two hosts carries; 0 where it is not known."""
        found = self._links.rate(source, target)
        return found.rate_bytes_s if found else 0.0

    def all(self, *, outward: bool) -> dict[str, float]:
        """By host."""
        hosts = self._inventory.hosts
        known = {host: self.rate(host, outward=outward) for host in hosts}
        return {host: rate for host, rate in known.items() if rate is not None}

    def _can(self, name: str) -> bool:
        watch = self._inventory.hosts.get(name)
        if watch is None or watch.shell is None or watch.host.state is not HostState.UP:
            return False
        return not (watch.host.migrations_in or watch.host.migrations_out)

    async def _probe(self, source: str, target: str) -> LinkProbe:
        ends = [self._inventory.host(name) for name in (source, target)]
        here, there = (end.shell for end in ends)
        assert here is not None
        assert there is not None
        made = await probe_link(here, there, ends[1].migrate_uri, AMONG_OTHERS)
        if made.took_s < SHORT_PART * AMONG_OTHERS.lasts_s:
            return LinkProbe(None, "it was over before it was sure that all sent at one time")
        return made
