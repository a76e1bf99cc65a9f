"""libvirt's events as plain values, handed from the pump's thread to the event loop.

Callbacks run in the pump: they make a value, hand it over, never call libvirt, never raise.
Their order against the return of a call is not guaranteed, and they can be missing: events
trigger, polls tell the truth.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import libvirt

from backend.hypervisor.connection import Connection, Lane


class EventKind(StrEnum):
    """What happened to a VM."""

    LIFECYCLE = "lifecycle"
    ITERATION = "iteration"
    JOB_COMPLETED = "job completed"
    IO_ERROR = "io error"
    CHANGED = "changed"
    """Its definition changed: a device came or went, a disk, its metadata."""


@dataclass(frozen=True, slots=True)
class VmEvent:
    """One event of one VM."""

    kind: EventKind
    uuid: str
    name: str
    detail: str
    """lifecycle: `stopped migrated`; io error: disk and reason; else empty."""
    number: int | None = None
    """iteration: the pass that begins, counted by QEMU; may include cancelled attempts."""
    stats: dict[str, Any] | None = None
    """job completed: libvirt's raw statistics (`stats.completed` reads them)."""


_LIFECYCLE: dict[int, tuple[str, tuple[str, ...]]] = {
    0: ("defined", ("added", "updated", "renamed", "from snapshot")),
    1: ("undefined", ("removed", "renamed")),
    2: ("started", ("booted", "migrated", "restored", "from snapshot", "wakeup", "recovered")),
    3: (
        "suspended",
        (
            "paused",
            "migrated",
            "io error",
            "watchdog",
            "restored",
            "from snapshot",
            "api error",
            "post-copy",
            "post-copy failed",
        ),
    ),
    4: (
        "resumed",
        ("unpaused", "migrated", "from snapshot", "post-copy", "post-copy failed"),
    ),
    5: (
        "stopped",
        ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot"),
    ),
    6: ("shutdown", ("finished", "by guest", "by host")),
    7: ("pm suspended", ("memory", "disk")),
    8: ("crashed", ("panicked", "crash loaded")),
}
"""virDomainEventType -> its word and those of its details, by number (libvirt-domain.h)."""


def lifecycle_words(event: int, detail: int) -> str:
    """`stopped migrated`; numbers that are not known yet stay numbers."""
    word, details = _LIFECYCLE.get(event, (f"event {event}", ()))
    return f"{word} {details[detail] if 0 <= detail < len(details) else f'detail {detail}'}"


async def subscribe(lane: Lane, on_event: Callable[[VmEvent], None]) -> None:
    """Have `on_event` called on the running loop for every event of every VM of the lane's host.

    The registration ends with the lane. Events that a driver does not know are left out.

    Raises:
        HostUnreachable, HypervisorError: as `Lane.call`.
    """
    loop = asyncio.get_running_loop()

    def hand_over(event: VmEvent) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(on_event, event)

    ids: list[int] = []
    # Before the call: one that is cancelled or overdue may still register, and what is left
    # registered keeps the connection open for good.
    lane.before_close(lambda conn: _deregister(conn, ids))
    await lane.call(lambda conn: _register(conn, ids, hand_over), 10.0, "send its events")


def _register(conn: Connection, ids: list[int], hand_over: Callable[[VmEvent], None]) -> None:
    ids.append(
        conn.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, _lifecycle, hand_over
        )
    )
    for event_id, callback in _OPTIONAL.items():
        with contextlib.suppress(libvirt.libvirtError):
            ids.append(conn.domainEventRegisterAny(None, event_id, callback, hand_over))


def _deregister(conn: Connection, ids: list[int]) -> None:
    for callback_id in ids:
        with contextlib.suppress(libvirt.libvirtError):
            conn.domainEventDeregisterAny(callback_id)


HandOver = Callable[[VmEvent], None]


def _make(kind: EventKind, dom: Any, detail: str = "", number: int | None = None) -> VmEvent:
    # Name and UUID are local to the virDomain: no call to the host.
    return VmEvent(kind, dom.UUIDString(), dom.name(), detail, number)


def _lifecycle(_conn: Any, dom: Any, event: int, detail: int, hand_over: HandOver) -> None:
    hand_over(_make(EventKind.LIFECYCLE, dom, lifecycle_words(event, detail)))


def _iteration(_conn: Any, dom: Any, iteration: int, hand_over: HandOver) -> None:
    hand_over(_make(EventKind.ITERATION, dom, number=iteration))


def _job_completed(_conn: Any, dom: Any, params: dict[str, Any], hand_over: HandOver) -> None:
    hand_over(
        VmEvent(EventKind.JOB_COMPLETED, dom.UUIDString(), dom.name(), "", None, dict(params))
    )


def _io_error(
    _conn: Any, dom: Any, path: str, alias: str, _action: int, reason: str, hand_over: HandOver
) -> None:
    hand_over(_make(EventKind.IO_ERROR, dom, f"{path or alias}: {reason or 'unknown reason'}"))


def _device(_conn: Any, dom: Any, alias: str, hand_over: HandOver) -> None:
    hand_over(_make(EventKind.CHANGED, dom, alias or ""))


def _disk_change(
    _conn: Any, dom: Any, _old: str, _new: str, alias: str, _reason: int, hand_over: HandOver
) -> None:
    hand_over(_make(EventKind.CHANGED, dom, alias or ""))


def _block_job(
    _conn: Any, dom: Any, disk: str, _kind: int, _status: int, hand_over: HandOver
) -> None:
    hand_over(_make(EventKind.CHANGED, dom, disk or ""))


def _metadata(_conn: Any, dom: Any, _kind: int, namespace: str, hand_over: HandOver) -> None:
    hand_over(_make(EventKind.CHANGED, dom, namespace or ""))


_OPTIONAL: dict[int, Callable[..., None]] = {
    libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION: _iteration,
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED: _job_completed,
    libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: _io_error,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: _device,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: _device,
    libvirt.VIR_DOMAIN_EVENT_ID_DISK_CHANGE: _disk_change,
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2: _block_job,
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: _metadata,
}
