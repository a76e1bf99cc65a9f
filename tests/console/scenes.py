"""Moments of recorded real runs and the keys that lead to a screen: what a picture is drawn of."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from textual.pilot import Pilot

from backend.model import Evacuation, Migration, Phase, Roll, RollState, Word
from backend.service.protocol import Change, EvacuationChanged, RollChanged
from tests.console import rolls
from tests.console.recorded import Entry, RecordedLink, answered, begun, when
from tui.app import FerryApp

Moment = Callable[[list[Entry]], float]


@dataclass(frozen=True, slots=True)
class Scene:
    """A recording played to `moment`, then what is `told` besides, then keys; and played on to
    `later`, then more keys."""

    recording: str
    moment: Moment
    keys: tuple[str, ...] = ()
    later: Moment | None = None
    more: tuple[str, ...] = ()
    told: Callable[[float], tuple[Change, ...]] = lambda _now: ()
    """What the engine says then that was not recorded, by the time of day."""


async def played(app: FerryApp, pilot: Pilot[None], link: RecordedLink, scene: Scene) -> None:
    """Bring a console that has just been opened on the recording to the scene."""
    await link.play_to(scene.moment(link.entries))
    for change in scene.told(link.clock()):
        await link.publish(change)
    await _reach(app, pilot, link, scene.moment, scene.keys)
    if scene.later is not None:
        await _reach(app, pilot, link, scene.later, scene.more)


async def _reach(
    app: FerryApp, pilot: Pilot[None], link: RecordedLink, moment: Moment, keys: tuple[str, ...]
) -> None:
    await link.play_to(moment(link.entries))
    app.flush()
    for key in keys:
        await pilot.press(key)
        await answered(app)
    app.flush()
    await pilot.pause()


def at(t_s: float) -> Moment:
    """So long after the recording's begin."""
    return lambda _: t_s


def end(entries: list[Entry]) -> float:
    """Its last moment."""
    return entries[-1].t


def first(wanted: Callable[[Migration], bool], later_s: float = 0.0) -> Moment:
    """So long after a migration was first seen like that."""
    return lambda entries: when(entries, wanted) + later_s


def both(entries: list[Entry]) -> float:
    """A while after the second of two began."""
    return max(seen.t for seen in begun(entries).values()) + 12.0


def run(wanted: Callable[[Evacuation], bool], later_s: float = 0.0) -> Moment:
    """So long after an evacuation was first seen like that."""

    def moment(entries: list[Entry]) -> float:
        runs = ((e.t, e.change) for e in entries if isinstance(e.change, EvacuationChanged))
        return next(t for t, change in runs if wanted(change.evacuation)) + later_s

    return moment


def rolling(wanted: Callable[[Roll], bool], later_s: float = 0.0) -> Moment:
    """So long after a roll was first seen like that."""

    def moment(entries: list[Entry]) -> float:
        rolled = ((e.t, e.change) for e in entries if isinstance(e.change, RollChanged))
        return next(t for t, change in rolled if wanted(change.roll)) + later_s

    return moment


def _passing(number: int) -> Callable[[Migration], bool]:
    return lambda m: m.sample is not None and m.sample.pass_number >= number


def _says(word: Word) -> Callable[[Migration], bool]:
    return lambda m: m.running and m.outlook is not None and m.outlook.word is word


def _in(phase: Phase) -> Callable[[Migration], bool]:
    return lambda m: m.running and m.phase is phase and m.sample is not None


def _ended(m: Migration) -> bool:
    return m.verdict is not None


OPEN = ("M", "enter")
DB = ("slash", *"db-1", "enter", "m")
HOST = ("tab", "j")
"""To the second host, the one that is emptied."""

FLEET = Scene("two-at-once", both)
ADVISED = Scene("advice", at(4.0))
FLEET_CUT = Scene("host-cut", at(25.0))
PLAN = Scene("db", at(0.5), DB)
BLOCKED = Scene("idle", at(0.5), ("slash", *"files-1", "enter", "m"))
COLD_PLAN = Scene("cold", at(2.0), ("m",))
STARTING = Scene("db", first(lambda m: True), OPEN)
COPYING = Scene("cold", first(_in(Phase.DISK), 4.0), OPEN)
CONVERGING = Scene("example", first(_passing(6), 1.0), OPEN)
WILL_NOT_CONVERGE = Scene("cache-abort", first(_says(Word.WILL_NOT_CONVERGE), 6.0), OPEN)
MOVED = Scene("example", first(_ended, 1.0), OPEN)
STAYED = Scene("cache-abort", first(_ended, 1.0), OPEN)
COLD = Scene("cold", first(_ended, 1.0), OPEN)
MIGRATIONS = Scene("two-at-once", both, ("M",))
HISTORY = Scene("two-at-once", end, ("h",))
REPLAY = Scene("db", end, ("h", "enter", "0", *"nnnn"))
REVIEW = Scene("evacuation", at(2.0), (*HOST, "e"))
REVIEW_ASKED = Scene("evacuation", at(2.0), (*HOST, "e", "enter"))
TIMELINE = Scene("evacuation", run(lambda r: r.started is not None, 25.0), (*HOST, "e"))
EVACUATED = Scene(
    "evacuation",
    run(lambda r: r.started is not None, 25.0),
    (*HOST, "e"),
    later=run(lambda r: r.ended is not None, 1.0),
)
FLEET_ROLLED = Scene("two-at-once", both, told=lambda now: rolls.told(rolls.emptied_now(now)))
ROLL = Scene(
    "two-at-once",
    both,
    ("r",),
    told=lambda now: rolls.told(rolls.emptied_now(now), rolls.emptying("e1", "kvm-b", now)),
)
ROLL_STOPPED = Scene("two-at-once", both, ("r",), told=lambda now: rolls.told(rolls.stopped(now)))
ROLL_ASKED = replace(ROLL_STOPPED, keys=("r", "a"))
ROLL_OF_TWELVE = Scene(
    "two-at-once", both, ("r",), told=lambda now: rolls.told(rolls.of_twelve(now))
)
ROLL_RECORDED = Scene("roll", rolling(lambda r: r.state is RollState.STOPPED, 2.0), ("r",))
NO_ROLL = Scene("two-at-once", both, ("r",))
DOCTOR = Scene("evacuation", end, ("D",))
