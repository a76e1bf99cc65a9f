"""How far the copies of a storage move are: looks at the host, lanes and samples made of them."""

import logging
import time
from dataclasses import dataclass, field, replace

from backend.errors import FerryError, HostUnreachable
from backend.fleet.host import HostWatch
from backend.hypervisor import block_copy
from backend.hypervisor.block_copy import VmSeen
from backend.hypervisor.block_jobs import BlockJob
from backend.model import DiskProgress, Outlook, Word
from backend.plan.copying import copying_here
from backend.run.disk_samples import DiskSamples
from backend.run.mirrors import Mirrors, copied
from backend.run.publish import Publisher
from backend.run.told import Told

log = logging.getLogger(__name__)

LOOK_LIMIT_S = 5.0
SILENT_S = 120.0
"""So long a host may be silent before the copies are given up; QEMU goes on without it."""


@dataclass(slots=True)
class DiskCopies:
    """The looks at one VM's disks."""

    told: Told
    host: HostWatch
    publisher: Publisher
    samples: DiskSamples = field(init=False)
    _mirrors: Mirrors = field(init=False)
    _silent_since_s: float | None = None

    def __post_init__(self) -> None:
        self._mirrors = Mirrors(self.told)
        self.samples = DiskSamples(self.told, self.publisher)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names in the guest of the disks that move."""
        return self._mirrors.targets

    async def look(self) -> VmSeen | None:
        """How they stand; None while the host does not answer. Raises HostUnreachable once it has
        been silent for too long."""
        uuid, targets = self.told.state.uuid, self.targets
        try:
            seen = await self.host.call(
                lambda conn: block_copy.look(conn, uuid, targets),
                LOOK_LIMIT_S,
                "tell of its disks",
            )
        except HostUnreachable as error:
            self._silent(error)
            return None
        self._heard()
        return seen

    def take(self, seen: VmSeen, done: set[str]) -> None:
        """One more look while they are copied; `done` are ready and stay so."""
        t_s = time.monotonic() - self.told.zero
        jobs = {
            name: BlockJob(disk.done_bytes, disk.total_bytes)
            for name, disk in seen.disks.items()
            if disk.mirror and disk.total_bytes
        }
        self._mirrors.take(jobs, t_s)
        self._finish(done)
        self._sample(t_s)

    def all_copied(self) -> None:
        """Every copy has everything."""
        self._mirrors.all_copied()
        self._sample(time.monotonic() - self.told.zero)

    def _finish(self, done: set[str]) -> None:
        now = tuple(_whole(one) if one.target in done else one for one in self.told.state.disks)
        if now != self.told.state.disks:
            self.told.update(disks=now)

    def _sample(self, t_s: float) -> None:
        known = {one.target: one for one in self.told.state.disks}
        total = sum(
            max(
                known.get(move.target, DiskProgress(move.target)).total_bytes,
                move.virtual_bytes or 0,
            )
            for move in copied(self.told.state.moves)
        )
        done = sum(one.done_bytes for one in known.values())
        self.samples.take(t_s, done, total)
        self.told.update(outlook=copying_here(self.samples.taken))

    def _silent(self, error: FerryError) -> None:
        now_s = time.monotonic()
        if self._silent_since_s is None:
            self._silent_since_s = now_s
            name = self.host.name
            self.told.note("note", f"{name} does not answer; QEMU goes on copying without us")
            self.told.update(outlook=Outlook(Word.COPYING_DISK, f"{name} does not answer"))
        if now_s - self._silent_since_s > SILENT_S:
            raise error

    def _heard(self) -> None:
        if self._silent_since_s is not None:
            gap_s, self._silent_since_s = time.monotonic() - self._silent_since_s, None
            self.told.note("note", f"{self.host.name} answers again after {gap_s:.0f} s")


def _whole(one: DiskProgress) -> DiskProgress:
    done = max(one.done_bytes, one.total_bytes)
    return replace(one, done_bytes=done, progress=1.0, rate_bytes_s=None)
