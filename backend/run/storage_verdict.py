"""What became of disks that were to move between pools: a judgement from what their host says of
the VM, and from nothing else. Pure.
"""

from collections.abc import Iterator, Sequence

from backend.errors import word
from backend.hypervisor.block_copy import DiskSeen, VmSeen
from backend.model import DiskMove, Outcome
from backend.run.verdict import Judgement

NOWHERE = DiskSeen()


def unfinished(moves: Sequence[DiskMove], seen: VmSeen) -> tuple[str, ...]:
    """Disks that a block job still copies to where we would have them."""
    return tuple(
        move.target
        for move in moves
        if seen.disks.get(move.target, NOWHERE).mirror == move.destination
    )


def to_store(moves: Sequence[DiskMove], seen: VmSeen) -> dict[str, str]:
    """New paths by disk which the running VM is on and its stored definition does not name."""
    found = {}
    for move in moves:
        disk = seen.disks.get(move.target, NOWHERE)
        wanted = move.destination or ""
        if seen.active and seen.persistent and disk.live == wanted and disk.stored != wanted:
            found[move.target] = wanted
    return found


def in_use(moves: Sequence[DiskMove], seen: VmSeen) -> frozenset[str]:
    """New images that the VM is on, or would start from."""
    return frozenset(
        move.destination
        for move in moves
        if move.destination is not None
        and move.destination in _paths(seen.disks.get(move.target, NOWHERE))
    )


def judge_disks(vm: str, host: str, moves: Sequence[DiskMove], seen: VmSeen | None) -> Judgement:
    """All on their new images: moved; else it stayed. Never a guess: silence means `unknown`."""
    if seen is None:
        return Judgement(
            Outcome.UNKNOWN,
            None,
            f"{host} did not answer, so which images {vm} is on is not known. Remove neither the"
            " old nor the new; it is asked again until it is known.",
            settled=False,
        )
    if not seen.defined:
        return Judgement(
            Outcome.LOST,
            None,
            f"{host} has no {vm} any more: it was transient and has ended, or somebody undefined"
            " it. Both images of each disk are kept.",
        )
    runs = f"{vm} runs on {host}" if seen.active else f"{vm} is shut off on {host}"
    whole = [move for move in moves if _moved(move, seen)]
    if len(whole) == len(moves):
        return Judgement(Outcome.MOVED, host, f"{runs}, {_places(whole)}.")
    if not in_use(moves, seen):
        return Judgement(Outcome.STAYED, host, f"{runs}, its disks are where they were.")
    left = tuple(_half(vm, host, moves, seen))
    reason = f"{runs}, and some of its disks have moved and some have not."
    return Judgement(Outcome.STAYED, host, reason, leftovers=left)


def _places(moves: Sequence[DiskMove]) -> str:
    return ", ".join(f"{move.target} is {move.destination} now" for move in moves)


def _half(vm: str, host: str, moves: Sequence[DiskMove], seen: VmSeen) -> Iterator[str]:
    for move in moves:
        disk = seen.disks.get(move.target, NOWHERE)
        if _moved(move, seen):
            yield f"{move.target} is {move.destination} on {host} now; its old image was kept"
        elif move.destination in _paths(disk):
            yield (
                f"{move.target} runs from {disk.live or 'nothing'} and its stored definition names"
                f" {disk.stored or 'nothing'}: virsh edit {word(vm)} on {host}"
            )


def _moved(move: DiskMove, seen: VmSeen) -> bool:
    """On the new image, now and at its next start."""
    disk = seen.disks.get(move.target, NOWHERE)
    named = [disk.live] * seen.active + [disk.stored] * seen.persistent
    return bool(named) and all(path == move.destination for path in named)


def _paths(disk: DiskSeen) -> tuple[str, str]:
    return disk.live, disk.stored
