"""What the order of several moves depends on, and what is said of it. Pure.

Bytes, bytes/s, seconds from now; pauses in ms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from backend.model import Band, Policy, Tuning
from backend.plan.simulate import Scenario

UNKNOWN_LINK_BYTES_S = 100e6
"""Of a pair of hosts of which nothing is known: 1 Gbit/s, less what TLS and TCP take."""


@dataclass(frozen=True, slots=True)
class QueuedMove:
    """One move of an evacuation: what it sends, and what the VM writes meanwhile."""

    id: str
    """Its VM's UUID, or whatever the caller tells its moves apart by."""
    vm: str
    source: str
    target: str
    memory: Scenario | None = None
    """Of the VM's running memory, as likely; None: nothing runs (a cold move, a restart), or
    nothing is known of it."""
    disk_bytes: int = 0
    """Sent before the memory; of a cold move all there is."""
    policy: Policy | None = None
    tuning: Tuning | None = None
    """As its plan has them; None with `memory` None."""
    deadline_s: float | None = None
    pauses_ms: tuple[float, ...] = ()
    """What the newest pauses at the target took besides half of their limit (`Prior.pauses_ms`)."""
    alone_s: Band | None = None
    """Its plan's forecast of the whole move; the order needs it only where `memory` is None."""
    most_bytes_s: float | None = None
    """The operator's limit for it."""
    runs: bool = False
    """Its VM runs and will pause, also where nothing is known of its memory."""
    rank: int = 0
    """The operator's order: all of a lower rank are started before any of a higher one; within
    a rank the order is computed."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """One wire that several pairs of hosts share beyond their own links."""

    pairs: frozenset[tuple[str, str]]
    """(source, target)."""
    rate_bytes_s: float


@dataclass(frozen=True, slots=True)
class LinkMap:
    """What the ways between hosts carry."""

    pairs: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(source, target): what one move alone gets."""
    uplinks: Mapping[str, float] = field(default_factory=dict)
    """Host: all that it can send; not in it: as the fastest pair from it."""
    downlinks: Mapping[str, float] = field(default_factory=dict)
    """Host: all that it can receive; not in it: as the fastest pair to it."""
    bottlenecks: tuple[Bottleneck, ...] = ()


class Stage(StrEnum):
    """What a move that was started does to its link."""

    COPYING = "copying"
    """From its start to the VM's pause, that included."""
    FINISHING = "finishing"
    """The VM runs at the target and the link is idle: the end is awaited, both ends are asked."""


@dataclass(frozen=True, slots=True)
class Going:
    """A move that was started and has no verdict."""

    move: QueuedMove
    since_s: float
    """How long ago it was started."""
    stage: Stage = Stage.COPYING
    left_s: float | None = None
    """To its pause, as its outlook says now; None: as forecast."""
    rate_bytes_s: float | None = None
    """What it sends now, measured; None: not known yet."""
    after: tuple[str, ...] = ()
    """Ids of those that it lets leave its link before it sends."""
    sooner_s: float = 0.0
    """By so much its pause may come sooner: the next is made ready in time for that."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue at one moment; what has ended, failed or was skipped is not in it any more."""

    waiting: tuple[QueuedMove, ...]
    """In the order they were planned; `rank` goes before it."""
    going: tuple[Going, ...] = ()
    links: LinkMap = field(default_factory=LinkMap)
    paused: bool = False
    """Nothing is started."""
    most_at_once: int = 8
    """Moves that run at one time, whatever else would allow."""
    fixed_cap: int | None = None
    """So many at one time in the order they were planned, and nothing is computed: what a computed
    order is measured against."""


@dataclass(frozen=True, slots=True)
class Start:
    """One move to start now."""

    id: str
    reason: str
    """Why now, and beside what, as a sentence without its full stop."""
    after: tuple[str, ...] = ()
    """It is to be made ready now, and to send once these have left its link."""


@dataclass(frozen=True, slots=True)
class Slot:
    """When one move is expected to run."""

    id: str
    begin_s: float
    """From now; below zero where it runs already."""
    end_s: Band
    pause_ms: Band | None
    """None: its VM does not run, or nothing is known."""
    rate_bytes_s: float
    """The least its link gives it on the way."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole, as forecast."""

    slots: tuple[Slot, ...]
    """In the order of their beginning."""
    total_s: Band
    """From now to the last end."""
    worst_pause_ms: Band | None
    """The longest pause of any VM."""
