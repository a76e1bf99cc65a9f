"""An evacuation in words: its moves, its whole, what is left over. For screen and commands."""

from backend.model import (
    Evacuation,
    EvacuationKind,
    EvacuationMove,
    EvacuationState,
    Migration,
    Mode,
    MoveState,
    Phase,
    Way,
)
from tui.render import units
from tui.render.ink import Ink, Span

STATES: dict[MoveState, tuple[str, Ink]] = {
    MoveState.WAITING: ("○ waits", Ink.DIM),
    MoveState.MOVING: ("⇢ moves", Ink.MOVE),
    MoveState.MOVED: ("✓ moved", Ink.OK),
    MoveState.STAYED: ("! stayed", Ink.WARN),
    MoveState.LEFT_OUT: ("– left out", Ink.DIM),
    MoveState.CANNOT: ("✕ cannot", Ink.BAD),
    MoveState.NEEDS_YOU: ("✕ NEEDS YOU", Ink.BAD),
}
NOTHING = {
    EvacuationKind.EVACUATE: "no VM is on it",
    EvacuationKind.RETURN: "no VM left it in an evacuation and is still away",
}


def title(run: Evacuation) -> str:
    """`EVACUATE kvm-a`, `RETURN TO kvm-a`."""
    return (
        f"EVACUATE {run.host}" if run.kind is EvacuationKind.EVACUATE else f"RETURN TO {run.host}"
    )


def going(run: Evacuation) -> tuple[EvacuationMove, ...]:
    """Those that go, or went."""
    return tuple(
        move for move in run.moves if move.state not in (MoveState.CANNOT, MoveState.LEFT_OUT)
    )


def staying(run: Evacuation) -> tuple[EvacuationMove, ...]:
    """The others."""
    return run.in_state(MoveState.CANNOT, MoveState.LEFT_OUT)


def whole(run: Evacuation, now: float) -> str:
    """One line: how many, how long, the worst pause; while it runs when it ends."""
    count = len(going(run))
    if not run.moves:
        return NOTHING[run.kind]
    if not run.state.open and run.state is not EvacuationState.PLANNED:
        return ended(run)
    parts = [f"{units.counted(count, 'VM')} to move"]
    left = len(staying(run))
    parts += [f"{left} stay{'s' * (left == 1)}"] * bool(left)
    if run.state.open:
        done = len(run.in_state(MoveState.MOVED, MoveState.STAYED, MoveState.NEEDS_YOU))
        parts[0] = f"{done} of {count} done"
    if run.total_s is not None:
        parts.append(_until(run, now))
    if run.wish.until is not None:
        parts.append(f"the window ends {units.clock(run.wish.until)}")
    if run.worst_pause_ms is not None:
        parts.append(f"worst pause {units.milliseconds(run.worst_pause_ms)}")
    return " · ".join(parts)


def foreseen(move: EvacuationMove) -> bool:
    """How long it takes has a forecast."""
    return move.forecast is not None and move.forecast.total_s is not None


def _until(run: Evacuation, now: float) -> str:
    assert run.total_s is not None
    unforeseen = [
        move for move in run.in_state(MoveState.WAITING, MoveState.MOVING) if not foreseen(move)
    ]
    if unforeseen:
        count = units.counted(len(unforeseen), "VM")
        return f"how long is not known yet: no forecast of {count}"
    if run.started is None:
        end = now + run.total_s.mid
        return f"{units.band_s(run.total_s)}, until about {units.clock(end)}"
    left = max(0.0, run.started + run.total_s.mid - now)
    return f"{units.duration(left)} left, until about {units.clock(now + left)}"


def ended(run: Evacuation) -> str:
    """How it ended."""
    moved = len(run.in_state(MoveState.MOVED))
    took = (run.ended or 0.0) - (run.started or 0.0)
    pauses = [move.pause_ms for move in run.moves if move.pause_ms is not None]
    parts = [f"{moved} of {len(run.moves)} moved in {units.duration(took)}"]
    if pauses:
        parts.append(f"longest pause {units.milliseconds(max(pauses))}")
    return " · ".join(parts)


def way_word(move: EvacuationMove) -> str:
    """`live`, `live + 2 G`, `cold + 8 G`."""
    candidate = move.candidate
    copied = candidate.copied_bytes if candidate else 0
    word = "live" if move.way is Way.LIVE_WITH_DISKS else move.way.value
    return f"{word} + {units.size(copied)}" if copied else word


def is_readied(migration: Migration) -> bool:
    """It was begun and has sent nothing yet; its guest, if one runs, notices nothing."""
    early = migration.phase in (Phase.PREPARE, Phase.DISK) and migration.sample is None
    return migration.running and early and migration.mode is not Mode.RESTART


def state_span(move: EvacuationMove) -> Span:
    """A glyph and a word."""
    if move.stop and move.state is MoveState.MOVING:
        return ("⇢ asked to stay", Ink.WARN)
    return STATES[move.state]


def pause_words(move: EvacuationMove) -> str:
    """Measured, once it is; else forecast."""
    if move.pause_ms is not None:
        return units.milliseconds(move.pause_ms)
    forecast = move.forecast
    return units.band_ms(forecast.pause_ms if forecast else None)
