"""QEMU's mirror job that carries a copy: start, speed, progress, and what its failure means."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from backend.errors import CopyFailed, FerryError
from backend.remote.daemon import QmpRefused, StorageDaemon
from backend.remote.images import DataMap

JOB = "copy"
_POLL_S = 0.25
GRANULARITIES_BYTES = (1 << 20, 1 << 18, 1 << 16, 1 << 14, 1 << 12)
_BUFFER_BYTES = 32 << 20
_INFLATION = 0.01
"""Share of the data that the copy's granularity may fill holes with."""
STALL_S = 15.0
"""Without progress for so long the link is tried."""
_TRY_EVERY_S = 5.0
CUT_LIMIT_S = 60.0
"""A link that stays cut for so long ends the copy; until then TCP resumes by itself."""
_SUBSIDE_S = 2.0

Reach = Callable[[], Awaitable[bool]]


class CopyJob:
    """From node `source` to node `target` of the reading daemon."""

    def __init__(
        self,
        reading: StorageDaemon,
        writing: StorageDaemon,
        source_path: str,
        target_path: str,
        reach: Reach | None = None,
    ) -> None:
        """`reach` tries the link; None: nothing but the daemons' own connections could be cut."""
        self._reading = reading
        self._writing = writing
        self._source_path = source_path
        self._target_path = target_path
        self._reach = reach
        self._failed_operation = ""
        self._moved = (0, time.monotonic())
        self._cut_since: float | None = None
        reading.on_event = self._take

    async def start(self, granularity: int, rate_bytes_s: int | None) -> None:
        """Start the mirror. Raises CopyFailed, HostUnreachable."""
        # Backup's zeroes come without leave to unmap: holes would be filled at the target.
        await self._reading.call(
            "blockdev-mirror",
            job_id=JOB,
            device="source",
            target="target",
            sync="full",
            granularity=granularity,
            buf_size=_BUFFER_BYTES,
            speed=rate_bytes_s or 0,
            auto_dismiss=False,
            on_source_error="report",
            on_target_error="report",
        )

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """None: no limit. Nothing happens when the job is over."""
        try:
            await self._reading.call("block-job-set-speed", device=JOB, speed=rate_bytes_s or 0)
        except QmpRefused as error:
            if "not found" not in error.said and "concluded" not in error.said:
                raise

    async def follow(self, on_offset: Callable[[int], None]) -> None:
        """Until all of it is at the target, flushed. `on_offset`: bytes of the image, rising.

        Raises:
            CopyFailed: The sentence names the end that failed.
            HostUnreachable: The source does not answer, or the link stays cut.
        """
        asked_to_end, highest = False, 0
        while True:
            job = await self._job()
            highest = max(highest, int(job["current-progress"]))
            on_offset(highest)
            if job["status"] == "concluded":
                return await self._conclude(job)
            if job["status"] == "ready" and not asked_to_end:
                # At this point both are equal: cancelling leaves it so, completing would pivot.
                asked_to_end = True
                await self._reading.call("block-job-cancel", device=JOB)
                continue
            await self._watch(highest)
            await asyncio.sleep(_POLL_S)

    # -- inside --------------------------------------------------------------------------------

    async def _job(self) -> dict[str, Any]:
        """Ours, with whole numbers where they must be. Raises CopyFailed for anything else."""
        jobs = await self._reading.call("query-jobs", 60.0)
        for job in jobs if isinstance(jobs, list) else ():
            match job:
                case {"id": str(name), "current-progress": int(), "status": str()} if name == JOB:
                    return dict(job)
        raise CopyFailed(f"QEMU on {self._reading.host} no longer knows the copy that it makes.")

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "BLOCK_JOB_ERROR", "data": {"operation": str(operation)}}:
                self._failed_operation = self._failed_operation or operation

    async def _conclude(self, job: dict[str, Any]) -> None:
        said = job.get("error")
        await self._reading.call("job-dismiss", id=JOB)
        if said:
            raise await self._failure(str(said))
        # It holds the export open; closing it here shows errors that quitting would hide.
        await self._reading.call("blockdev-del", node_name="target")

    async def _failure(self, said: str) -> FerryError:
        reading, writing = self._reading.host, self._writing.host
        # Without an event: it was not even told where the source's data lies.
        if said and self._failed_operation != "write":
            return CopyFailed(
                f"{self._source_path} on {reading} cannot be read: {said}.",
                f"Look at the kernel's log and the disk of {reading}.",
            )
        if "space" in said:
            return CopyFailed(
                f"{self._target_path} on {writing} cannot be written: {said}.",
                "Free room there, or choose another pool.",
            )
        if await self._subsided():
            return CopyFailed(
                f"What received the copy on {writing} has ended, or the connection to that "
                "host was lost.",
                f"Look at {writing}, then move again.",
            )
        if self._reach is not None and not await self._reach():
            return CopyFailed(
                f"The link from {reading} to {writing} broke during the copy.",
                "Check the network between them, then move again.",
            )
        return CopyFailed(
            f"{self._target_path} could not be written on {writing}: {said}. Its disk failed, or "
            f"the connection from {reading} broke for a moment.",
            f"Look at the kernel's log and the disk of {writing}, then move again.",
        )

    async def _subsided(self) -> bool:
        """The target's end is over; its last word may come after the error."""
        try:
            async with asyncio.timeout(_SUBSIDE_S):
                await self._writing.wait_over()
        except TimeoutError:
            return False
        return True

    async def _watch(self, offset: int) -> None:
        """Raise when the target's end is gone, or the link has been cut for too long."""
        if self._writing.over:
            raise await self._failure("")
        now = time.monotonic()
        if offset != self._moved[0]:
            self._moved, self._cut_since = (offset, now), None
        if self._reach is None or now - self._moved[1] < STALL_S:
            return
        if await self._reach():
            self._cut_since = None
            await asyncio.sleep(_TRY_EVERY_S)
            return
        self._cut_since = self._cut_since or self._moved[1]
        if time.monotonic() - self._cut_since > CUT_LIMIT_S:
            raise CopyFailed(
                f"{self._reading.host} has not reached {self._writing.host} for "
                f"{CUT_LIMIT_S:g} s: the copy was given up.",
                "Check the network between them, then move again.",
            )


def granularity_bytes(data: DataMap) -> int:
    """How fine the copy looks at holes: the coarsest that fills next to none of them.

    With TLS on two cores 1 MiB carries 400 MB/s, 64 KiB 340, 4 KiB 140.
    """
    room = _INFLATION * data.data_bytes
    fits = (size for size in GRANULARITIES_BYTES if data.extents * (size - 4096) <= room)
    return next(fits)
