"""What we changed on a VM, recorded before the change, put back when the VM stays."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from backend.errors import NO_DOMAIN, OPERATION_INVALID, FerryError, HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import tuning
from backend.hypervisor.connection import Connection
from backend.model import ChangedLimit
from backend.run.told import Told

log = logging.getLogger(__name__)

_ENDED = (NO_DOMAIN, OPERATION_INVALID)
"""The limits were QEMU's, and that QEMU is gone: there is nothing to put back."""


PAUSE, BANDWIDTH = "pause-limit", "bandwidth"


@dataclass(slots=True)
class ChangedParameters:
    """The pause limit and bandwidth of one VM at its source; `told` keeps what they were."""

    host: HostWatch
    told: Told

    @property
    def uuid(self) -> str:
        """The VM's."""
        return self.told.state.uuid

    async def set_pause_limit(self, pause_ms: int) -> None:
        """Allow the VM a pause of `pause_ms`. Raises HypervisorError."""
        await self._record(PAUSE, lambda conn: tuning.read_pause_limit(conn, self.uuid))
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
        await self._record(BANDWIDTH, lambda conn: tuning.read_bandwidth(conn, self.uuid))
        await self.host.call(
            lambda conn: tuning.set_bandwidth(conn, self.uuid, rate_bytes_s),
            what="set the bandwidth",
        )

    async def _record(self, name: str, read: Callable[[Connection], int | None]) -> None:
        """What it was, before its first change."""
        changed = self.told.state.changed
        if any(one.name == name for one in changed):
            return
        before = await self.host.call(read, what="read its migration limits")
        self.told.update(changed=(*changed, ChangedLimit(name, before)))

    async def put_back(self, contested: bool = False) -> tuple[str, ...]:
        """Restore both; returns what could not be restored, as leftovers with their remedy.

        `contested`: somebody else moves the VM now, and a limit that is no more ours is left.
        """
        left: list[str] = []
        for one in self.told.state.changed:
            if contested and not await self._is_ours(one.name):
                continue
            if one.name == BANDWIDTH:
                left += await self._restore_bandwidth(one.before)
            elif one.before is not None:
                left += await self._restore_pause_limit(one.before)
        return tuple(left)

    async def _is_ours(self, name: str) -> bool:
        """It is still what was set here last."""
        state = self.told.state
        try:
            if name == PAUSE:
                read = await self.host.call(lambda conn: tuning.read_pause_limit(conn, self.uuid))
                return read == state.pause_limit_ms
            rate = await self.host.call(lambda conn: tuning.read_bandwidth(conn, self.uuid))
        except FerryError:
            return True
        set_to = state.bandwidth_bytes_s
        return rate == (None if set_to is None else tuning.mib_per_s(set_to) * tuning.MIB)

    async def _restore_pause_limit(self, pause_ms: int) -> list[str]:
        return await self._restore(
            "pause limit",
            f"virsh migrate-setmaxdowntime {self.uuid} {pause_ms}",
            lambda conn: tuning.set_pause_limit(conn, self.uuid, pause_ms),
        )

    async def _restore_bandwidth(self, rate_bytes_s: int | None) -> list[str]:
        return await self._restore(
            "bandwidth",
            f"virsh migrate-setspeed {self.uuid} {tuning.mib_per_s(rate_bytes_s)}",
            lambda conn: tuning.set_bandwidth(conn, self.uuid, rate_bytes_s),
        )

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
