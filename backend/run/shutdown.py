"""Shutting a VM down by its guest, and no other way."""

import asyncio
import time

from backend.errors import HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import definitions, domains
from backend.model import Outlook, VmState, Word
from backend.plan.wording import seconds
from backend.run.told import Told

DEFAULT_S = 180.0
ASK_AGAIN_S = 10.0
"""A guest that still boots, or was just asked, does not hear its power button."""
LOOK_EVERY_S = 0.5
CALL_LIMIT_S = 10.0


class Shutdown:
    """Of one VM, before it is moved."""

    def __init__(self, told: Told, source: HostWatch) -> None:
        self._told = told
        self._source = source
        self.asked_only = False
        """The guest has been asked and may end any moment: there is nothing to cancel."""

    async def down(self, limit_s: float | None) -> None:
        """Until it is shut off. Raises HypervisorError when it does not within `limit_s`."""
        limit_s = limit_s or DEFAULT_S
        begun_s, asked_s = time.monotonic(), -ASK_AGAIN_S
        uuid, name = self._told.state.uuid, self._source.name
        self._told.note("shutdown", f"asking the guest to shut down, for {seconds(limit_s)}")
        self.asked_only = True
        try:
            while (gone_s := time.monotonic() - begun_s) < limit_s:
                if time.monotonic() - asked_s >= ASK_AGAIN_S:
                    asked_s = time.monotonic()
                    await self._source.call(
                        lambda conn: definitions.shut_down(conn, uuid),
                        CALL_LIMIT_S,
                        "shut it down",
                    )
                seen = await self._source.call(
                    lambda conn: domains.presence(conn, uuid), CALL_LIMIT_S, "say whether it runs"
                )
                if not seen.active and seen.state in (VmState.SHUT_OFF, VmState.UNKNOWN):
                    self._told.note("shutdown", f"it has shut down on {name}")
                    return
                reason = f"waiting for the guest to shut down: {seconds(gone_s)}"
                self._told.update(outlook=Outlook(Word.STARTING, reason))
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self.asked_only = False
        raise HypervisorError(
            f"Its guest did not shut down within {seconds(limit_s)}.",
            f"Look at its console, or give it longer with --shutdown-time; it runs on {name}.",
        )
