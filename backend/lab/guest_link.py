"""Talking to the guests: one line of text each way, over TCP, from inside the lab's network."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backend.lab.errors import LabError, LabUsageError
from backend.lab.layout import GUEST_PORT, Lab, LabVm
from backend.lab.netns import connect

_MAX_REPLY = 4096


@dataclass(frozen=True, slots=True)
class GuestReport:
    """What a guest says of itself."""

    write_bytes_s: int
    over_bytes: int
    work_bytes: int
    memory_ok: bool
    disk_bytes: int
    uptime_s: float
    disk_write_bytes_s: int = 0
    disk_over_bytes: int = 0
    disk_blocks: int = 0
    """Blocks of 64 KiB it wrote to its disk."""
    disk_errors: int = 0
    disk_ok: bool = True
    """No read or write of its disk failed, and all that was read back was right."""


def guest_report(lab: Lab, vm: LabVm, timeout_s: float = 2) -> GuestReport | None:
    """Ask from the operator's side; None if there is no answer."""
    with suppress(OSError, LabError):
        return parse_report(_ask(lab.operator_netns, vm, "status", timeout_s))
    return None


def set_writer(lab: Lab, vm: LabVm, write_bytes_s: int, over_bytes: int | None) -> GuestReport:
    """Make a guest write that much from now on; without a size it keeps the one it has.

    A guest behind a cut link is asked from its host's side of the cut.
    """
    for netns in (lab.operator_netns, *(host.netns for host in lab.hosts)):
        with suppress(OSError):
            if over_bytes is None:
                kept = parse_report(_ask(netns, vm, "status", 2)).over_bytes
                over_bytes = kept or 100_000_000
            return parse_report(_ask(netns, vm, f"write {write_bytes_s} {over_bytes}", 5))
    raise LabError(
        f"{vm.name} does not answer on {vm.address}, so its writer was not changed. "
        "See: virt-ferry lab status."
    )


def set_disk_writer(lab: Lab, vm: LabVm, write_bytes_s: int, over_bytes: int) -> GuestReport:
    """Make a guest write that much to its disk from now on, over and over a part so large."""
    try:
        return parse_report(_ask(lab.operator_netns, vm, f"disk {write_bytes_s} {over_bytes}", 5))
    except OSError:
        raise LabError(
            f"{vm.name} does not answer on {vm.address}, so its disk's writer was not changed. "
            "See: virt-ferry lab status."
        ) from None


def await_guest(lab: Lab, vm: LabVm, deadline: float) -> GuestReport:
    """Wait until a guest answers; `deadline` is on the monotonic clock."""
    while time.monotonic() < deadline:
        report = guest_report(lab, vm, timeout_s=1)
        if report is not None:
            return report
        time.sleep(0.1)
    raise LabError(
        f"{vm.name} does not answer on {vm.address} though it runs. Its console is "
        f"{lab.state}/hosts/*/log/qemu/{vm.name}.console; to start afresh: virt-ferry lab down, "
        "then virt-ferry lab up."
    )


def parse_report(line: str) -> GuestReport:
    """A guest's answer; LabUsageError if the guest refused, LabError if it is no answer."""
    try:
        raw: dict[str, Any] = json.loads(line)
        if "error" in raw:
            raise LabUsageError(f"The guest refused: {raw['error']}.")
        return GuestReport(
            write_bytes_s=int(raw["write_rate"]),
            over_bytes=int(raw["over_bytes"]),
            work_bytes=int(raw["work_bytes"]),
            memory_ok=bool(raw["memory_ok"]),
            disk_bytes=int(raw["disk_bytes"]),
            uptime_s=float(raw["uptime_s"]),
            # A guest that was booted by an earlier version has none of these.
            disk_write_bytes_s=int(raw.get("disk_rate", 0)),
            disk_over_bytes=int(raw.get("disk_over_bytes", 0)),
            disk_blocks=int(raw.get("disk_blocks", 0)),
            disk_errors=int(raw.get("disk_errors", 0)),
            disk_ok=bool(raw.get("disk_ok", True)),
        )
    except (ValueError, KeyError, TypeError):
        raise LabError(f"A guest answered something else than its report: {line[:80]!r}") from None


def _ask(netns: str, vm: LabVm, line: str, timeout_s: float) -> str:
    with connect(netns, vm.address, GUEST_PORT, timeout_s) as connection:
        connection.sendall(line.encode() + b"\n")
        reply = b""
        while not reply.endswith(b"\n") and len(reply) < _MAX_REPLY:
            part = connection.recv(_MAX_REPLY)
            if not part:
                raise ConnectionResetError("the guest hung up")
            reply += part
    return reply.decode(errors="replace").strip()
