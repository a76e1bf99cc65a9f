"""The fleet as one stream of immutable snapshots, published when something in it changed."""

import asyncio
import contextlib
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from backend.errors import BadInput
from backend.fleet.alarms import AlarmWatch, Looked
from backend.fleet.config import FleetSettings
from backend.fleet.host import HostWatch
from backend.fleet.sharing import Sharing
from backend.model import FleetSnapshot, Host, HostState, Now, Vm

log = logging.getLogger(__name__)

PUBLISH_EVERY_S = 1.0
"""What changes in between is put together,"""
PUBLISH_GAP_S = 0.1
"""except what is urgent: that waits for so long only."""

_LOOK_AGAIN_S = 0.2


class Inventory:
    """All hosts of a fleet."""

    def __init__(
        self,
        settings: FleetSettings,
        agent: Callable[[], str | None],
        moving: Callable[[], Mapping[tuple[str, str], int]],
        publish: Callable[[FleetSnapshot], None],
        enrich: Callable[[Vm], Vm],
        now: Now,
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._enrich = enrich
        self.now = now
        # In /tmp: a UNIX socket's path ends at 108 bytes, and state directories may be deep.
        self._sockets = Path(tempfile.mkdtemp(prefix="virt-ferry-"))
        self.hosts = {
            host.name: HostWatch(host, self._sockets, agent, moving, self.touch, now)
            for host in settings.hosts
        }
        self._sharing = Sharing(self.hosts, self.touch)
        self._moving = moving
        self._alarms = AlarmWatch()
        self._touched = asyncio.Event()
        self._urgent = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.snapshot = FleetSnapshot(settings.name)
        self.maintenance: dict[str, float] = {}
        """Hosts in maintenance, with epoch seconds since when; `touch` after a change."""
        self.maintenance_known = asyncio.Event()
        """Set once what was marked so before is in it."""

    def begin(self) -> None:
        """Start watching every host."""
        for host in self.hosts.values():
            host.begin()
        self._tasks = [
            asyncio.create_task(self._publish_changes(), name="inventory"),
            asyncio.create_task(self._sharing.run(), name="sharing"),
        ]

    async def close(self) -> None:
        """Let go of every host."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(host.close() for host in self.hosts.values()))
        shutil.rmtree(self._sockets, ignore_errors=True)

    def host(self, name: str) -> HostWatch:
        """The host called `name`. Raises BadInput naming those there are."""
        if name not in self.hosts:
            raise BadInput(
                f"There is no host {name!r} in the fleet.", f"It has: {', '.join(self.hosts)}."
            )
        return self.hosts[name]

    def elsewhere(self, source: str, target: str) -> Callable[[str], str | None]:
        """Finds a third host on which a VM runs, by its UUID."""

        def find(uuid: str) -> str | None:
            found = (
                vm.host
                for host in self.hosts.values()
                for vm in host.vms
                if vm.uuid == uuid and vm.state.active and vm.host not in (source, target)
            )
            return next(found, None)

        return find

    async def settled(self, limit_s: float) -> None:
        """Wait until every host has answered or failed once, at most `limit_s`."""
        await _all_set([host.answered for host in self.hosts.values()], limit_s)
        self._take_snapshot()

    async def informed(self, limit_s: float) -> None:
        """Wait until the load of every host that is up is known too, at most `limit_s`."""
        await _all_set([host.informed for host in self.hosts.values()], limit_s)
        self._take_snapshot()

    async def sure(self, limit_s: float) -> None:
        """Wait until what looks like a VM that runs twice is known to be so or not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._alarms.unsure:
                    await asyncio.sleep(_LOOK_AGAIN_S)
                    self._take_snapshot()

    def touch(self, urgent: bool = False) -> None:
        """Something may have changed; `urgent`: something an operator waits for, like a state."""
        self._touched.set()
        if urgent:
            self._urgent.set()

    async def _publish_changes(self) -> None:
        while True:
            await self._touched.wait()
            self._touched.clear()
            try:
                self._take_snapshot()
            except Exception:
                log.exception("publishing the fleet")
            await asyncio.sleep(PUBLISH_GAP_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH_EVERY_S - PUBLISH_GAP_S):
                    await self._urgent.wait()
            self._urgent.clear()

    def _take_snapshot(self) -> None:
        hosts = tuple(self.marked(watch.host) for watch in self.hosts.values())
        vms = [vm for watch in self.hosts.values() for vm in watch.vms]
        looked = {
            name: Looked(watch.host.state is HostState.UP, watch.looks)
            for name, watch in self.hosts.items()
        }
        moving = {uuid for uuid, _ in self._moving()}
        fleet = FleetSnapshot(
            self._settings.name,
            hosts,
            tuple(self._enrich(self._sharing.mark(vm)) for vm in without_incoming(vms)),
            self._alarms.look(vms, looked, moving),
        )
        if fleet != self.snapshot:
            self.snapshot = fleet
            self._publish(fleet)

    def marked(self, host: Host) -> Host:
        """With what is not seen on it: whether it is in maintenance."""
        since = self.maintenance.get(host.name)
        return host if since is None else replace(host, maintenance_since=since)


async def _all_set(events: list[asyncio.Event], limit_s: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    _, pending = await asyncio.wait(waits, timeout=limit_s)
    for task in pending:
        task.cancel()


def without_incoming(vms: list[Vm]) -> list[Vm]:
    """By name and host, without the copies that are only being received: not VMs yet."""
    copies = Counter(vm.uuid for vm in vms)
    whole = (
        vm for vm in vms if copies[vm.uuid] == 1 or vm.job is None or vm.job.kind != "migration in"
    )
    return sorted(whole, key=lambda vm: (vm.name, vm.host, vm.uuid))
