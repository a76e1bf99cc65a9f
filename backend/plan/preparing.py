"""What could be made ready at the target, and what the plan would be if it were. Pure.

Only what is safe and can be undone is offered: starting what is there, letting libvirt look
again, and making a directory pool or a network as the source has it. A directory's parents,
bridges and network devices are the host's own set-up: where they lack, nothing is offered.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import MappingProxyType

from backend.model import Disk, DiskAction, Finding, Mode, Nic, Preparation, PreparationKind
from backend.plan.disks import DiskCase, choice_for, disk_cases
from backend.plan.facts import NetworkFacts, PoolFacts, Room, Survey, renamed
from backend.plan.found import warn

HOW = "`--prepare` (x on the plan screen) would"


def possible(survey: Survey) -> tuple[Preparation, ...]:
    """In the order in which they are done: pools first, each thing once."""
    if not survey.target_up or (survey.same_host and survey.mode is not Mode.STORAGE):
        return ()
    found: dict[tuple[bool, str], Preparation] = {}
    for one in (*_pools(survey), *_networks(survey)):
        found.setdefault((one.kind.of_a_pool, one.name), one)
    return tuple(found.values())


def offered(survey: Survey, name: str, *, pool: bool) -> str:
    """How a remedy begins where the target can be made ready by us; empty where it cannot."""
    found = [one for one in possible(survey) if one.name == name and one.kind.of_a_pool is pool]
    return f"{HOW} {found[0].sentence}. Or: " if found else ""


def as_prepared(survey: Survey, done: Iterable[Preparation]) -> Survey:
    """The facts as they will be; what only the target can tell is asked again after it is done."""
    for one in done:
        if one.kind.of_a_pool:
            survey = replace(survey, target_pools=tuple(_pools_with(survey, one)))
        else:
            there = {**survey.attachments, f"network {one.name}": True}
            networks = {**survey.preparing.target_networks, one.name: True}
            preparing = replace(survey.preparing, target_networks=MappingProxyType(networks))
            survey = replace(survey, attachments=MappingProxyType(there), preparing=preparing)
    return survey


def announced(done: Iterable[Preparation]) -> tuple[Finding, ...]:
    """What will be changed on the target before anything moves."""
    return tuple(
        warn(
            f"prepare-{one.kind}",
            "prepare",
            f"before the move: {one.sentence}",
            "It is undone if the VM stays.",
        )
        for one in done
    )


# -- pools -----------------------------------------------------------------------------------


def _pools(survey: Survey) -> Iterator[Preparation]:
    if survey.target_pools is None:
        return
    pools = {pool.name: pool for pool in survey.target_pools}
    for case in disk_cases(survey):
        if case.move.action is DiskAction.COPY:
            yield from _for_copy(survey, case, pools)
        elif case.move.action is DiskAction.SHARED and case.disk.pool:
            yield from _for_volume(survey, case.disk, pools)


def _for_copy(survey: Survey, case: DiskCase, pools: dict[str, PoolFacts]) -> Iterator[Preparation]:
    """The pool that was chosen, or that of the same name."""
    choice = choice_for(survey, case.disk.target)
    name = choice.pool if choice else case.move.source_pool
    if name is None:
        return
    pool, own = pools.get(name), survey.preparing.own_pools.get(name)
    if pool is not None and not pool.active and pool.kind == "dir" and _room(survey, pool).there:
        yield _start(survey, pool)
    elif pool is None and own is not None and _can_be_made(survey, own):
        host = survey.target.name
        sentence = f"create the directory pool {name} at {own.path} on {host}, as the source's"
        kind = PreparationKind.CREATE_POOL
        yield Preparation(kind, host, name, sentence, own.path, autostart=own.autostart)


def _for_volume(survey: Survey, disk: Disk, pools: dict[str, PoolFacts]) -> Iterator[Preparation]:
    """A shared disk that is named by pool and volume: libvirt there must know both."""
    pool = pools.get(disk.pool or "")
    if pool is None:
        return
    if not pool.active:
        yield _start(survey, pool)
    elif unseen(disk, pool):
        sentence = f"refresh the pool {pool.name} on {survey.target.name}"
        kind = PreparationKind.REFRESH_POOL
        yield Preparation(kind, survey.target.name, pool.name, sentence, pool.path)


def unseen(disk: Disk, pool: PoolFacts) -> bool:
    """The pool is active, and libvirt does not know that the disk's file is in it."""
    return pool.active and posixpath.basename(disk.source or "") not in pool.volumes


def _start(survey: Survey, pool: PoolFacts) -> Preparation:
    host = survey.target.name
    sentence = f"start the pool {pool.name} on {host}"
    return Preparation(PreparationKind.START_POOL, host, pool.name, sentence, pool.path)


def _can_be_made(survey: Survey, own: PoolFacts) -> bool:
    """Only where nothing is: a directory with files in it may be anything of that host's."""
    room = _room(survey, own)
    taken = any(pool.path == own.path for pool in survey.target_pools or ())
    return own.kind == "dir" and not taken and (room.empty or room.could_be)


def _room(survey: Survey, pool: PoolFacts) -> Room:
    return survey.preparing.rooms.get(pool.path, Room())


def _pools_with(survey: Survey, done: Preparation) -> Iterator[PoolFacts]:
    """The target's pools after it."""
    room = survey.preparing.rooms.get(done.path, Room()).available_bytes or 0
    for pool in survey.target_pools or ():
        if pool.name != done.name:
            yield pool
        elif done.kind is PreparationKind.REFRESH_POOL:
            yield replace(pool, volumes=pool.volumes | _shared_in(survey, pool.name))
        else:
            volumes = pool.volumes | _shared_in(survey, pool.name)
            yield replace(pool, active=True, available_bytes=room, volumes=volumes)
    if done.kind is PreparationKind.CREATE_POOL:
        yield PoolFacts(done.name, "dir", True, done.path, room)


def _shared_in(survey: Survey, pool: str) -> frozenset[str]:
    """Files that will be seen then."""
    cases = disk_cases(survey)
    seen = [c.disk for c in cases if c.move.action is DiskAction.SHARED and c.disk.pool == pool]
    return frozenset(posixpath.basename(disk.source or "") for disk in seen)


# -- networks --------------------------------------------------------------------------------


def _networks(survey: Survey) -> Iterator[Preparation]:
    if survey.same_host:
        return
    for was in survey.definition.nics if survey.definition else ():
        nic = renamed(was, survey.networks)
        if nic.kind == "network" and survey.attachments.get(f"network {nic.source}") is False:
            yield from _network(survey, nic)


def _network(survey: Survey, nic: Nic) -> Iterator[Preparation]:
    name, host = nic.source, survey.target.name
    own = survey.preparing.own_networks.get(name)
    if survey.preparing.target_networks.get(name) is False:
        sentence = f"start the network {name} on {host}"
        yield Preparation(PreparationKind.START_NETWORK, host, name, sentence)
    elif name not in survey.preparing.target_networks and own and not lacking(survey, own):
        sentence = f"define the network {name} on {host} as {survey.source.name} has it, start it"
        kind = PreparationKind.DEFINE_NETWORK
        yield Preparation(kind, host, name, sentence, xml=own.xml, autostart=own.autostart)


def lacking(survey: Survey, own: NetworkFacts) -> str:
    """What of the host's own stands against making the network there; empty: nothing."""
    there = survey.preparing.devices
    if there is None:
        return "the devices of the target are not known"
    missing = [name for name in own.needs if name not in there]
    if missing:
        return f"it needs {', '.join(missing)}, which {survey.target.name} does not have"
    if own.makes in there:
        return f"its bridge would be called {own.makes}, and {survey.target.name} has one"
    return ""
