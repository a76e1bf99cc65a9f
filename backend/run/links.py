"""How fast the ways between hosts are: learned from migrations, probed, or told by the card."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.errors import FerryError
from backend.model import Host, Now
from backend.remote.link_probe import LinkProbe, probe_link
from backend.remote.shell import Shell

PROBE_KEPT_S = 60.0
FAILED_KEPT_S = 5.0
"""One that failed holds for the plans that are made together, not for the next try."""
LEARNED_KEPT_S = 24 * 3600.0
"""Links change; what was learned before yesterday is not trusted."""


class LinkOrigin(StrEnum):
    """Where a rate comes from, the best first."""

    LEARNED = "learned"
    PROBED = "probed"
    CARD = "card"


@dataclass(frozen=True, slots=True)
class LinkRate:
    """What one direction between two hosts carries."""

    rate_bytes_s: float
    """Of payload; of a card, what it says of itself."""
    origin: LinkOrigin
    at: float
    """Epoch seconds."""
    age_s: float
    encrypted: bool | None = None
    """Whether the migration that taught it was; None for the other origins."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe, and when it was made (epoch seconds)."""

    probe: LinkProbe
    at: float


class Links:
    """All pairs of hosts of one fleet. Nothing is kept beyond the engine's life."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._learned: dict[tuple[str, str], tuple[float, float, bool]] = {}
        self._probed: dict[tuple[str, str], Probed] = {}
        self._host_locks: dict[str, asyncio.Lock] = {}

    def learn(self, source: str, target: str, rate_bytes_s: float, encrypted: bool) -> None:
        """What a finished migration got through when nothing but the link held it."""
        if rate_bytes_s > 0:
            self._learned[source, target] = (rate_bytes_s, self._now(), encrypted)

    def learn_here(self, host: str, rate_bytes_s: float) -> None:
        """What a copy between two pools of one host got through."""
        self.learn(host, host, rate_bytes_s, encrypted=False)

    def here(self, host: str) -> float | None:
        """What the last one did, if that was not too long ago."""
        found = self.rate(host, host)
        return found.rate_bytes_s if found and found.origin is LinkOrigin.LEARNED else None

    def rate(
        self, source: str, target: str, cards: tuple[Host, Host] | None = None
    ) -> LinkRate | None:
        """The newer of learned and probed, also where a probe has been too long ago not to be made
        again: a link on which a migration runs is not probed; else what the slower card says."""
        now, found = self._now(), []
        if learned := self._learned.get((source, target)):
            rate, at, encrypted = learned
            if now - at <= LEARNED_KEPT_S:
                found.append(LinkRate(rate, LinkOrigin.LEARNED, at, now - at, encrypted))
        if (probed := self._probed.get((source, target))) and probed.probe.rate_bytes_s:
            rate, at = probed.probe.rate_bytes_s, probed.at
            if now - at <= LEARNED_KEPT_S:
                found.append(LinkRate(rate, LinkOrigin.PROBED, at, now - at))
        if found:
            return max(found, key=lambda one: one.at)
        speeds = [host.link_speed_bytes_s for host in cards or () if host.link_speed_bytes_s]
        return LinkRate(min(speeds), LinkOrigin.CARD, now, 0.0) if speeds else None

    def probed(self, source: str, target: str) -> Probed | None:
        """The last probe, if it is not too old."""
        found = self._probed.get((source, target))
        if found is None:
            return None
        kept_s = PROBE_KEPT_S if found.probe.rate_bytes_s else FAILED_KEPT_S
        return found if self._now() - found.at <= kept_s else None

    async def probe(
        self, source: str, target: str, ends: tuple[Shell, Shell], migrate_uri: str
    ) -> Probed:
        """The last probe, or a new one. One at a time on each host: two would share its link.

        Raises:
            HostUnreachable: One of the hosts does not answer.
        """
        first, second = sorted({source, target}) if source != target else (source, "")
        async with self._lock(first), self._lock(second):
            known = self.probed(source, target)
            if known is not None:
                return known
            try:
                made = await probe_link(*ends, migrate_uri)
            except FerryError as error:
                self._keep(source, target, LinkProbe(None, error.sentence))
                raise
            return self._keep(source, target, made)

    async def probe_together(
        self, pairs: Sequence[tuple[str, str]], probes: Sequence[Callable[[], Awaitable[LinkProbe]]]
    ) -> float | None:
        """What these pairs of hosts get through at one time, in all: of a wire that they share it
        is the rate. None where one of them did not answer."""
        hosts = sorted({host for pair in pairs for host in pair})
        async with contextlib.AsyncExitStack() as held:
            for host in hosts:
                await held.enter_async_context(self._lock(host))
            try:
                made = await asyncio.gather(*(probe() for probe in probes))
            except FerryError:
                return None
        rates = [one.rate_bytes_s for one in made]
        return sum(rate for rate in rates if rate) if all(rates) else None

    def _lock(self, host: str) -> asyncio.Lock:
        return self._host_locks.setdefault(host, asyncio.Lock())

    def _keep(self, source: str, target: str, probe: LinkProbe) -> Probed:
        self._probed[source, target] = Probed(probe, self._now())
        return self._probed[source, target]
