"""What is said of runs (hosts that are emptied, VMs that are brought home, maintenance) and of the
rules that ask for them."""

from backend.model import Advising, Evacuation, EvacuationControl, EvacuationWish
from backend.service.message import Message


class PlanEvacuation(Message, frozen=True):
    """What emptying a host, or bringing its VMs home, would be -> EvacuationReply.

    `fresh`: ask every host once more; else what was found in the last minute is good enough.
    """

    wish: EvacuationWish
    fresh: bool = True


class StartEvacuation(Message, frozen=True):
    """Begin it -> EvacuationReply; nothing is begun, and `changed` says why, where it is not as
    the wish's choices (`Evacuation.pinned` of what was reviewed)."""

    wish: EvacuationWish


class ListEvacuations(Message, frozen=True):
    """Open runs and the newest that ended, oldest first -> EvacuationsReply."""


class SteerEvacuation(Message, frozen=True):
    """A control of a run (by its id or its host) -> Done; `uuid`: of the VM that is meant."""

    id: str
    control: EvacuationControl
    uuid: str | None = None


class SetMaintenance(Message, frozen=True):
    """A host takes no VM from now on, or does again -> Done."""

    host: str
    on: bool


class GetAdvice(Message, frozen=True):
    """What the rules say -> AdviceReply.

    `after`: wait for a round later than that; None: decide now, by all that is known.
    `settle`: first wait until the hosts have answered, and loads are known of as many rounds as
    the rules ask for.
    """

    after: int | None = None
    settle: bool = False


class AdviceReply(Message, frozen=True):
    advising: Advising


class AdviceChanged(Message, frozen=True):
    """The rules say something else from now on."""

    advising: Advising


class EvacuationReply(Message, frozen=True):
    evacuation: Evacuation


class EvacuationsReply(Message, frozen=True):
    evacuations: tuple[Evacuation, ...]


class EvacuationChanged(Message, frozen=True):
    """A run began, went on or ended."""

    evacuation: Evacuation
