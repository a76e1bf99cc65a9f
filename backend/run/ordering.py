"""From what a plan has found to the order libvirt is given. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from backend.hypervisor.migrate import MigrationOrder
from backend.hypervisor.target_xml import Changes
from backend.model import CopyRoute, DiskAction, DiskMove, MoveOptions, Tuning
from backend.plan.disks import disks_of
from backend.plan.facts import Survey, renamed
from backend.plan.preflight import needs_unsafe


def order_for(
    facts: Survey,
    target_uri: str,
    encrypted: bool,
    moves: Sequence[DiskMove],
    tuning: Tuning,
    options: MoveOptions,
) -> MigrationOrder:
    """What libvirt is asked to do with this VM."""
    vm = facts.vm
    return MigrationOrder(
        uuid=vm.uuid,
        vm=vm.name,
        target_uri=target_uri,
        persistent=vm.persistent,
        tls=encrypted,
        unsafe=needs_unsafe(facts),
        bandwidth_bytes_s=options.bandwidth_bytes_s,
        throttle_start_percent=tuning.throttle_start_percent,
        throttle_step_percent=tuning.throttle_step_percent,
        post_copy=tuning.post_copy,
        compression=tuning.compression,
        streams=tuning.streams,
        copy_disks=tuple(move.target for move in _copied(moves)),
        changes=changes(facts, moves),
    )


@dataclass(frozen=True, slots=True)
class ColdOrder:
    """What moving a VM that does not run takes beside its definition's changes."""

    route: CopyRoute
    address: str
    """What the source calls the target."""
    images: tuple[str, ...]
    """Paths at the source that nobody may start it on meanwhile."""
    copies: int
    """How many of them are copied."""
    shutdown_s: float | None = None


def cold_order(facts: Survey, moves: Sequence[DiskMove], options: MoveOptions) -> ColdOrder:
    """For a VM that is moved while it does not run."""
    written = (DiskAction.COPY, DiskAction.SHARED)
    held = [one.source for one in moves if one.action in written and one.source[:1] == "/"]
    held += [one.source for move in moves for one in move.layers if not one.stays]
    return ColdOrder(
        route=facts.copy_route,
        address=host_of(facts.migrate_uri),
        images=tuple(dict.fromkeys(held)),
        copies=len(_copied(moves)),
        shutdown_s=options.shutdown_s,
    )


def host_of(uri: str) -> str:
    """The host that a migration URI names; empty for none."""
    return urlsplit(uri).hostname or ""


def changes(facts: Survey, moves: Sequence[DiskMove]) -> Changes:
    """New paths, where they differ; new names of networks that the VM is on.

    A disk named by pool and volume is named by its path from then on: that pool may be called
    otherwise at the target.
    """
    by_volume = {disk.target for disk in disks_of(facts) if disk.kind == "volume"}
    nics = facts.definition.nics if facts.definition else ()
    used = {nic.source for nic in nics if renamed(nic, facts.networks) != nic}
    return Changes(
        disks={
            move.target: move.destination
            for move in _copied(moves)
            if move.destination is not None
            and (_moves(move) or move.target in by_volume or move.flattened)
        },
        images={
            was: new
            for move in _copied(moves)
            for was, new in moved_images(move).items()
            if was != new
        },
        detecting=frozenset(move.target for move in _copied(moves) if move.finds_zeroes),
        networks={was: new for was, new in facts.networks.items() if was in used},
    )


def moved_images(move: DiskMove) -> dict[str, str]:
    """Of a disk that is copied: each of its images' old path, with the new one."""
    below = {layer.source: layer.destination for layer in move.layers}
    return {move.source: move.destination or move.source, **below}


def _moves(move: DiskMove) -> bool:
    """An image of it is called otherwise from then on."""
    return any(was != new for was, new in moved_images(move).items())


def copied_bytes(moves: Sequence[DiskMove]) -> int:
    """What the disks of a plan have in use; where that is not known, all they could have."""
    return sum(move.copied_bytes for move in _copied(moves))


def _copied(moves: Sequence[DiskMove]) -> list[DiskMove]:
    return [move for move in moves if move.action is DiskAction.COPY]
