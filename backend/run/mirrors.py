"""Follows the copying of disks: one progress each, which never runs backwards."""

import logging
import time
from dataclasses import dataclass, field, replace

from backend.errors import FerryError
from backend.hypervisor.block_jobs import BlockJob, read_jobs
from backend.hypervisor.connection import Lane
from backend.model import DiskAction, DiskMove, DiskProgress, Phase
from backend.run.sampling import DiskPace
from backend.run.told import Told

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LOOK_LIMIT_S = 3.0
NEARLY = 0.99
"""Until its phase is over a mirror has not got everything, whatever it counts."""


@dataclass(slots=True)
class Mirrors:
    """The disks of one migration that are copied."""

    told: Told
    _looked_s: float = -LOOK_EVERY_S
    _paces: dict[str, DiskPace] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """Their names in the guest."""
        return tuple(move.target for move in copied(self.told.state.moves))

    async def look(self, lane: Lane | None) -> None:
        """Once a second while they are copied; what does not answer is looked at again."""
        now_s = time.monotonic()
        state = self.told.state
        due = now_s - self._looked_s >= LOOK_EVERY_S
        if lane is None or state.phase is not Phase.DISK or not self.targets or not due:
            return
        self._looked_s = now_s
        uuid, targets = state.uuid, self.targets
        try:
            jobs = await lane.call(
                lambda conn: read_jobs(conn, uuid, targets), LOOK_LIMIT_S, "tell of its disks"
            )
        except FerryError as error:
            log.info("disks of %s: %s", state.id, error.sentence)
            return
        if self.told.state.phase is Phase.DISK:
            self.take(jobs, now_s - self.told.zero)

    def take(self, jobs: dict[str, BlockJob], t_s: float) -> None:
        """One look at all of them."""
        was = {one.target: one for one in self.told.state.disks}
        now = tuple(
            self._further(was.get(name, DiskProgress(name)), jobs.get(name), t_s)
            for name in self.targets
        )
        if now != self.told.state.disks:
            self.told.update(disks=now)

    def _further(self, was: DiskProgress, job: BlockJob | None, t_s: float) -> DiskProgress:
        if job is None or job.total_bytes <= 0:
            return was
        done = max(was.done_bytes, job.done_bytes)
        total = max(was.total_bytes, job.total_bytes, done)
        pace = self._paces.setdefault(was.target, DiskPace())
        return replace(
            was,
            done_bytes=done,
            total_bytes=total,
            rate_bytes_s=pace.take(t_s, done),
            progress=max(was.progress, min(NEARLY, done / total)),
        )

    def begin_memory(self, sent: bool) -> bool:
        """Once memory is `sent`, or the VM stops, the disks have been copied; True that once."""
        if self.told.state.phase is not Phase.DISK or not sent:
            return False
        self.all_copied()
        self.told.update(memory_at=self.told.now())
        self.told.enter(Phase.MEMORY)
        return True

    def all_copied(self) -> None:
        """The memory has begun: every mirror has everything and follows the guest's writes."""
        known = {one.target: one for one in self.told.state.disks}
        done = (known.get(name, DiskProgress(name)) for name in self.targets)
        self.told.update(
            disks=tuple(
                replace(
                    one,
                    done_bytes=max(one.done_bytes, one.total_bytes),
                    progress=1.0,
                    rate_bytes_s=None,
                )
                for one in done
            )
        )


def copied(moves: tuple[DiskMove, ...]) -> tuple[DiskMove, ...]:
    """Those of a plan's disks that are copied."""
    return tuple(move for move in moves if move.action is DiskAction.COPY)


def each_bytes_s(limit_bytes_s: int | None, count: int) -> int | None:
    """The limit of one mirror: libvirt gives to each of them what a migration is allowed."""
    if limit_bytes_s is None or count < 2:
        return limit_bytes_s
    return max(1, limit_bytes_s // count)
