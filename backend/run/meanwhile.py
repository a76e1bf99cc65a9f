"""What befell a VM while it moved that no part of the migration did: somebody else suspended or
ended it, its guest shut down or crashed, its QEMU died.

By the hosts' events; since those can be missed, also by what its owner holds at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass

from backend.model import Outcome, Phase, VmState
from backend.run.told import Told
from backend.run.verdict import Judgement

_ARRIVED = ("resumed migrated", "resumed post-copy")
_ENDS = {
    "crashed panicked": "Its guest crashed",
    "stopped crashed": "Its guest crashed",
    "shutdown by guest": "Its guest shut down",
    "stopped shutdown": "Its guest shut down",
    "stopped destroyed": "Somebody else ended it",
    "stopped failed": "Its QEMU ended by itself",
}
"""What a lifecycle event means; the first one tells the most."""
_SHUT_DOWN = ("shutdown by guest", "stopped shutdown")
_SHUT_OFF = {
    "crashed": "Its guest crashed, or its QEMU ended by itself, meanwhile.",
    "shutdown": "Its guest shut down meanwhile.",
    "destroyed": "Somebody else ended it meanwhile.",
}
"""What the reason for being shut off means where no event was seen."""


@dataclass(slots=True)
class Meanwhile:
    """Of one migration; `ours` tells whether we have suspended the VM ourselves."""

    told: Told
    ours: Callable[[], bool]
    _suspended: str = ""
    """Where and when by somebody else; empty again once it was resumed."""
    _ended: str = ""
    shut_down_at: str = ""
    """The host on which its guest shut down; empty: none was seen to."""
    _arrived: bool = False

    def take(self, host: str, detail: str) -> None:
        """A lifecycle event of the VM at one of the two ends."""
        state = self.told.state
        self._arrived |= detail in _ARRIVED
        if host == state.target and not (self._arrived or state.post_copy):
            return  # there is only an unfinished copy
        where = f"on {host}, {self._when()}"
        if detail == "suspended paused" and not self.ours():
            self._suspended = where
            self.told.note("note", f"somebody else has suspended it {where}")
        elif detail == "resumed unpaused" and self._suspended:
            self._suspended = ""
            self.told.note("note", f"somebody else has resumed it {where}")
        elif detail in _ENDS and not self._ended:
            self.shut_down_at = host if detail in _SHUT_DOWN else ""
            self._ended = f"{_ENDS[detail]} {where}."
            self.told.note("note", f"{_ENDS[detail].lower()} {where}")

    def said(self, judgement: Judgement) -> str:
        """What is to be added to a judgement's reason; empty when nothing befell it."""
        seen, before = judgement.seen, self.told.state.state_before
        if seen is not None and seen.state is VmState.PAUSED and before is not VmState.PAUSED:
            if not (self._suspended or seen.state_reason == "user") or self.ours():
                return ""
            return f"It was suspended meanwhile by somebody else{self._place()}, and stays paused."
        if self._ended:
            return self._ended
        if seen is not None and seen.state is VmState.SHUT_OFF and before.active:
            return _SHUT_OFF.get(seen.state_reason, "")
        if self._suspended and judgement.outcome is Outcome.MOVED:
            return (
                f"It was suspended meanwhile by somebody else{self._place()}; libvirt lets such a"
                f" VM go on once it has arrived."
            )
        return ""

    def _place(self) -> str:
        return f" ({self._suspended})" if self._suspended else ""

    def _when(self) -> str:
        state = self.told.state
        if state.phase is Phase.PREPARE:
            return "before it was begun"
        if state.phase is Phase.VERIFY:
            return "after the copy"
        if state.post_copy:
            return "during post-copy"
        return "at the switchover" if state.phase is Phase.SWITCHOVER else "during the copy"
