"""The probe beside a migration: where it looks from, what it claims, and when it claims nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from backend.errors import HostUnreachable
from backend.fleet.host import HostWatch
from backend.model import Nic, Vm, VmState
from backend.remote.pinger import Probed, Probing
from backend.remote.shell import LocalShell
from backend.run import outage as outage_module
from backend.run.outage import Outage, OutageProbe
from backend.run.vantage import Place

ADDRESS = "10.77.0.103"
EPOCH_S = 1_795_492_839.0


class FakeHost:
    """As much of a HostWatch as a probe uses."""

    def __init__(self, name: str, up: bool = True) -> None:
        self.name = name
        self.shell = LocalShell() if up else None


Script = Callable[[int], bool | None]
"""Probe number -> answered; None: the stream breaks off."""


def never(_: int) -> bool:
    return False


class Network:
    """Streams of answers, by host and kind; 20 ms of the hosts' clock take 1 ms of ours."""

    def __init__(self, hosts: list[FakeHost], **answers: Script) -> None:
        self.names = {id(host.shell): host.name for host in hosts}
        self.answers = answers
        self.open: list[str] = []

    async def ping(self, place: Place, address: str, tcp: bool) -> AsyncIterator[Probing | Probed]:
        assert address == ADDRESS
        name = ("tcp_" if tcp else "") + self.names.get(id(place), "here")
        self.open.append(name)
        try:
            yield Probing("tcp" if tcp else "icmp", 20)
            for number in range(1, 60_000):
                answered = self.answers.get(name, never)(number)
                if answered is None:
                    raise HostUnreachable("The SSH connection was lost.")
                yield Probed(EPOCH_S + number * 0.02, number, answered)
                await asyncio.sleep(0.001)
        finally:
            self.open.remove(name)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage_module, "PREFER_S", 0.05)
    monkeypatch.setattr(outage_module, "LATE_S", 0.1)


def vm(address: str | None = ADDRESS) -> Vm:
    nics = (Nic("52:54:00:77:00:67", "bridge", "br0"),)
    return Vm("u", "db-1", "a", VmState.RUNNING, nics=nics, address=address)


def made(*names: str, given: str | None = None, **answers: Script) -> tuple[OutageProbe, Network]:
    hosts = [FakeHost(name) for name in names]
    network = Network(hosts, **answers)
    watches = cast(Any, {host.name: host for host in hosts})
    probe = OutageProbe(watches, watches["a"], watches["b"], vm(), given, network.ping)
    return probe, network


def always(_: int) -> bool:
    return True


async def moved(probe: OutageProbe, tail_s: float = 0.3) -> Outage:
    """A migration during which a few hundred probes are sent."""
    await probe.begin(lead_s=0.5)
    await asyncio.sleep(0.1)
    return await probe.finish(tail_s)


async def test_a_host_without_part_in_it_is_preferred() -> None:
    probe, network = made("a", "b", "c", a=always, b=always, c=always)
    outage = await moved(probe)
    assert probe.vantage == "c"
    assert outage.outage_ms == 0
    assert outage.sent > 0
    assert probe.broke == ""
    assert "c, which has no part in the move" in outage.sentence
    assert network.open == []


async def test_then_the_target_and_it_says_what_that_means() -> None:
    probe, _ = made("a", "b", "c", a=always, b=always)
    outage = await moved(probe)
    assert probe.vantage == "b"
    assert "the target b: after the move this is only the way over its own bridge" in (
        outage.sentence
    )


async def test_then_the_source_then_by_tcp() -> None:
    probe, _ = made("a", "b", a=always)
    assert "the source a" in (await moved(probe)).sentence
    probe, _ = made("a", "b", "c", tcp_c=always)
    outage = await moved(probe)
    assert (probe.vantage, outage.outage_ms) == ("c", 0)
    assert "TCP connects" in outage.sentence


async def test_the_longest_silence_and_the_losses_are_told() -> None:
    over = asyncio.Event()

    def silent_once(number: int) -> bool:
        if number == 200:
            over.set()
        return not 100 <= number < 107

    probe, _ = made("a", "b", "c", c=silent_once)
    await probe.begin(lead_s=0.5)
    await over.wait()
    assert probe.longest_gap_ms == 140
    outage = await probe.finish(0.3)
    assert outage.outage_ms == 140
    assert outage.lost == 7
    assert "silent for at most 140 ms, 7 of" in outage.sentence


async def test_one_that_never_answered_gets_no_figure() -> None:
    probe, network = made("a", "b", "c")
    outage = await moved(probe)
    assert outage.outage_ms is None
    assert probe.longest_gap_ms is None
    assert "not measured" in outage.sentence
    assert network.open == []


async def test_one_that_answers_only_after_the_move_gets_no_figure() -> None:
    ended: list[bool] = []
    probe, _ = made("a", "b", "c", c=lambda _: bool(ended))
    await probe.begin(lead_s=0.3)
    await asyncio.sleep(0.2)
    ended.append(True)
    outage = await probe.finish(0.2)
    assert outage.outage_ms is None
    assert "did not answer before the start either" in outage.sentence


async def test_one_that_stays_silent_is_told_with_the_silence_so_far() -> None:
    gone: list[bool] = []
    probe, _ = made("a", "b", "c", c=lambda _: not gone)
    await probe.begin()
    gone.append(True)
    outage = await probe.finish(0.3)
    assert outage.outage_ms is not None
    assert outage.outage_ms > 500
    assert probe.answered_after_s is None
    assert "has not answered since" in outage.sentence


async def test_a_probe_that_broke_off_claims_nothing() -> None:
    probe, _ = made("a", "b", "c", c=lambda n: True if n < 20 else None)
    await probe.begin()
    await asyncio.sleep(0.1)
    outage = await probe.finish(5.0)
    assert outage.outage_ms is None
    assert "broke off (The SSH connection was lost)" in outage.sentence
    assert "connection was lost" in probe.broke


async def test_a_wrong_address_is_not_probed() -> None:
    probe, network = made("a", "b", "c", given="10.0.0.1; reboot", c=always)
    outage = await moved(probe)
    assert outage.outage_ms is None
    assert "is not the address of a machine" in outage.sentence
    assert network.open == []


async def test_the_start_waits_no_longer_than_agreed() -> None:
    probe, _ = made("a", "b", "c")
    begun = time.monotonic()
    await probe.begin(lead_s=0.05)
    assert time.monotonic() - begun < 1.0
    await probe.close()


async def test_closing_ends_every_stream_and_finishing_twice_is_one() -> None:
    probe, network = made("a", "b", "c", c=always)
    await probe.begin()
    await probe.close()
    assert network.open == []
    probe, _ = made("a", "b", "c", c=always)
    await probe.begin()
    one, two = await asyncio.gather(probe.finish(0.3), probe.finish(0.3))
    assert one is two


async def test_closing_while_somebody_waits_for_the_end_is_told_to_them() -> None:
    probe, network = made("a", "b", "c", c=lambda n: n < 50)
    await probe.begin()
    waiting = asyncio.create_task(probe.finish(60.0))
    await asyncio.sleep(0.1)
    await probe.close()
    assert (await waiting).sentence == "outage not measured: the probe was closed"
    assert network.open == []


async def test_hosts_that_are_down_are_not_asked() -> None:
    hosts = [FakeHost("a"), FakeHost("b"), FakeHost("c", up=False)]
    network = Network(hosts, b=always)
    watches = cast(dict[str, HostWatch], {host.name: host for host in hosts})
    probe = OutageProbe(watches, watches["a"], watches["b"], vm(), None, network.ping)
    await moved(probe)
    assert probe.vantage == "b"
