"""Two who want to move one VM: the hosts' own job lock decides, and the loser says so.

libvirt 9.0 refuses the second call at once ("another migration job is already running") where it
meets the first one's job between two phases; else it lets it wait for that job and gives it up
after 30 s (code 68, "cannot acquire state change lock"): meanwhile all it tells is of the other's.
"""

import contextlib
from dataclasses import dataclass

from backend.errors import OPERATION_TIMEOUT, FerryError, HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains
from backend.hypervisor.migrate import OUTWARD
from backend.model import Outcome, VmState
from backend.plan.preflight_vm import MOVED_BY_OTHERS, MOVED_BY_OTHERS_REMEDY
from backend.run.settle import ask
from backend.run.told import Told
from backend.run.verdict import Before, Judgement, state_words


@dataclass(slots=True)
class Contest:
    """Whether somebody else has the VM's job."""

    told: Told
    source: HostWatch
    lost: bool = False
    """They have: nothing of ours was begun."""

    async def must_be_free(self) -> None:
        """Before anything is changed. Raises HypervisorError when it moves already."""
        if await self._moves():
            self.lost = True
            raise self._theirs()

    async def understood(self, error: FerryError, others: bool) -> FerryError:
        """What a migrate call that failed with `error` means; `others`: all that was seen of a
        migration meanwhile was somebody else's."""
        if "another migration job is already running" in error.sentence:
            self.lost = True
            return self._theirs()
        code = error.code if isinstance(error, HypervisorError) else 0
        waited = code == OPERATION_TIMEOUT and "state change lock" in error.sentence
        if not (waited or others):
            return error
        with contextlib.suppress(FerryError):
            self.lost = await self._moves()
        return self._theirs() if self.lost or others else error

    async def judged(self, before: Before) -> Judgement | None:
        """Of the loser, while the VM is still where it was; None: ask both ends."""
        if not self.lost:
            return None
        end = await ask(self.source, self.told.state.uuid)
        if end is None or not end.active or end.handed_over or end.in_post_copy:
            return None
        verb = "runs" if end.state is VmState.RUNNING else f"is {state_words(end)}"
        reason = f"It {verb} on {self.source.name}, and nothing of this migration was begun."
        return Judgement(Outcome.STAYED, self.source.name, reason)

    async def _moves(self) -> bool:
        uuid = self.told.state.uuid
        kind = await self.source.call(
            lambda conn: domains.job_info_kind(conn, uuid), what="say whether it moves"
        )
        return kind == OUTWARD

    def _theirs(self) -> HypervisorError:
        sentence = f"{MOVED_BY_OTHERS.format(vm=self.told.state.vm)}."
        return HypervisorError(sentence, MOVED_BY_OTHERS_REMEDY)
