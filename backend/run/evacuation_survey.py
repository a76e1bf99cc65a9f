"""Plans of every VM that would leave a host, or come back to it, to every host that could take it.

Only asks; several VMs at a time, each within a limit, so that one that hangs delays no other.
"""

import asyncio
import posixpath
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backend.errors import BadInput, FerryError
from backend.fleet.inventory import Inventory
from backend.model import (
    DiskAction,
    DiskChoice,
    EvacuationKind,
    EvacuationWish,
    Host,
    HostState,
    Mode,
    MoveOptions,
    Severity,
    Vm,
    VmState,
)
from backend.run.journal_runs import Away, RunRows
from backend.run.planning import SETTLE_S, Planner
from backend.run.together import Planned

AT_ONCE = 4
"""VMs that are planned at one time."""
VM_LIMIT_S = 150.0
"""Every question has its own limit; all that is asked of two busy hosts about a VM that is shut off
took longer than a minute."""
KEPT_S = 60.0
"""What was found is good for so long while the operator reviews it."""
MOST_TARGETS = 12
"""Of a larger fleet the hosts with the most free memory are asked."""
_OCCUPIED = frozenset({"storage-exists", "storage-size-differs"})
_RENAMES = 3
_NUMBERED = re.compile(r"(.*)\.(\d{1,3})")


@dataclass(frozen=True, slots=True)
class Considered:
    """One VM with all its plans."""

    vm: Vm
    planned: tuple[Planned, ...] = ()
    """To each target, in each mode that was asked for."""
    failed: str = ""
    """Why it has none."""
    away: Away | None = None
    """How it left, of one that is to come back."""
    disks: tuple[tuple[str, tuple[DiskChoice, ...]], ...] = ()
    """By target: other names for its copies."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a survey found, and when (monotonic)."""

    at_s: float
    considered: tuple[Considered, ...]


class EvacuationSurvey:
    """Of one fleet."""

    def __init__(self, inventory: Inventory, planner: Planner, rows: RunRows) -> None:
        self._inventory = inventory
        self._planner = planner
        self._rows = rows
        self._found: dict[object, Found] = {}

    async def of(self, wish: EvacuationWish, *, fresh: bool) -> tuple[Considered, ...]:
        """Every VM that the wish is about. `fresh`: not what was found a moment ago.

        Raises:
            BadInput: A host that is not there, or does not answer.
        """
        await self._inventory.settled(SETTLE_S)
        self._check(wish)
        modes = tuple(sorted((one.uuid, one.mode) for one in wish.choices if one.mode))
        key = (wish.host, wish.kind, wish.targets, wish.options, modes)
        known = self._found.get(key)
        if not fresh and known and time.monotonic() - known.at_s < KEPT_S:
            return known.considered
        considered = await self._consider(wish)
        self._found = {key: Found(time.monotonic(), considered)}
        return considered

    async def again(self, wish: EvacuationWish, uuid: str) -> Considered | None:
        """One VM of it once more; None when it is not there any more."""
        found = [one for one in await self._leaving(wish) if one.vm.uuid == uuid]
        return await self._plans(found[0], wish) if found else None

    def _check(self, wish: EvacuationWish) -> None:
        host = self._inventory.host(wish.host)
        for target in wish.targets:
            if self._inventory.host(target).name == wish.host:
                raise BadInput(f"{target} is the host that is to be emptied.", "Name others.")
        if host.host.state is not HostState.UP:
            why = host.host.reason or "it does not answer yet"
            raise BadInput(
                f"{wish.host} cannot be asked what runs on it: {why}",
                host.host.remedy or "It is tried again by itself.",
            )

    async def _consider(self, wish: EvacuationWish) -> tuple[Considered, ...]:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(leaving: Considered) -> Considered:
            async with turns:
                return await self._plans(leaving, wish)

        return tuple(await asyncio.gather(*map(one, await self._leaving(wish))))

    async def _leaving(self, wish: EvacuationWish) -> list[Considered]:
        fleet = self._inventory.snapshot
        if wish.kind is EvacuationKind.EVACUATE:
            return [Considered(vm) for vm in fleet.vms if vm.host == wish.host]
        away = await self._rows.away_from(wish.host)
        return [one for row in away if (one := self._to_return(row)) is not None]

    def _to_return(self, away: Away) -> Considered | None:
        """None of one that somebody has brought home already."""
        seen = self._inventory.snapshot.vms_named(away.uuid)
        active = tuple(vm for vm in seen if vm.state.active) or seen
        if any(vm.host == away.home for vm in active):
            return None
        if not active:
            gone = Vm(away.uuid, away.vm, away.target, VmState.UNKNOWN)
            return Considered(gone, failed="it is on no host of the fleet that answers", away=away)
        return Considered(active[0], away=away)

    async def _plans(self, leaving: Considered, wish: EvacuationWish) -> Considered:
        if leaving.failed:
            return leaving
        try:
            async with asyncio.timeout(VM_LIMIT_S):
                return await self._planned(leaving, wish)
        except FerryError as error:
            return replace(leaving, failed=str(error))
        except TimeoutError:
            slow = f"its hosts did not answer all that was asked within {VM_LIMIT_S:.0f} s"
            return replace(leaving, failed=f"{slow}: plan again when they are less busy")

    async def _planned(self, leaving: Considered, wish: EvacuationWish) -> Considered:
        """As it is; by a restart too where nothing else goes, or that is wanted."""
        wanted = next((one.mode for one in wish.choices if one.uuid == leaving.vm.uuid), None)
        as_it_is = await self._to_all(leaving.vm, wish, None)
        planned = list(as_it_is)
        goes = any(not one.plan.blocked for one, _ in planned)
        if leaving.vm.state.active and (wanted is Mode.RESTART or not goes):
            planned += await self._to_all(leaving.vm, wish, Mode.RESTART)
        renamed = {(one.plan.target, one.plan.mode): names for one, names in planned if names}
        return replace(
            leaving,
            planned=tuple(one for one, _ in planned),
            disks=tuple((f"{target} {mode}", names) for (target, mode), names in renamed.items()),
        )

    async def _to_all(
        self, vm: Vm, wish: EvacuationWish, mode: Mode | None
    ) -> list[tuple[Planned, tuple[DiskChoice, ...]]]:
        options = replace(wish.options, mode=mode)
        targets = self._targets(vm, wish)
        return list(await asyncio.gather(*(self._to(vm, to, options, wish) for to in targets)))

    def _targets(self, vm: Vm, wish: EvacuationWish) -> list[str]:
        if wish.kind is EvacuationKind.RETURN:
            return [wish.host]
        hosts = self._inventory.snapshot.hosts
        asked = [host for host in hosts if host.name in wish.targets or not wish.targets]
        able = sorted((host for host in asked if host.name != vm.host), key=_room, reverse=True)
        return [host.name for host in able[:MOST_TARGETS]]

    async def _to(
        self, vm: Vm, target: str, options: MoveOptions, wish: EvacuationWish
    ) -> tuple[Planned, tuple[DiskChoice, ...]]:
        """A copy whose name is taken gets another one: nothing is ever written over. What a busy
        host did not prove of a disk is asked once more: else libvirt would refuse in the middle.
        """
        welcome = wish.kind is EvacuationKind.RETURN
        names: tuple[DiskChoice, ...] = ()
        for turn in range(_RENAMES):
            asked = replace(options, disks=(*options.disks, *names))
            (planned,) = await self._planner.plan(
                (f"{vm.host}/{vm.uuid}",), target, asked, welcome=welcome
            )
            more = other_names(planned)
            if not more and (turn or not _unproven(planned)):
                break
            kept = tuple(one for one in names if one.target not in {new.target for new in more})
            names = (*kept, *more)
        return planned, names


def _unproven(planned: Planned) -> bool:
    return any(move.action is DiskAction.UNPROVEN for move in planned.plan.disks)


def other_names(planned: Planned) -> tuple[DiskChoice, ...]:
    """New names for the copies whose own are taken, where nothing else is in the way."""
    blocks = [one for one in planned.plan.findings if one.severity is Severity.BLOCK]
    if not blocks or any(one.code not in _OCCUPIED for one in blocks):
        return ()
    return tuple(
        DiskChoice(move.target, move.pool, next_name(move.volume or ""))
        for move in planned.plan.disks
        if move.action is DiskAction.COPY
        and move.pool
        and move.destination
        and any(one.sentence.startswith(move.destination + " ") for one in blocks)
    )


def next_name(name: str) -> str:
    """`db.qcow2` -> `db.1.qcow2` -> `db.2.qcow2`."""
    stem, ending = posixpath.splitext(name)
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is None:
        return f"{stem}.1{ending}"
    return f"{numbered[1]}.{int(numbered[2]) + 1}{ending}"


def names_for(considered: Considered, target: str, mode: Mode) -> tuple[DiskChoice, ...]:
    """What its copies are to be called there; empty: as they are."""
    return dict(considered.disks).get(f"{target} {mode}", ())


def plans_in(considered: Considered, modes: Iterable[Mode]) -> Sequence[Planned]:
    """Its plans of these kinds."""
    wanted = set(modes)
    return [one for one in considered.planned if one.plan.mode in wanted]


def _room(host: Host) -> tuple[bool, int]:
    free = (host.memory_bytes or 0) - (host.memory_used_bytes or 0)
    return host.state is HostState.UP and host.maintenance_since is None, free
