"""A call that gets stuck costs its lane, not its host: on libvirt's test driver."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from backend.errors import CallTimedOut, HostUnreachable
from backend.fleet.guests import Guests
from backend.fleet.lanes import Lanes, Use
from backend.fleet.poll import Poll
from backend.hypervisor import domains
from backend.hypervisor.connection import Connection, Lane

URI = "test:///default"


class Greeted:
    """Counts the control lanes that were made."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, _lane: Lane) -> None:
        self.count += 1


@pytest.fixture
def greeted() -> Greeted:
    return Greeted()


@pytest.fixture
async def lanes(greeted: Greeted) -> AsyncIterator[Lanes]:
    made = Lanes("kvm-a", greeted)
    made.begin()
    for use in Use:
        await made.open(use, URI)
    yield made
    await made.close()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends whatever hangs."""
    event = threading.Event()
    yield event
    event.set()


async def hang(lanes: Lanes, use: Use, release: threading.Event) -> None:
    with pytest.raises(CallTimedOut):
        await lanes.call(use, lambda _: release.wait(20), 0.2, "answer")


@pytest.mark.parametrize("use", Use)
async def test_a_stuck_lane_is_made_anew_and_the_host_is_not_lost(
    lanes: Lanes, greeted: Greeted, release: threading.Event, use: Use
) -> None:
    await hang(lanes, use, release)
    assert lanes.usable
    assert await lanes.call(use, lambda conn: conn.getHostname() != "", 5.0, "say its name")
    assert not lanes.lost.done()
    assert greeted.count == (2 if use is Use.CONTROL else 1), "its events are wanted again"


async def test_a_host_that_takes_no_new_connection_is_lost(
    lanes: Lanes, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise HostUnreachable("nobody there")

    monkeypatch.setattr(Lane, "open", refused)
    await hang(lanes, Use.STATISTICS, release)
    assert not await lanes.renewed(Use.STATISTICS)
    assert "lost" in await asyncio.wait_for(lanes.lost, 1)


async def test_a_connection_that_libvirt_calls_closed_loses_the_host(lanes: Lanes) -> None:
    lane = lanes._lanes[Use.STATISTICS]
    lane._lost("the host closed it")
    assert "the host closed it" in await asyncio.wait_for(lanes.lost, 1)


async def test_closing_renews_nothing(lanes: Lanes) -> None:
    await lanes.close()
    assert not lanes.known
    assert not lanes.lost.done()
    with pytest.raises(HostUnreachable):
        await lanes.call(Use.CONTROL, lambda _: 1, 1.0, "answer")


async def test_a_look_that_one_qemu_holds_up_is_made_again(
    lanes: Lanes, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the daemon has it: the first who asks a QEMU that hangs waits, those after it do not."""
    asked = 0
    real = domains.read_statistics

    def read(conn: Connection, blocks: bool = False) -> list[domains.RawStats]:
        nonlocal asked
        asked += 1
        if asked == 1:
            release.wait(20)
        return real(conn, blocks)

    monkeypatch.setattr(domains, "read_statistics", read)
    monkeypatch.setattr("backend.fleet.poll.POLL_LIMIT_S", 0.3)
    guests = Guests("kvm-a", {})
    poll = Poll("kvm-a", lanes, guests, dict, lambda _: None)
    await poll.look()
    assert [vm.name for vm in guests.vms] == ["test"]
    assert (poll.looks, asked) == (1, 2)
    assert not lanes.lost.done()


async def test_the_vm_at_which_the_jobs_got_stuck_is_told(
    lanes: Lanes, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(_conn: Connection, _uuid: str) -> None:
        release.wait(20)

    monkeypatch.setattr(domains, "read_active_job", stuck)
    monkeypatch.setattr("backend.fleet.poll.POLL_LIMIT_S", 0.3)
    told: list[str] = []
    guests = Guests("kvm-a", {})
    monkeypatch.setattr(guests, "unheard", told.extend)
    poll = Poll("kvm-a", lanes, guests, dict, lambda _: None)
    await poll.look()
    (vm,) = guests.vms
    assert told == [vm.uuid, vm.uuid], "it was asked again, as nobody heeded"


async def test_where_many_hang_the_host_stays_up_and_the_qemus_are_left_alone(
    lanes: Lanes, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def read(_conn: Connection, blocks: bool = False) -> list[domains.RawStats]:
        nonlocal asked
        asked += 1
        release.wait(20)
        return []

    monkeypatch.setattr(domains, "read_statistics", read)
    monkeypatch.setattr("backend.fleet.poll.POLL_LIMIT_S", 0.3)
    guests, up = Guests("kvm-a", {}), asyncio.Event()
    poll = Poll("kvm-a", lanes, guests, dict, lambda _: up.set())
    for _ in range(3):
        await poll.look()
    assert asked == 2, "the third look is too soon after the first"
    assert [(vm.name, vm.state.value) for vm in guests.vms] == [("test", "running")]
    assert up.is_set()
    assert not lanes.lost.done()


async def test_a_libvirt_that_tells_nothing_at_all_is_not_up(
    lanes: Lanes, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_conn: Connection, blocks: bool = False) -> list[domains.RawStats]:
        release.wait(20)
        return []

    for name in ("read_statistics", "read_states"):
        monkeypatch.setattr(domains, name, read)
    monkeypatch.setattr("backend.fleet.poll.POLL_LIMIT_S", 0.3)
    poll = Poll("kvm-a", lanes, Guests("kvm-a", {}), dict, lambda _: None)
    with pytest.raises(CallTimedOut):
        await poll.look()
