"""What is so of a roll and its hosts, for rows and lines: glyphs, words, times."""

from collections.abc import Mapping
from dataclasses import dataclass

from backend.model import (
    Evacuation,
    EvacuationKind,
    FleetSnapshot,
    MoveState,
    Roll,
    RollHost,
    RollState,
    RollStep,
)
from tui.render import evacuation_words as words
from tui.render import units
from tui.render.ink import Ink, Span

DOING: dict[RollStep, str] = {
    RollStep.WAITING: "about to begin",
    RollStep.EMPTYING: "emptying",
    RollStep.HOOK: "hook runs",
    RollStep.BACK: "coming back",
    RollStep.RETURNING: "VMs come home",
    RollStep.DONE: "done",
}
NAMES: dict[RollStep, str] = {**DOING, RollStep.WAITING: "before its turn", RollStep.HOOK: "hook"}
"""Of a step that does not go on."""
_GLYPHS = {
    RollStep.WAITING: "◌",
    RollStep.EMPTYING: "⇢",
    RollStep.HOOK: "●",
    RollStep.BACK: "◌",
    RollStep.RETURNING: "⇠",
}


@dataclass(frozen=True, slots=True)
class RollView:
    """A roll, and what is known besides."""

    roll: Roll
    now: float
    fleet: FleetSnapshot
    runs: Mapping[str, Evacuation]
    """Evacuations and returns, by id."""

    @property
    def run(self) -> Evacuation | None:
        """That of the step whose turn it is."""
        host = self.roll.current
        return self.runs.get(host.run or "") if host else None

    @property
    def your_turn(self) -> bool:
        """A host is empty, and the roll waits for the operator's own work there."""
        host, roll = self.roll.current, self.roll
        ready = host is not None and host.step is RollStep.HOOK and host.hook_began is not None
        return ready and not roll.wish.hook and roll.state is RollState.PAUSED

    @property
    def hook_runs(self) -> bool:
        """As far as is known; while an engine is there to see it."""
        host, roll = self.roll.current, self.roll
        began = host is not None and host.step is RollStep.HOOK and host.hook_began is not None
        at_work = roll.state in (RollState.RUNNING, RollState.PAUSED)
        return began and bool(roll.wish.hook) and at_work and host is not None and host.hook is None

    @property
    def done(self) -> int:
        """How many hosts are."""
        return sum(one.step is RollStep.DONE for one in self.roll.hosts)

    @property
    def following(self) -> tuple[str, ...]:
        """Hosts whose turn comes after this one's."""
        waiting = [one for one in self.roll.hosts if one.step is RollStep.WAITING]
        return tuple(one.host for one in waiting if one != self.roll.current)

    def turn_began(self, host: RollHost) -> float | None:
        """When the one before it was done; None while it waits."""
        if host.step is RollStep.WAITING:
            return None
        at = self.roll.hosts.index(host)
        return self.roll.hosts[at - 1].began if at else self.roll.started

    def run_of(self, host: RollHost, kind: EvacuationKind | None = None) -> Evacuation | None:
        """The newest of that host, or of that kind."""
        known = (self.runs.get(id) for id in host.runs)
        fitting = [run for run in known if run and kind in (None, run.kind)]
        return fitting[-1] if fitting else None


def step_span(view: RollView, host: RollHost) -> Span:
    """A glyph and what is done with that host now."""
    roll = view.roll
    if host.step is RollStep.DONE:
        return ("✓ done", Ink.OK)
    if host != roll.current:
        is_next = view.following[:1] == (host.host,) and roll.state.open and not roll.aborted
        return ("○ next" if is_next else "○ waits", Ink.DIM)
    if view.your_turn:
        return ("! your turn", Ink.WARN)
    match roll.state:
        case RollState.RUNNING:
            return (f"{_GLYPHS[host.step]} {DOING[host.step]}", Ink.MOVE)
        case RollState.STOPPED | RollState.INTERRUPTED:
            return (f"✕ {NAMES[host.step]}", Ink.BAD)
        case RollState.ENDED:
            return (f"– {NAMES[host.step]}", Ink.WARN)
    return (f"○ {DOING[host.step] if view.hook_runs else NAMES[host.step]}", Ink.WARN)


def vms_words(view: RollView, host: RollHost) -> str:
    """`2 of 5 gone`, `5 away`, `1 of 5 home`; empty where no VM is on its way."""
    run = view.run_of(host)
    if host.step is RollStep.DONE:
        return f"{len(host.left)} home" if host.left else ""
    if host.step is RollStep.EMPTYING and run is not None:
        gone = len(run.in_state(MoveState.MOVED))
        return f"{gone} of {len(words.going(run))} gone"
    if host.step is RollStep.RETURNING and host.left:
        home = {vm.uuid for vm in view.fleet.vms if vm.host == host.host}
        return f"{len(home & set(host.left))} of {len(host.left)} home"
    return f"{len(host.left)} away" if host.left else ""


def hook_span(view: RollView, host: RollHost) -> Span | None:
    """How the hook ended there; None before it began, or where there is none."""
    if host.hook is not None:
        status, took = host.hook.exit_status, units.duration(host.hook.took_s)
        if status is None:
            return ("? cut off", Ink.WARN)
        return (f"✓ {took}", Ink.OK) if status == 0 else (f"✕ exit {status}", Ink.BAD)
    if host.hook_began is None or not view.roll.wish.hook:
        return None
    if host == view.roll.current and host.step is RollStep.HOOK:
        return ("● runs", Ink.MOVE) if view.hook_runs else ("? not known", Ink.WARN)
    return ("– left out", Ink.DIM)


def run_words(view: RollView, host: RollHost) -> str:
    """How far its newest run is, or how it ended."""
    run = view.run_of(host)
    return words.whole(run, view.now) if run is not None else ""
