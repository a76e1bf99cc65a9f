"""Emptying a host, and bringing home what left it: many moves as one run."""

from dataclasses import dataclass, field
from enum import StrEnum

from backend.model.band import Band
from backend.model.disks import DiskChoice
from backend.model.planning import Forecast, Mode, MoveOptions


class EvacuationKind(StrEnum):
    """Which way the VMs go."""

    EVACUATE = "evacuate"
    """Away from the host, to others."""
    RETURN = "return"
    """Back to the host that they left in an evacuation."""


class EvacuationState(StrEnum):
    """How far a run is."""

    PLANNED = "planned"
    """Nothing has been touched."""
    RUNNING = "running"
    PAUSED = "paused"
    """What moves goes on; nothing new is started."""
    INTERRUPTED = "interrupted"
    """Its engine ended in the middle; it goes on when somebody says so."""
    ENDED = "ended"

    @property
    def open(self) -> bool:
        """Begun and not ended."""
        return self not in (EvacuationState.PLANNED, EvacuationState.ENDED)


class Way(StrEnum):
    """How a VM would leave."""

    LIVE = "live"
    LIVE_WITH_DISKS = "live with disks"
    COLD = "cold"
    RESTART = "restart"
    """Only by a restart, so only if that is chosen for it."""
    CANNOT = "cannot"


class MoveState(StrEnum):
    """How far one VM of a run is."""

    WAITING = "waiting"
    MOVING = "moving"
    MOVED = "moved"
    STAYED = "stayed"
    """Tried, and it is where it was."""
    LEFT_OUT = "left out"
    """Not tried, because somebody said so."""
    CANNOT = "cannot"
    """Not tried, because nothing takes it."""
    NEEDS_YOU = "needs you"
    """It is not known where it runs, or it runs nowhere, or twice."""

    @property
    def final(self) -> bool:
        """Nothing more is to be done about it by this run."""
        return self not in (MoveState.WAITING, MoveState.MOVING)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One target for one VM, as a plan found it."""

    target: str
    mode: Mode
    refused: str = ""
    """Why it cannot be, with the remedy; empty where it can."""
    fit: int | None = None
    forecast: Forecast | None = None
    copied_bytes: int = 0
    """Of disks."""
    link_bytes_s: float | None = None
    disks: tuple[DiskChoice, ...] = ()
    """Names for copies, where a file of the disk's own name is there already."""
    policy: str = ""
    pause_limit_ms: int = 0
    summary: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvacuationMove:
    """One VM of a run."""

    vm: str
    uuid: str
    source: str
    way: Way
    target: str | None = None
    mode: Mode = Mode.LIVE
    state: MoveState = MoveState.WAITING
    reason: str = ""
    """Why there; or why it does not go, why it stayed."""
    candidates: tuple[Candidate, ...] = ()
    memory_bytes: int = 0
    begins_s: float | None = None
    """Forecast, from the run's start (while it is planned: from the confirm)."""
    ends_s: float | None = None
    ids: tuple[str, ...] = ()
    """Its migrations, oldest first."""
    began: float | None = None
    """Epoch seconds of the confirm of its (last) migration."""
    ended: float | None = None
    pause_ms: int | None = None
    outage_ms: int | None = None
    sent_bytes: int = 0
    kept: tuple[str, ...] = ()
    """Images left at the source: `kept: PATH on HOST`."""
    leftovers: tuple[str, ...] = ()
    rank: int = 0
    """The operator's order: a lower one begins first."""
    stop: bool = False
    """It was asked to stay."""

    @property
    def id(self) -> str | None:
        """Of its newest migration."""
        return self.ids[-1] if self.ids else None

    @property
    def candidate(self) -> Candidate | None:
        """The chosen target, as planned."""
        fitting = (c for c in self.candidates if (c.target, c.mode) == (self.target, self.mode))
        return next(fitting, None)

    @property
    def forecast(self) -> Forecast | None:
        """Of the move to the chosen target."""
        return self.candidate.forecast if self.candidate else None

    @property
    def can_restart(self) -> bool:
        """Some target takes it if it is shut down for it."""
        return any(c.mode is Mode.RESTART and not c.refused for c in self.candidates)


@dataclass(frozen=True, slots=True)
class EvacuationChoice:
    """What the operator wants of one VM; None: as it is found best."""

    uuid: str
    target: str | None = None
    mode: Mode | None = None
    leave: bool = False
    """It stays where it is."""


@dataclass(frozen=True, slots=True)
class EvacuationWish:
    """What is asked of an evacuation or a return."""

    host: str
    kind: EvacuationKind = EvacuationKind.EVACUATE
    targets: tuple[str, ...] = ()
    """Only these hosts take VMs; empty: all others."""
    options: MoveOptions = field(default_factory=MoveOptions)
    """Of every move: policy, pause limit, bandwidth, remove_source."""
    choices: tuple[EvacuationChoice, ...] = ()
    fixed_cap: int | None = None
    """So many at one time in the order they are listed, whatever their links: for measuring what
    the computed order saves."""
    until: float | None = None
    """Epoch seconds: what would not end by then is not started."""
    maintenance: bool = True
    """A host that is emptied is in maintenance from then on."""


@dataclass(frozen=True, slots=True)
class EvacuationNote:
    """Something decided or done, in one sentence."""

    at: float
    """Epoch seconds."""
    sentence: str
    by: str = "engine"
    """engine, or operator."""


@dataclass(frozen=True, slots=True)
class Evacuation:
    """One run: everything about it."""

    id: str
    wish: EvacuationWish
    state: EvacuationState = EvacuationState.PLANNED
    moves: tuple[EvacuationMove, ...] = ()
    """In the order in which they are to begin; those that do not go last."""
    made: float = 0.0
    """Epoch seconds of the plan."""
    started: float | None = None
    """Epoch seconds of the operator's confirm."""
    ended: float | None = None
    total_s: Band | None = None
    """Forecast of the whole, from the start."""
    notes: tuple[EvacuationNote, ...] = ()
    aborted: bool = False
    """Somebody asked for its end."""
    changed: str = ""
    """Why a start was refused: what differs from the plan that was reviewed."""

    @property
    def host(self) -> str:
        """The one that is emptied, or that gets its VMs back."""
        return self.wish.host

    @property
    def kind(self) -> EvacuationKind:
        """Which way the VMs go."""
        return self.wish.kind

    def in_state(self, *states: MoveState) -> tuple[EvacuationMove, ...]:
        """The moves that are so."""
        return tuple(move for move in self.moves if move.state in states)

    def move_of(self, uuid: str) -> EvacuationMove | None:
        """Of one VM."""
        return next((move for move in self.moves if move.uuid == uuid), None)

    @property
    def pinned(self) -> tuple[EvacuationChoice, ...]:
        """Exactly this, as choices: what was reviewed is what is started."""
        return tuple(
            EvacuationChoice(
                move.uuid,
                move.target if move.state is MoveState.WAITING else None,
                move.mode if move.mode is Mode.RESTART and move.target else None,
                leave=any(one.leave for one in self.wish.choices if one.uuid == move.uuid),
            )
            for move in self.moves
        )

    @property
    def worst_pause_ms(self) -> float | None:
        """Forecast for those that go live; None where nothing is known."""
        known = [
            move.forecast.pause_ms.high
            for move in self.in_state(MoveState.WAITING, MoveState.MOVING)
            if move.forecast is not None and move.forecast.pause_ms is not None
        ]
        return max(known, default=None)

    @property
    def exit_code(self) -> int:
        """0: all moved; 1: something stayed; 3: something needs the operator."""
        if self.in_state(MoveState.NEEDS_YOU):
            return 3
        return 0 if all(move.state is MoveState.MOVED for move in self.moves) else 1


class EvacuationControl(StrEnum):
    """What an operator can do to a run."""

    PAUSE = "pause"
    RESUME = "resume"
    """Also goes on with one that was interrupted, and tries again what stayed of it."""
    ABORT = "abort"
    """Nothing more is started, and what moves is asked to stay."""
    SKIP = "skip"
    """One VM is not moved; if it moves already it is asked to stay."""
    SOONER = "sooner"
    """One VM goes before those that wait."""
    LATER = "later"
    """And after them."""
