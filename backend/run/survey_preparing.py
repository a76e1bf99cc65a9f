"""What tells whether the target can be made ready, and what images hold that libvirt does not see.

Asked only where it matters: most targets are ready, and each command over SSH costs a fifth of a
second.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

from backend.hypervisor import volumes
from backend.hypervisor.domain_xml import DomainConfig
from backend.hypervisor.host import Network
from backend.plan.disks import disk_cases
from backend.plan.facts import NetworkFacts, PoolFacts, Preparing, Room, Survey
from backend.plan.preparing import as_prepared, possible
from backend.remote import probes
from backend.remote.rooms import probe_rooms
from backend.run.survey_asking import PROBE_LIMIT_S, Asking
from backend.run.survey_mirrored import with_mirrored
from backend.run.survey_source import AtSource


async def ask_preparing(
    asking: Asking,
    config: DomainConfig,
    at_source: AtSource,
    pools: tuple[PoolFacts, ...] | None,
    networks: list[Network] | None,
) -> Preparing:
    """Directories of pools that lack or are inactive, devices of networks that lack."""
    facts = Preparing(
        own_pools={pool.name: pool_facts(pool) for pool in at_source.own_pools},
        own_networks={
            name: NetworkFacts(one.name, one.xml, one.autostart, one.needs, one.makes)
            for name, one in at_source.networks.items()
        },
        target_networks={one.name: one.active for one in networks or ()},
    )
    wanted = {choice.pool for choice in asking.options.disks} | set(at_source.pools.values())
    paths = tuple(dict.fromkeys(_paths(facts, pools or (), wanted)))
    devices = tuple(dict.fromkeys(_devices(facts, config)))
    rooms, found = await asyncio.gather(_rooms(asking, paths), _found(asking, devices))
    return replace(facts, rooms=MappingProxyType(rooms), devices=found)


def pool_facts(pool: volumes.Pool) -> PoolFacts:
    """As a plan knows it."""
    known = (pool.name, pool.kind, pool.active, pool.path, pool.available_bytes, pool.volumes)
    return PoolFacts(*known, autostart=pool.autostart)


def _paths(facts: Preparing, pools: tuple[PoolFacts, ...], wanted: set[str]) -> Iterator[str]:
    there = {pool.name: pool for pool in pools}
    for name in sorted(wanted):
        pool = there.get(name, facts.own_pools.get(name))
        inactive = name not in there or not there[name].active
        if pool is not None and inactive and pool.kind == "dir" and pool.path.startswith("/"):
            yield pool.path


def _devices(facts: Preparing, config: DomainConfig) -> Iterator[str]:
    """`config` has the target's names already."""
    for nic in config.nics:
        own = facts.own_networks.get(nic.source)
        if nic.kind == "network" and own is not None and own.name not in facts.target_networks:
            yield from (name for name in (*own.needs, own.makes) if name and "/" not in name)


async def _rooms(asking: Asking, paths: tuple[str, ...]) -> dict[str, Room]:
    shell = asking.shell("rooms", asking.target) if paths else None
    if shell is None:
        return {}
    found = await asking.ask("rooms", probe_rooms(shell, paths), PROBE_LIMIT_S) or {}
    return {
        path: Room(one.there, one.empty, one.could_be, one.available_bytes)
        for path, one in found.items()
    }


async def _found(asking: Asking, devices: tuple[str, ...]) -> frozenset[str] | None:
    if not devices:
        return frozenset()
    shell = asking.shell("network", asking.target)
    if shell is None:
        return None
    paths = tuple(f"/sys/class/net/{name}" for name in devices)
    found = await asking.ask("network", probes.probe_files(shell, paths), PROBE_LIMIT_S)
    if found is None:
        return None
    return frozenset(name for name, one in zip(devices, found, strict=True) if one.exists)


async def with_copies(asking: Asking, facts: Survey) -> Survey:
    """What lies where copies would go, and what a mirror would find in what is copied.

    libvirt does not see every file, so the target itself is asked.
    """
    paths = _copies(facts)
    (occupied, sizes), facts = await asyncio.gather(
        _occupied(asking, paths), with_mirrored(asking, facts)
    )
    # It may be more than its image takes, and so go elsewhere.
    if more := tuple(path for path in _copies(facts) if path not in paths):
        also, their_sizes = await _occupied(asking, more)
        occupied, sizes = occupied | also, sizes | their_sizes
    return replace(facts, occupied=occupied, occupied_bytes=sizes)


def _copies(facts: Survey) -> tuple[str, ...]:
    """Where copies would go, as the target is, and as it would be when it was made ready."""
    ready = as_prepared(facts, possible(facts))
    cases = (*disk_cases(facts), *disk_cases(ready))
    moves = [case.move for case in cases if case.move.destination]
    below = (layer.destination for move in moves for layer in move.layers if not layer.stays)
    return tuple(dict.fromkeys((*(move.destination or "" for move in moves), *below)))


async def _occupied(
    asking: Asking, paths: tuple[str, ...]
) -> tuple[frozenset[str], dict[str, int]]:
    shell = asking.shell("storage", asking.target) if paths else None
    if shell is None:
        return frozenset(), {}
    found = await asking.ask("storage", probes.probe_files(shell, paths), PROBE_LIMIT_S)
    there = [path for path, file in zip(paths, found or (), strict=False) if file.exists]
    if not there:
        return frozenset(), {}
    sizes = await asking.call(
        "storage",
        asking.target,
        lambda conn: volumes.capacities(conn, there),
        "read the sizes of its volumes",
    )
    return frozenset(there), sizes or {}
