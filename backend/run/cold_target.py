"""The definition of a VM that does not run, from one host to the other.

Never startable at both: the target gets it guarded (`target_xml.guarded`), and unguarded only
once the source has it no more.
"""

import logging
from dataclasses import dataclass

from backend.errors import FerryError, HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import definitions, domains
from backend.hypervisor.connection import Connection
from backend.hypervisor.definitions import WholeVm
from backend.hypervisor.target_xml import (
    Changes,
    at_target,
    guarded,
    snapshot_at_target,
    unguarded,
)
from backend.run.told import Told

log = logging.getLogger(__name__)
DEFINE_LIMIT_S = 30.0


@dataclass
class ColdTarget:
    """Hands one VM's definition over; `whole` is what the source had."""

    told: Told
    source: HostWatch
    target: HostWatch
    autostart: bool = False

    async def define(self, whole: WholeVm, changes: Changes) -> None:
        """At the target, guarded, with its snapshots. Raises FerryError."""
        uuid, source = self.told.state.uuid, self.source.name
        xml = at_target(whole.xml, changes)
        snapshots = tuple(snapshot_at_target(one, changes) for one in whole.snapshots)

        def act(conn: Connection) -> None:
            definitions.define(conn, guarded(xml, source))
            definitions.redefine_snapshots(conn, uuid, snapshots, whole.current_snapshot)

        self.told.note(
            "define",
            f"defining it on {self.target.name}, where it cannot be started before {source} has"
            " let go of it",
        )
        await self.target.call(act, DEFINE_LIMIT_S, "define the VM")
        there = await self.target.call(
            lambda conn: definitions.read_whole(conn, uuid), DEFINE_LIMIT_S, "say what it has"
        )
        if len(there.snapshots) != len(snapshots):
            raise HypervisorError(f"{self.target.name} did not take all of its snapshots.")

    async def hand_over(self) -> None:
        """The source lets go, then the target may start it. Raises FerryError."""
        uuid = self.told.state.uuid
        await self.source.call(
            lambda conn: definitions.take_away(conn, uuid), DEFINE_LIMIT_S, "undefine the VM"
        )
        self.told.note("define", f"{self.source.name} has let go of it")
        await self.release()

    async def release(self) -> None:
        """Make it startable at the target. Raises FerryError."""
        uuid, autostart = self.told.state.uuid, self.autostart

        def act(conn: Connection) -> None:
            if definitions.read_guard(conn, uuid):
                whole = definitions.read_whole(conn, uuid)
                definitions.define(conn, unguarded(whole.xml))
            if autostart:
                domains.set_autostart(conn, uuid, True)

        await self.target.call(act, DEFINE_LIMIT_S, "make it startable")

    async def give_back(self, whole: WholeVm) -> None:
        """After `hand_over`: the source gets it again, the target lets go. Raises FerryError."""
        uuid, target, autostart = self.told.state.uuid, self.target.name, self.autostart

        def lock(conn: Connection) -> None:
            there = definitions.read_whole(conn, uuid)
            definitions.define(conn, guarded(there.xml, target))
            if domains.presence(conn, uuid).active:
                raise HypervisorError(f"It runs on {target} after all: it stays there.")

        def restore(conn: Connection) -> None:
            definitions.define(conn, whole.xml)
            definitions.redefine_snapshots(conn, uuid, whole.snapshots, whole.current_snapshot)
            if autostart:
                domains.set_autostart(conn, uuid, True)

        await self.target.call(lock, DEFINE_LIMIT_S, "keep the VM from being started")
        await self.source.call(restore, DEFINE_LIMIT_S, "define the VM again")
        self.told.note("define", f"{self.source.name} has it again")
        await self.take_away()

    async def take_away(self) -> tuple[str, ...]:
        """The VM stays: undefine it at the target. Returns what is left."""
        uuid = self.told.state.uuid
        try:
            gone = await self.target.call(
                lambda conn: definitions.take_away(conn, uuid, only_guarded=True),
                DEFINE_LIMIT_S,
                "undefine the VM",
            )
        except FerryError as error:
            log.warning("undefining %s on %s: %s", uuid, self.target.name, error)
            by_hand = f"virsh undefine {uuid} --snapshots-metadata --keep-nvram there"
            return (f"its definition on {self.target.name}, which cannot be started: {by_hand}",)
        if gone:
            self.told.note("define", f"removed its definition on {self.target.name}")
        return ()
