"""Events of libvirt's test driver reach the loop as plain values, in time."""

import asyncio
import threading

import pytest

from backend.hypervisor import domains, events
from backend.hypervisor.connection import Connection, Lane
from backend.hypervisor.events import EventKind, VmEvent, lifecycle_words, subscribe
from backend.hypervisor.pump import ensure_pump, stop_pump

TEST_UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


def destroy(conn: Connection) -> None:
    conn.lookupByUUIDString(TEST_UUID).destroy()


def create(conn: Connection) -> None:
    conn.lookupByUUIDString(TEST_UUID).create()


async def events_of(lane: Lane, wanted: int) -> list[VmEvent]:
    seen: list[VmEvent] = []
    enough = asyncio.Event()

    def take(event: VmEvent) -> None:
        seen.append(event)
        if len(seen) >= wanted:
            enough.set()

    await subscribe(lane, take)
    await lane.call(destroy)
    await lane.call(create)
    async with asyncio.timeout(3):
        await enough.wait()
    return seen


async def test_a_vm_that_stops_and_starts_says_so() -> None:
    lane = Lane("kvm-a", "control", "test:///default")
    await lane.open()
    seen = await events_of(lane, 2)
    await lane.close()
    assert [event.detail for event in seen] == ["stopped destroyed", "started booted"]
    assert {(event.kind, event.uuid, event.name) for event in seen} == {
        (EventKind.LIFECYCLE, TEST_UUID, "test")
    }


async def test_events_come_again_after_the_pump_was_stopped() -> None:
    ensure_pump()
    ensure_pump()
    stop_pump()
    stop_pump()
    lane = Lane("kvm-a", "control", "test:///default")
    await lane.open()
    assert len(await events_of(lane, 2)) == 2
    await lane.close()


async def test_nothing_comes_after_the_lane_closed() -> None:
    watched = Lane("kvm-a", "control", "test:///default")
    other = Lane("kvm-a", "other", "test:///default")
    await watched.open()
    await other.open()
    seen: list[VmEvent] = []
    await subscribe(watched, seen.append)
    await watched.close()
    await other.call(destroy)
    await other.call(create)
    assert (await other.call(lambda conn: domains.presence(conn, TEST_UUID))).active
    await asyncio.sleep(0.1)
    await other.close()
    assert seen == []


async def test_a_lane_closes_also_when_its_subscription_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    register = events._register

    def slowly(conn: Connection, ids: list[int], hand_over: events.HandOver) -> None:
        begun.set()
        go_on.wait(10)
        register(conn, ids, hand_over)

    monkeypatch.setattr(events, "_register", slowly)
    lane = Lane("kvm-a", "control", "test:///default")
    await lane.open()
    subscribing = asyncio.create_task(subscribe(lane, lambda _event: None))
    await asyncio.to_thread(begun.wait, 10)
    subscribing.cancel()
    await asyncio.wait({subscribing})
    go_on.set()
    await lane.close()
    # `nothing_left_open` says whether it did


def test_numbers_that_are_not_known_stay_numbers() -> None:
    assert lifecycle_words(5, 3) == "stopped migrated"
    assert lifecycle_words(5, 99) == "stopped detail 99"
    assert lifecycle_words(77, 1) == "event 77 detail 1"
    assert lifecycle_words(0, -1) == "defined detail -1"
