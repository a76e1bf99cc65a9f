"""Finds migrations on the fleet's hosts that this engine has not begun, each once.

What a poll has shown may be over, or be our own that has just ended: the host itself is asked
before one is taken up.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import tuning
from backend.hypervisor.connection import Connection
from backend.hypervisor.migrate import OUTWARD, JobSeen, job_seen
from backend.model import Now, Vm
from backend.run.boot_clock import read_clocks
from backend.run.foreign import ForeignRun
from backend.run.foreign_state import first_foreign_state
from backend.run.publish import Publisher

log = logging.getLogger(__name__)


class ForeignJobs:
    """One fleet's."""

    def __init__(
        self,
        hosts: Mapping[str, HostWatch],
        publisher: Publisher,
        known: Callable[[], frozenset[str]],
        new_id: Callable[[], str],
        take: Callable[[ForeignRun], None],
        now: Now,
    ) -> None:
        """`known()`: UUIDs of the VMs whose migration is watched already; `take` has one run."""
        self._hosts = hosts
        self._publisher = publisher
        self._known = known
        self._new_id = new_id
        self._take = take
        self._now = now
        self._begun = False
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}

    def begin(self) -> None:
        """What earlier engines have left is known from now on: the rest is looked for."""
        self._begun = True
        self.look()

    def look(self) -> None:
        """After each change of the fleet."""
        if not self._begun:
            return
        known = self._known()
        for host in self._hosts.values():
            for vm in host.vms:
                moves = vm.job is not None and vm.job.kind == OUTWARD
                if moves and vm.uuid not in known and (vm.uuid, vm.host) not in self._asking:
                    self._ask(host, vm)

    async def close(self) -> None:
        """Ask no more."""
        asking = tuple(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _ask(self, host: HostWatch, vm: Vm) -> None:
        key = (vm.uuid, vm.host)
        task = asyncio.create_task(self._take_up(host, vm), name=f"job-{vm.uuid}")
        self._asking[key] = task
        task.add_done_callback(lambda _: self._asking.pop(key, None))

    async def _take_up(self, host: HostWatch, vm: Vm) -> None:
        try:
            found = await host.call(lambda conn: _seen(conn, vm.uuid), what="tell of its job")
        except FerryError as error:
            log.info("a job of %s on %s: %s", vm.uuid, host.name, error)
            return
        if found is None or vm.uuid in self._known():
            return
        now_s = self._now()
        state = first_foreign_state(self._new_id(), vm, *found, now_s)
        state = replace(state, clocks=read_clocks(now_s))
        self._take(ForeignRun(state, self._hosts, self._publisher, self._now))


def _seen(conn: Connection, uuid: str) -> tuple[JobSeen, int | None, int | None] | None:
    found = job_seen(conn, uuid)
    return None if found is None else (found, *tuning.read_limits(conn, uuid))
