"""What is said of rolls: several hosts emptied, worked on and filled again, one after the other."""

from backend.model import Roll, RollControl, RollWish
from backend.service.message import Message


class PlanRoll(Message, frozen=True):
    """What a roll would be -> RollReply; the first host is planned, nothing is touched."""

    wish: RollWish


class StartRoll(Message, frozen=True):
    """Begin it -> RollReply; nothing is begun, and `changed` says why, where the first host is not
    as the wish's `reviewed` (`Evacuation.pinned` of its plan)."""

    wish: RollWish


class ListRolls(Message, frozen=True):
    """The open one and the newest that ended, oldest first -> RollsReply."""


class SteerRoll(Message, frozen=True):
    """A control of the open roll -> Done."""

    control: RollControl


class RollReply(Message, frozen=True):
    roll: Roll


class RollsReply(Message, frozen=True):
    rolls: tuple[Roll, ...]


class RollChanged(Message, frozen=True):
    """A roll began, went on, stopped or ended."""

    roll: Roll
