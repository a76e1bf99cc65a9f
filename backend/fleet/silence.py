"""Which QEMUs of a host do not answer their libvirt. Pure.

libvirt's statistics pass by a QEMU that somebody else waits for, and then lack what only it
could tell. For a moment that is so of any VM that something is done to; of one that hangs it
stays so.
"""

from collections.abc import Collection

SILENT_S = 5.0
"""So long without an answer is told."""


class Silence:
    """Of one host; times are of a clock that never jumps."""

    def __init__(self) -> None:
        self._heard_s: dict[str, float] = {}
        self._unheard: set[str] = set()
        self._tells = False
        """A QEMU was heard once: there are drivers that never ask one."""

    def see(self, uuid: str, heard: bool, now_s: float) -> None:
        """One more look at a VM that runs."""
        self._tells |= heard
        if heard:
            self._unheard.discard(uuid)
        else:
            self._unheard.add(uuid)
        if heard or uuid not in self._heard_s:
            self._heard_s[uuid] = now_s

    def stuck(self, uuid: str, now_s: float) -> None:
        """A call about it was not answered in time."""
        self._unheard.add(uuid)
        self._heard_s[uuid] = min(self._heard_s.get(uuid, now_s), now_s - SILENT_S)

    def keep(self, uuids: Collection[str]) -> None:
        """Forget all others: they do not run here any more."""
        self._heard_s = {uuid: at for uuid, at in self._heard_s.items() if uuid in uuids}
        self._unheard.intersection_update(uuids)

    def passed_by(self, uuid: str) -> bool:
        """It was not heard in the last look: whoever asks it now may wait for long."""
        return self._tells and uuid in self._unheard

    def lasting(self, uuid: str, now_s: float) -> bool:
        """It has not been heard for so long that it is to be told."""
        return self.passed_by(uuid) and now_s - self._heard_s[uuid] >= SILENT_S
