"""A client's view of a migration: the outage, and the network after it."""

import asyncio
import contextlib
from dataclasses import dataclass

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.model import Vm
from backend.run.network_check import check_network
from backend.run.outage import OutageProbe
from backend.run.told import Told

CHECK_LIMIT_S = 8.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw."""

    outage_ms: int | None = None
    lost: int | None = None
    network: str = ""


class Onlooker:
    """Probes one VM while it moves. Nothing it meets delays or fails the migration."""

    def __init__(self, probe: OutageProbe, vm: Vm) -> None:
        self._probe = probe
        self._vm = vm
        self._begun = False

    async def begin(self) -> None:
        """Before the migrate call."""
        self._begun = True
        with contextlib.suppress(FerryError):
            await self._probe.begin()

    def tell(self, told: Told) -> None:
        """What is seen so far, where it has changed."""
        gap_ms, sentence = self._probe.longest_gap_ms, self._probe.sentence
        state = told.state
        if (state.outage_ms, state.probe) != (gap_ms, sentence):
            told.update(outage_ms=gap_ms, probe=sentence)

    async def finish(self, target: HostWatch, moved: bool) -> Seen:
        """After the call: the figure, and for a VM that moved the check of its network."""
        if not self._begun:
            return Seen()
        ended = asyncio.create_task(self._probe.finish())
        network = ""
        if moved:
            with contextlib.suppress(FerryError, TimeoutError):
                async with asyncio.timeout(CHECK_LIMIT_S):
                    network = await check_network(target, self._vm, self._probe)
        outage = await ended
        lost = outage.lost if outage.outage_ms is not None else None
        said = [part for part in (network, outage.sentence) if part]
        return Seen(outage.outage_ms, lost, "; ".join(said))

    async def close(self) -> None:
        """End the probes, wherever they stand."""
        await self._probe.close()
