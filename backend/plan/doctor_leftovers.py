"""Findings about what a migration may leave behind: limits on VMs, and images. Pure.

Images that no VM names are told, with their sizes, and never called wrong: only their owner knows.
"""

import re
import shlex
from collections.abc import Iterator

from backend.model import FleetFinding, Grade, VmState
from backend.plan.doctor_facts import Copy, FleetFacts, Volume, finding, listed
from backend.plan.wording import memory, rate

QEMU_PAUSE_MS = 300
"""QEMU's own pause limit: what every VM has until somebody sets another."""
UNLIMITED_MIB_S = 8796093022207
"""What libvirt takes for "no limit"."""
_UNFINISHED = re.compile(r"\.part-([0-9a-f]{6})$")
"""The name under which a cold move copies an image: run.cold_disks."""
_AT_WORK_S = 600
"""An unfinished image written to within this time may belong to another user's engine."""
_SHOWN = 5

_Identity = tuple[str, tuple[int, int] | str]


def limits(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Pause limits, bandwidths and suspensions on VMs that do not move."""
    for copy in facts.copies():
        if copy.deaf:
            yield _deaf(copy)
        if copy.active and not copy.migrates and copy.uuid not in facts.moving:
            yield from _limits(copy)
            yield from _suspended(copy, copy.uuid in facts.suspended)


def _deaf(copy: Copy) -> FleetFinding:
    return finding(
        "vm-qemu-silent",
        Grade.REMARK,
        (copy.host,),
        f"the QEMU of {copy.name} on {copy.host} did not answer in time: it is busy, or hangs; what"
        " only it knows (its limits, whether it migrates) is not known",
        f"Examine again; if it stays so: on {copy.host}: virsh domcontrol {copy.uuid}, and its log"
        " in /var/log/libvirt/qemu",
        copy.name,
    )


def _limits(copy: Copy) -> Iterator[FleetFinding]:
    if copy.pause_ms is not None and copy.pause_ms != QEMU_PAUSE_MS:
        yield finding(
            "limit-pause",
            Grade.MEND,
            (copy.host,),
            f"{copy.name} on {copy.host} has a pause limit of {copy.pause_ms} ms and does not move"
            f" (QEMU's own is {QEMU_PAUSE_MS} ms)",
            f"On {copy.host}: virsh migrate-setmaxdowntime {copy.uuid} {QEMU_PAUSE_MS}",
            copy.name,
        )
    if copy.bandwidth_bytes_s is not None:
        yield finding(
            "limit-bandwidth",
            Grade.MEND,
            (copy.host,),
            f"{copy.name} on {copy.host} may migrate at {rate(copy.bandwidth_bytes_s)} at most and"
            " does not move",
            f"On {copy.host}: virsh migrate-setspeed {copy.uuid} {UNLIMITED_MIB_S}",
            copy.name,
        )


def _suspended(copy: Copy, ours: bool) -> Iterator[FleetFinding]:
    if copy.state is not VmState.PAUSED or copy.reason not in ("user", "io error"):
        return
    if copy.reason == "io error":
        sentence = f"{copy.name} on {copy.host} is paused by an I/O error of one of its disks"
        remedy = (
            f"On {copy.host}: virsh domblkerror {copy.uuid}; mend the storage, then virsh resume"
            f" {copy.uuid}"
        )
        yield finding("vm-io-error", Grade.MEND, (copy.host,), sentence, remedy, copy.name)
        return
    who = "by a migration of this engine" if ours else "by somebody"
    yield finding(
        "vm-suspended",
        Grade.MEND if ours else Grade.REMARK,
        (copy.host,),
        f"{copy.name} on {copy.host} is suspended {who}, and does not move",
        f"If nobody wants it so: on {copy.host}: virsh resume {copy.uuid}",
        copy.name,
    )


# -- images ----------------------------------------------------------------------------------


def volumes(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Unfinished copies, images kept at a source, and those that no VM names."""
    used = {
        (path, identity) for checkup in facts.hosts for path, identity in checkup.images.items()
    }
    unused: dict[tuple[tuple[str, ...], str], list[Volume]] = {}
    for hosts, volume in _together(facts):
        if volume.identity is not None and (volume.path, volume.identity) in used:
            continue
        owner = next((one for one in facts.copies() if volume.path in one.images), None)
        if found := _UNFINISHED.search(volume.name):
            if found.group(1) not in facts.open_moves:
                yield _unfinished(volume, hosts, found.group(1))
        elif owner is not None:
            # Without a look at the files it may be the very same, on shared storage.
            if volume.identity is not None:
                yield _kept(volume, hosts, owner)
        else:
            unused.setdefault((hosts, volume.pool), []).append(volume)
    for (hosts, pool), some in unused.items():
        yield _unused(hosts, pool, some, facts.silent)


def _together(facts: FleetFacts) -> Iterator[tuple[tuple[str, ...], Volume]]:
    """Each image once, with every host that sees it."""
    seen: dict[_Identity, list[Volume]] = {}
    for checkup in facts.hosts:
        for volume in checkup.volumes or ():
            key = (volume.path, volume.identity or volume.host)
            seen.setdefault(key, []).append(volume)
    for same in seen.values():
        yield tuple(volume.host for volume in same), same[0]


def _unfinished(volume: Volume, hosts: tuple[str, ...], id: str) -> FleetFinding:
    at_work = volume.idle_s is not None and volume.idle_s < _AT_WORK_S
    what = f"{volume.path} on {listed(hosts)}{_size(volume)} is an unfinished copy of move {id}"
    if at_work:
        sentence = f"{what}, written to {volume.idle_s} s ago: another engine may be at work"
        remedy = f"Examine again later; if nobody copies: {_delete(volume)}"
    else:
        sentence = f"{what}, which is not under way"
        remedy = _delete(volume)
    return finding(
        "volume-unfinished", Grade.REMARK if at_work else Grade.MEND, hosts, sentence, remedy
    )


def _kept(volume: Volume, hosts: tuple[str, ...], owner: Copy) -> FleetFinding:
    return finding(
        "volume-kept",
        Grade.REMARK,
        hosts,
        f"{volume.path} on {listed(hosts)}{_size(volume)} is not the image that {owner.name} uses"
        f" on {owner.host}: kept after a move, or left of one that failed",
        f"Once you do not want it back: {_delete(volume)}",
        owner.name,
    )


def _unused(
    hosts: tuple[str, ...], pool: str, some: list[Volume], silent: tuple[str, ...]
) -> FleetFinding:
    by_size = sorted(some, key=lambda one: one.allocated_bytes or 0, reverse=True)
    shown = [f"{one.name}{_size(one)}" for one in by_size]
    heard = f" ({listed(silent)} cannot be asked)" if silent else ""
    total = sum(one.allocated_bytes or 0 for one in some)
    many = f"{len(some)} images" if len(some) > 1 else "an image"
    which = f"{many}, {memory(total)}," if total and len(some) > 1 else many
    return finding(
        "volume-unused",
        Grade.REMARK,
        hosts,
        f"pool {pool} of {listed(hosts)} holds {which} that no VM names{heard}:"
        f" {listed(shown, _SHOWN)}",
        "Nothing has to be done: they may be templates, media or backups.",
    )


def _size(volume: Volume) -> str:
    return "" if volume.allocated_bytes is None else f" ({memory(volume.allocated_bytes)})"


def _delete(volume: Volume) -> str:
    pool, name = shlex.quote(volume.pool), shlex.quote(volume.name)
    return f"on {volume.host}: virsh vol-delete --pool {pool} {name}"
