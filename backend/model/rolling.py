"""Maintenance of several hosts, one after the other: each is emptied, worked on, filled again."""

from dataclasses import dataclass, field
from enum import StrEnum

from backend.model.evacuating import Evacuation, EvacuationChoice, EvacuationNote
from backend.model.planning import MoveOptions

HOOK_WITHIN_S = 1800.0
BACK_WITHIN_S = 900.0


class RollStep(StrEnum):
    """How far one host of a roll is."""

    WAITING = "waiting"
    EMPTYING = "emptying"
    HOOK = "hook"
    """The hook runs there; without one: the operator works there, and says when it is done."""
    BACK = "coming back"
    """It is waited until the host answers again."""
    RETURNING = "returning"
    """What left comes home."""
    DONE = "done"


class RollState(StrEnum):
    """How far a roll is."""

    PLANNED = "planned"
    """Nothing has been touched."""
    RUNNING = "running"
    PAUSED = "paused"
    """It waits for the operator; what was begun is brought to its end."""
    STOPPED = "stopped"
    """By the first trouble; nothing is done until somebody says so."""
    INTERRUPTED = "interrupted"
    """Its engine ended in the middle; it goes on when somebody says so."""
    ENDED = "ended"

    @property
    def open(self) -> bool:
        """Begun and not ended."""
        return self not in (RollState.PLANNED, RollState.ENDED)


@dataclass(frozen=True, slots=True)
class HookEnd:
    """How a hook ended."""

    exit_status: int | None
    """None: the connection was lost meanwhile; it may have ended, or not."""
    took_s: float
    lines: tuple[str, ...] = ()
    """The last ones that it printed."""


@dataclass(frozen=True, slots=True)
class RollHost:
    """One host of a roll."""

    host: str
    step: RollStep = RollStep.WAITING
    began: float | None = None
    """Epoch seconds of the step."""
    runs: tuple[str, ...] = ()
    """Ids of its evacuations and returns, oldest first."""
    run: str | None = None
    """Id of the one that belongs to the step."""
    left: tuple[str, ...] = ()
    """UUIDs of the VMs that left it in this roll and are to come home."""
    boot_id: str = ""
    """As it was before the hook; empty: not known."""
    hook_began: float | None = None
    """Epoch seconds."""
    hook: HookEnd | None = None


@dataclass(frozen=True, slots=True)
class RollWish:
    """What is asked of a roll."""

    hosts: tuple[str, ...]
    hook: str = ""
    """A command for the host's shell, run there as the SSH login; empty: the roll waits instead
    until the operator says that the work is done."""
    hook_within_s: float = HOOK_WITHIN_S
    back_within_s: float = BACK_WITHIN_S
    reboots: bool = False
    """The host is back only when it has booted anew."""
    targets: tuple[str, ...] = ()
    """Only these hosts take VMs; empty: all others."""
    options: MoveOptions = field(default_factory=MoveOptions)
    """Of every move."""
    choices: tuple[EvacuationChoice, ...] = ()
    """VMs that stay where they are, or that may be restarted, on whichever host."""
    reviewed: tuple[EvacuationChoice, ...] | None = None
    """Exactly how the first host is to be emptied (`Evacuation.pinned`); None: not reviewed."""


@dataclass(frozen=True, slots=True)
class Roll:
    """One roll: everything about it."""

    id: str
    wish: RollWish
    state: RollState = RollState.PLANNED
    hosts: tuple[RollHost, ...] = ()
    first: Evacuation | None = None
    """The plan of the first host, while nothing has begun."""
    made: float = 0.0
    """Epoch seconds of the plan."""
    started: float | None = None
    """Epoch seconds of the operator's confirm."""
    ended: float | None = None
    trouble: str = ""
    """Why it stopped, what is true now, and how to go on; why it was refused, of a plan."""
    needs_you: bool = False
    """It stopped, and of some VM it is not known where it runs."""
    notes: tuple[EvacuationNote, ...] = ()
    aborted: bool = False
    """Somebody asked for its end."""
    changed: str = ""
    """Why a start was refused: what differs from the plan that was reviewed."""

    @property
    def current(self) -> RollHost | None:
        """The first host that is not done."""
        return next((one for one in self.hosts if one.step is not RollStep.DONE), None)

    def host_of(self, run: str) -> RollHost | None:
        """Whose evacuation or return that is."""
        return next((one for one in self.hosts if run in one.runs), None)

    @property
    def exit_code(self) -> int:
        """0: all hosts are done; 1: it stopped, or was ended; 3: a VM needs the operator."""
        if self.needs_you:
            return 3
        return 0 if self.current is None else 1


class RollControl(StrEnum):
    """What an operator can do to a roll."""

    PAUSE = "pause"
    RESUME = "resume"
    """Also tries again the step that it stopped at."""
    SKIP = "skip"
    """Goes on without the hook, or without waiting for the host."""
    ABORT = "abort"
    """Nothing more is begun; what is true then, and what to do, is said."""
