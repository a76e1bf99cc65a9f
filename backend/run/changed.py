"""What we changed on a VM, recorded before the change, put back when the VM stays."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from backend.errors import NO_DOMAIN, OPERATION_INVALID, FerryError, HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import tuning
from backend.hypervisor.connection import Connection

log = logging.getLogger(__name__)

_ENDED = (NO_DOMAIN, OPERATION_INVALID)
"""The limits were QEMU's, and that QEMU is gone: there is nothing to put back."""


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

    async def set_post_copy_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit a post-copy that has begun; the limit ends with it. Raises HypervisorError."""
        await self.host.call(
            lambda conn: tuning.set_bandwidth(conn, self.uuid, rate_bytes_s, post_copy=True),
            what="set the bandwidth",
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
            pause_ms = self.pause_limit_ms
            left += await self._restore(
                "pause limit",
                f"virsh migrate-setmaxdowntime {self.uuid} {pause_ms}",
                lambda conn: tuning.set_pause_limit(conn, self.uuid, pause_ms),
            )
        if "bandwidth" in self._changed:
            rate_bytes_s = self.bandwidth_bytes_s
            left += await self._restore(
                "bandwidth",
                f"virsh migrate-setspeed {self.uuid} {tuning.mib_per_s(rate_bytes_s)}",
                lambda conn: tuning.set_bandwidth(conn, self.uuid, rate_bytes_s),
            )
        return tuple(left)

    async def _restore(
        self, what: str, by_hand: str, function: Callable[[Connection], None]
    ) -> list[str]:
        try:
            await self.host.call(function, what=f"put the {what} back")
        except FerryError as error:
            if isinstance(error, HypervisorError) and error.code in _ENDED:
                return []
            log.warning("%s of %s is not put back: %s", what, self.uuid, error)
            return [f"its {what} on {self.host.name} is not put back: {by_hand}"]
        return []
