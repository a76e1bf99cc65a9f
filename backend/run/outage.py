"""The outage: how long a client on the network did not hear a VM while it moved.

    probe = OutageProbe(hosts, source, target, vm)
    await probe.begin()                 # before the migrate call; 1 s at most
    ...                                 # probe.longest_gap_ms, probe.sentence: live
    outage = await probe.finish()       # after it; 5 s at most

The outage is the longest time between two consecutive answers to the probes, less one interval,
between the migrate call and up to 5 s after its end. Nothing here delays or fails a migration.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.model import Vm
from backend.remote import pinger
from backend.run.addresses import FoundAddress, find_address, told_address
from backend.run.vantage import vantages
from backend.run.vantage_probe import Pinger, VantageProbe, close_all

log = logging.getLogger(__name__)

LEAD_S = 1.0
"""A migration waits no longer than this for its probe."""
PREFER_S = 0.7
"""So long a worse vantage that answers waits for a better one; then TCP is tried too."""
LATE_S = 2.0
"""A first answer later than this after the start says nothing of before."""
TAIL_S = 5.0
STEADY_S = 1.0
"""Answers without a break for so long after the end: the outage is over, no need to wait on."""
STALL_S = 2.0
"""A probe that printed nothing for so long is not one whose VM is silent."""
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Outage:
    """What the probe saw between the migrate call and after its end."""

    outage_ms: int | None
    """The longest silence; None where it was not measured, `sentence` says why."""
    sent: int
    lost: int
    sentence: str


class OutageProbe:
    """Probes one VM's address while it moves. `begin` once, then `finish` or `close`."""

    def __init__(
        self,
        hosts: Mapping[str, HostWatch],
        source: HostWatch,
        target: HostWatch,
        vm: Vm,
        address: str | None = None,
        ping: Pinger = lambda place, to, tcp: pinger.probe(place, to, tcp=tcp),
    ) -> None:
        """`address`: what the operator gave; None: found out. `ping` is replaced in tests."""
        self._hosts, self._source, self._target = hosts, source, target
        self._vm = vm
        self._given = address
        self._ping = ping
        self._found: FoundAddress | None = told_address(vm, address)
        self._news = asyncio.Event()
        self._probes: list[VantageProbe] = []
        self._chosen: VantageProbe | None = None
        self._starting: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[Outage] | None = None
        self._began_s: float | None = None
        self._ended_s: float | None = None
        self._broke: str | None = None
        """Settled at the end: closing the probe is no breaking off."""

    @property
    def address(self) -> FoundAddress | None:
        """What is probed and who says so; None while it is being found out."""
        return self._found

    @property
    def vantage(self) -> str | None:
        """The host that probes; None while none answers or none was chosen."""
        return self._chosen.vantage.name if self._chosen else None

    @property
    def longest_gap_ms(self) -> int | None:
        """So far, a silence that still lasts included; None while there is no figure."""
        chosen = self._chosen
        return chosen.meter.longest_gap_ms if chosen and self._answered_before(chosen) else None

    @property
    def answered_before(self) -> bool:
        """The VM answered before it moved: only then can its silence be measured."""
        return self._chosen is not None and self._answered_before(self._chosen)

    @property
    def answered_after_s(self) -> float | None:
        """From `finish` to the first answer since; None: none yet."""
        return self._chosen.meter.answered_after_s if self._chosen else None

    @property
    def broke(self) -> str:
        """Why the probe itself came to an end before it was ended; empty: it did not."""
        if self._broke is not None:
            return self._broke
        return self._chosen.broke(STALL_S) if self._chosen else ""

    @property
    def sentence(self) -> str:
        """What is being measured, for the live screen."""
        if self._found is None:
            return f"finding out the address of {self._vm.name}"
        if self._found.value is None:
            return f"outage not measured: {self._found.origin}"
        if self._chosen is None:
            return f"looking for a host that {self._found.value} answers"
        if not self.answered_before:
            return f"{self._found.value} does not answer {self._chosen.vantage.name}"
        if self.broke:
            return f"the probe from {self._chosen.vantage.name} broke off: {self.broke}"
        return f"{self._found.value} {self._chosen.words}"

    async def begin(self, lead_s: float = LEAD_S) -> None:
        """Start probing; returns when the VM answers, or after `lead_s`. Never raises."""
        self._starting = asyncio.create_task(self._start(), name=f"outage-{self._vm.name}")
        await asyncio.wait({self._starting}, timeout=lead_s)
        self._began_s = time.monotonic()
        for probe in self._probes:
            probe.open_window()

    async def finish(self, tail_s: float = TAIL_S) -> Outage:
        """Measure on until the VM has answered steadily for 1 s, at most `tail_s`; then end.

        Asked twice (also at once), it gives the same. Never raises.
        """
        if self._finishing is None:
            self._ended_s = time.monotonic()
            self._finishing = asyncio.create_task(self._finish(tail_s))
        await asyncio.wait({self._finishing})
        if self._finishing.cancelled():
            return Outage(None, 0, 0, "outage not measured: the probe was closed")
        return self._finishing.result()

    async def close(self) -> None:
        """End the probes at once, wherever it stands."""
        for task in (self._starting, self._finishing):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await self._close_probes()

    # -- starting ------------------------------------------------------------------------------

    async def _start(self) -> None:
        try:
            if self._found is None:
                self._found = await find_address(self._vm, self._source, self._hosts, self._given)
            if self._found.value is not None:
                await self._choose(self._found.value)
        except FerryError as error:
            log.info("outage of %s: %s", self._vm.name, error)
        except Exception:
            log.exception("outage of %s", self._vm.name)

    async def _choose(self, address: str) -> None:
        """Probe from everywhere at once, keep the best place that is answered."""
        for vantage in vantages(self._hosts, self._source, self._target):
            self._add(VantageProbe(vantage, address, False, self._ping, self._news))
        await self._wait_for(self._probes[:1], PREFER_S)
        if not any(probe.answered for probe in self._probes):
            first = self._probes[0]
            self._add(VantageProbe(first.vantage, address, True, self._ping, self._news))
            await self._wait_for(self._probes, LATE_S)
        best = next((probe for probe in self._probes if probe.answered), self._probes[0])
        self._chosen = best
        others = [probe for probe in self._probes if probe is not best]
        self._probes = [best]
        await close_all(others)

    def _add(self, probe: VantageProbe) -> None:
        self._probes.append(probe)
        if self._began_s is not None:
            probe.open_window()

    async def _wait_for(self, wanted: list[VantageProbe], limit_s: float) -> None:
        until_s = time.monotonic() + limit_s
        while not any(probe.answered for probe in wanted) and time.monotonic() < until_s:
            await self._wait_for_news(until_s - time.monotonic())

    async def _wait_for_news(self, limit_s: float) -> None:
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._news.wait()

    def _answered_before(self, probe: VantageProbe) -> bool:
        first_s, began_s = probe.meter.first_answer_s, self._began_s
        if first_s is None or began_s is None:
            return False
        return first_s <= began_s + LATE_S and (self._ended_s is None or first_s < self._ended_s)

    # -- ending --------------------------------------------------------------------------------

    async def _finish(self, tail_s: float) -> Outage:
        try:
            if self._starting is not None and not self._starting.done():
                self._starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._starting
            chosen, ended_s = self._chosen, self._ended_s or time.monotonic()
            if chosen is not None:
                chosen.meter.mark_end(ended_s)
                while self._worth_waiting(chosen, ended_s + tail_s):
                    await self._wait_for_news(_LOOK_S)
            self._broke = self.broke
            return self._outage(chosen)
        finally:
            await self._close_probes()

    def _worth_waiting(self, chosen: VantageProbe, until_s: float) -> bool:
        going = self._answered_before(chosen) and not chosen.ended
        return going and chosen.meter.steady_s < STEADY_S and time.monotonic() < until_s

    def _outage(self, chosen: VantageProbe | None) -> Outage:
        found = self._found
        if found is None or found.value is None:
            why = found.origin if found else "its address was not found out in time."
            return Outage(None, 0, 0, f"outage not measured: {why}")
        if chosen is None:
            return Outage(None, 0, 0, "outage not measured: no host answered in time to probe.")
        meter, who = chosen.meter, f"{found.value} ({found.origin})"
        if self.broke:
            so_far = f"; until then {meter.longest_gap_ms} ms" if self.answered_before else ""
            return Outage(
                None,
                meter.sent,
                meter.lost,
                f"outage not measured: the probe from {chosen.vantage.name} broke off "
                f"({self.broke.rstrip('.')}){so_far}",
            )
        if not self.answered_before:
            return Outage(
                None,
                meter.sent,
                meter.lost,
                f"outage not measured: {who} did not answer before the start either, "
                f"{chosen.words}",
            )
        silent = (
            "was silent for at most"
            if meter.answered_after_s is not None
            else ("has not answered since: silent for")
        )
        return Outage(
            meter.longest_gap_ms,
            meter.sent,
            meter.lost,
            f"{who} {silent} {meter.longest_gap_ms} ms, {meter.lost} of {meter.sent} probes lost; "
            f"{chosen.words}",
        )

    async def _close_probes(self) -> None:
        probes, self._probes = self._probes, []
        await close_all(probes)
