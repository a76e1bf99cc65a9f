"""Making a target ready for a migration, and putting it back as it was if the VM stays.

Each step is recorded before it is done. What was done is the engine's to undo, not one
migration's: several VMs may rely on one pool, and the last of them that leaves puts it back,
unless one of them moved.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from backend.errors import FerryError, HostUnreachable, word
from backend.fleet.host import HostWatch
from backend.hypervisor import networks, pools
from backend.hypervisor.connection import Connection
from backend.hypervisor.migrate import MigrationOrder
from backend.model import (
    DiskMove,
    Migration,
    Preparation,
    PreparationKind,
    Prepared,
    PreparedState,
    Severity,
)
from backend.run.together import Planned
from backend.run.told import Told

log = logging.getLogger(__name__)

LIMIT_S = 60.0
"""Of one step: a pool on a network file system may take its time to be mounted."""

_BY_HAND = {
    PreparationKind.START_POOL: "virsh pool-destroy {name}",
    PreparationKind.CREATE_POOL: "virsh pool-destroy {name}; virsh pool-undefine {name}",
    PreparationKind.START_NETWORK: "virsh net-destroy {name}",
    PreparationKind.DEFINE_NETWORK: "virsh net-destroy {name}; virsh net-undefine {name}",
}


def _key(one: Preparation) -> tuple[str, bool, str]:
    return one.host, one.kind.of_a_pool, one.name


@dataclass(slots=True)
class _Entry:
    mark: str
    """What the target told of what was made; it is undone by that."""
    done: Preparation
    users: set[str] = field(default_factory=set)
    """Ids of the migrations that rely on it."""


class Ledger:
    """What this engine has changed at targets and may have to undo."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, bool, str], _Entry] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def lock(self, host: str) -> asyncio.Lock:
        """One migration at a time changes a host."""
        return self._locks.setdefault(host, asyncio.Lock())

    def rely(self, one: Preparation, user: str) -> bool:
        """Another one's work will do; False: there is none."""
        entry = self._entries.get(_key(one))
        if entry is not None:
            entry.users.add(user)
        return entry is not None

    def add(self, one: Preparation, mark: str, user: str) -> None:
        """It was done for `user`."""
        self._entries[_key(one)] = _Entry(mark, one, {user})

    def leave(self, one: Preparation, user: str) -> tuple[Preparation, str] | None:
        """`user` stayed. What is to be undone and its mark, if nobody relies on it any more."""
        entry = self._entries.get(_key(one))
        if entry is None or user not in entry.users:
            return None
        entry.users.discard(user)
        if entry.users:
            return None
        del self._entries[_key(one)]
        return entry.done, entry.mark

    def keep(self, one: Preparation, user: str) -> None:
        """`user` moved: it stays as it is."""
        entry = self._entries.get(_key(one))
        if entry is not None and user in entry.users:
            del self._entries[_key(one)]


@dataclass(frozen=True, slots=True)
class MakingReady:
    """What is to be done for one migration, and how it is planned once that is done."""

    ledger: Ledger
    wanted: tuple[Preparation, ...]
    again: Callable[[], Awaitable[Planned]] | None = None
    """None: nothing is wanted."""


def resumed(ledger: Ledger, state: Migration) -> MakingReady:
    """Of a move that an engine before this one has left: what it did is known to `ledger` again."""
    for one in state.prepared:
        if one.state is PreparedState.DONE and one.mark:
            ledger.add(one.preparation, one.mark, state.id)
    return MakingReady(ledger, ())


class TargetReady:
    """One migration's part in it."""

    def __init__(self, told: Told, target: HostWatch, asked: MakingReady | None) -> None:
        self._told = told
        self._target = target
        self._asked = asked

    async def make(self, order: MigrationOrder) -> MigrationOrder:
        """Do all of it, then plan anew, as after a wait for a set time; the order as the target
        wants it now.

        Raises:
            FerryError: The target refused, or the move cannot go as it was confirmed.
        """
        asked = self._asked
        if asked is None or asked.again is None or not (asked.wanted or self._told.state.at):
            return order
        async with asked.ledger.lock(self._target.name):
            for one in asked.wanted:
                if self._told.state.abort_asked:
                    return order
                await self._do(one, asked.ledger)
        planned = await asked.again()
        after = f"{self._target.name} was made ready" if asked.wanted else "Its time has come"
        _must_agree(planned, self._told.state.moves, after)
        now = planned.order
        return replace(order, unsafe=now.unsafe, copy_disks=now.copy_disks, changes=now.changes)

    async def _do(self, one: Preparation, ledger: Ledger) -> None:
        state, user = self._told.state, self._told.state.id
        self._told.update(prepared=(*state.prepared, Prepared(one)))
        await self._told.kept()
        self._told.note("prepare", one.sentence)
        if ledger.rely(one, user):
            self._mark(one, PreparedState.FOUND)
            return
        try:
            mark = await self._target.call(lambda conn: _do(conn, one), LIMIT_S, one.sentence)
        except HostUnreachable:
            raise  # whether it was done is not known: it stays `intended`
        except FerryError:
            self._mark(one, PreparedState.REFUSED)
            raise
        if mark:
            ledger.add(one, mark, user)
        refreshed = one.kind is PreparationKind.REFRESH_POOL
        self._mark(one, PreparedState.DONE if mark or refreshed else PreparedState.FOUND, mark)

    def keep(self) -> None:
        """The VM moved and needs it."""
        for one in self._told.state.prepared:
            if self._asked is not None:
                self._asked.ledger.keep(one.preparation, self._told.state.id)

    async def undo(self) -> tuple[str, ...]:
        """The VM stayed: in reverse order. What is left, each with how to undo it."""
        if self._asked is None or not self._told.state.prepared:
            return ()
        left: list[str] = []
        async with self._asked.ledger.lock(self._target.name):
            for one in reversed(self._told.state.prepared):
                left += await self._undo(one, self._asked.ledger)
        return tuple(left)

    def undecided(self) -> tuple[str, ...]:
        """Nobody knows where the VM is: it may need them."""
        done = (one for one in self._told.state.prepared if one.state is PreparedState.DONE)
        return tuple(
            f"done for this move and not undone: {one.preparation.sentence};"
            f" {_by_hand(one.preparation)} there, once you know that nothing needs it"
            for one in done
            if one.preparation.kind in _BY_HAND
        )

    async def _undo(self, prepared: Prepared, ledger: Ledger) -> list[str]:
        one = prepared.preparation
        if prepared.state is PreparedState.INTENDED and one.kind in _BY_HAND:
            return [f"may have been done: {one.sentence}; look there, then {_by_hand(one)}"]
        ours = ledger.leave(one, self._told.state.id)
        if ours is None:
            relied_on = prepared.state is PreparedState.DONE and one.kind in _BY_HAND
            self._mark(one, PreparedState.KEPT) if relied_on else None
            return []
        done, mark = ours
        try:
            await self._target.call(
                lambda conn: _undo(conn, done, mark), LIMIT_S, f"undo: {done.sentence}"
            )
        except FerryError as error:
            log.warning("undoing %s: %s", done.sentence, error)
            why = error.sentence.rstrip(".")
            return [f"not undone: {done.sentence} ({why}): {_by_hand(done)} there"]
        self._mark(one, PreparedState.UNDONE)
        self._told.note("prepare", f"undone: {done.sentence}")
        return []

    def _mark(self, one: Preparation, state: PreparedState, mark: str = "") -> None:
        self._told.update(
            prepared=tuple(
                Prepared(one, state, mark or was.mark) if was.preparation == one else was
                for was in self._told.state.prepared
            )
        )


def _must_agree(planned: Planned, moves: tuple[DiskMove, ...], after: str) -> None:
    """What was confirmed, and nothing else, is done. Raises FerryError."""
    plan = planned.plan
    blocking = [one for one in plan.findings if one.severity is Severity.BLOCK]
    if blocking:
        raise FerryError(f"{after}, and now: {blocking[0].sentence}.", blocking[0].remedy)
    confirmed = {move.target: (move.action, move.destination) for move in moves}
    now = {move.target: (move.action, move.destination) for move in plan.disks}
    other = [name for name in now if now[name] != confirmed.get(name)]
    if other or len(now) != len(confirmed):
        raise FerryError(
            f"{after}, and {plan.target} would take"
            f" {', '.join(other) or 'the disks'} of {plan.vm} otherwise than it was planned.",
            "Plan again.",
        )


def _by_hand(one: Preparation) -> str:
    return _BY_HAND[one.kind].replace("{name}", word(one.name))


def _do(conn: Connection, one: Preparation) -> str:
    """Its mark; empty when there is nothing to undo."""
    match one.kind:
        case PreparationKind.START_POOL:
            return pools.start(conn, one.name)
        case PreparationKind.REFRESH_POOL:
            return pools.refresh(conn, one.name)
        case PreparationKind.CREATE_POOL:
            return pools.create(conn, one.name, one.path, one.autostart)
        case PreparationKind.START_NETWORK:
            return networks.start(conn, one.name)
        case PreparationKind.DEFINE_NETWORK:
            return networks.define(conn, one.name, one.xml, one.autostart)


def _undo(conn: Connection, one: Preparation, mark: str) -> None:
    match one.kind:
        case PreparationKind.START_POOL:
            pools.stop(conn, one.name, mark)
        case PreparationKind.CREATE_POOL:
            pools.remove(conn, one.name, mark)
        case PreparationKind.START_NETWORK:
            networks.stop(conn, one.name, mark)
        case PreparationKind.DEFINE_NETWORK:
            networks.remove(conn, one.name, mark)
