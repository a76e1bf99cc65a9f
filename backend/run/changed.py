"""What we changed on a VM, recorded before the change, put back when the VM stays."""

import logging
from dataclasses import dataclass, field

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import tuning

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ChangedParameters:
    """The pause limit and bandwidth of one VM at its source, as they were before us."""

    host: HostWatch
    uuid: str
    pause_limit_ms: int | None = None
    bandwidth_bytes_s: int | None = None
    _changed: set[str] = field(default_factory=set)

    async def set_pause_limit(self, pause_ms: int) -> None:
        """Allow the VM a pause of `pause_ms`. Raises HypervisorError."""
        if "pause" not in self._changed:
            self.pause_limit_ms = await self.host.call(
                lambda conn: tuning.read_pause_limit(conn, self.uuid),
                what="read its migration limits",
            )
            self._changed.add("pause")
        await self.host.call(
            lambda conn: tuning.set_pause_limit(conn, self.uuid, pause_ms),
            what="set the pause limit",
        )

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the migration's rate; None lifts the limit. Raises HypervisorError."""
        if "bandwidth" not in self._changed:
            self.bandwidth_bytes_s = await self.host.call(
                lambda conn: tuning.read_bandwidth(conn, self.uuid),
                what="read its migration limits",
            )
            self._changed.add("bandwidth")
        await self.host.call(
            lambda conn: tuning.set_bandwidth(conn, self.uuid, rate_bytes_s),
            what="set the bandwidth",
        )

    async def put_back(self) -> tuple[str, ...]:
        """Restore both; returns what could not be restored, as leftovers with their remedy."""
        left: list[str] = []
        if "pause" in self._changed and self.pause_limit_ms is not None:
            left += await self._restore_pause(self.pause_limit_ms)
        if "bandwidth" in self._changed:
            left += await self._restore_bandwidth()
        return tuple(left)

    async def _restore_pause(self, pause_ms: int) -> list[str]:
        try:
            await self.host.call(
                lambda conn: tuning.set_pause_limit(conn, self.uuid, pause_ms),
                what="put the pause limit back",
            )
        except FerryError as error:
            log.warning("pause limit of %s not restored: %s", self.uuid, error)
            return [
                f"its pause limit on {self.host.name} is not put back:"
                f" virsh migrate-setmaxdowntime {self.uuid} {pause_ms}"
            ]
        return []

    async def _restore_bandwidth(self) -> list[str]:
        try:
            await self.host.call(
                lambda conn: tuning.set_bandwidth(conn, self.uuid, self.bandwidth_bytes_s),
                what="put the bandwidth back",
            )
        except FerryError as error:
            log.warning("bandwidth of %s not restored: %s", self.uuid, error)
            return [
                f"its bandwidth limit on {self.host.name} is not put back:"
                f" virsh migrate-setspeed {self.uuid} <MiB/s>"
            ]
        return []
