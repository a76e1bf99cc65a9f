"""Rolls as an engine would publish them, of the hosts of the recordings and of more."""

from dataclasses import replace

from backend.model import (
    Band,
    Candidate,
    Evacuation,
    EvacuationKind,
    EvacuationMove,
    EvacuationNote,
    EvacuationState,
    EvacuationWish,
    Forecast,
    HookEnd,
    Mode,
    MoveState,
    Roll,
    RollHost,
    RollState,
    RollStep,
    RollWish,
    Way,
)
from backend.plan import roll_course as course
from backend.service.protocol import Change, EvacuationChanged, RollChanged

HOOK = "apt-get -y upgrade && systemctl reboot"
HOSTS = ("kvm-a", "kvm-b", "kvm-c")
TWELVE = tuple(f"node-{number:02}" for number in range(1, 13))
FORECAST = Forecast(True, Band(20, 24, 31), Band(60, 80, 110))
FAILED = HookEnd(
    100,
    41.0,
    ("Reading package lists...", "E: Sub-process /usr/bin/dpkg returned an error code (1)"),
)


def move(name: str, source: str, target: str, state: MoveState, now: float) -> EvacuationMove:
    times = {"began": now - 60, "ended": now - 40} if state is MoveState.MOVED else {}
    reason = f"13.9 G stay free on {target}"
    known = (Candidate(target, Mode.LIVE, "", forecast=FORECAST, summary="live, balanced"),)
    made = EvacuationMove(name, f"uuid-{name}", source, Way.LIVE, target, state=state)
    return replace(made, reason=reason, candidates=known, begins_s=0.0, ends_s=24.0, **times)  # type: ignore[arg-type]


def emptying(id: str, host: str, now: float, *, open_: bool = True) -> Evacuation:
    """Of two VMs, the first of which has moved."""
    second = MoveState.MOVING if open_ else MoveState.MOVED
    run = Evacuation(
        id,
        EvacuationWish(host),
        EvacuationState.RUNNING if open_ else EvacuationState.ENDED,
        (
            move(f"web-{id}", host, "kvm-c", MoveState.MOVED, now),
            move(f"db-{id}", host, "kvm-c", second, now),
        ),
        started=now - 70,
        total_s=Band(80, 100, 120),
    )
    return run if open_ else replace(run, ended=now - 10)


def going_home(id: str, host: str, now: float) -> Evacuation:
    """One of two has come home."""
    wish = EvacuationWish(host, EvacuationKind.RETURN)
    return replace(emptying(id, host, now), wish=wish)


def roll(
    now: float,
    step: RollStep = RollStep.EMPTYING,
    *,
    hosts: tuple[str, ...] = HOSTS,
    command: str = HOOK,
    done: int = 1,
    **current: object,
) -> Roll:
    """Running; the first `done` hosts are done, the next one is at that step."""
    wish = RollWish(hosts, command, reboots=bool(command))
    ended = HookEnd(0, 41.0, ("done",)) if command else None
    began = now - 1800
    whole = []
    for number, name in enumerate(hosts):
        if number < done:
            host = RollHost(name, RollStep.DONE, began + 1700 * (number + 1) / done, hook=ended)
            whole.append(replace(host, runs=(f"e{number}",), left=(f"uuid-{name}",)))
        elif number == done:
            whole.append(replace(RollHost(name, step, now - 70), **current))  # type: ignore[arg-type]
        else:
            whole.append(RollHost(name))
    notes = (
        EvacuationNote(began, f"{hosts[0]} is empty"),
        EvacuationNote(began + 300, f"{hosts[0]} is done: its VMs are home"),
    )
    return Roll("o1", wish, RollState.RUNNING, tuple(whole), started=began, notes=notes)


def emptied_now(now: float) -> Roll:
    """The second host is being emptied, by the run `e1`."""
    return roll(now, runs=("e1",), run="e1")


def of_twelve(now: float) -> Roll:
    """The seventh is waited for."""
    return roll(now, RollStep.BACK, hosts=TWELVE, done=6, left=("uuid-db-1", "uuid-web-1"))


def stopped(now: float, **more: object) -> Roll:
    """The hook has failed on the second host."""
    made = roll(
        now,
        RollStep.HOOK,
        runs=("e1",),
        left=("uuid-db-1", "uuid-web-1"),
        hook_began=now - 60,
        hook=FAILED,
        **more,  # type: ignore[arg-type]
    )
    host = made.current
    assert host is not None
    why = f"The hook on {host.host} ended with exit code 100 after 41 s: {FAILED.lines[-1]}"
    note = EvacuationNote(now - 19, f"stopped: {why}")
    return replace(course.stopped(made, why, {host.host}), notes=(*made.notes, note))


def your_turn(now: float) -> Roll:
    """Without a hook: a host is empty, and the operator is to work there."""
    made = roll(now, RollStep.HOOK, command="", hook_began=now - 60, left=("uuid-db-1",))
    return replace(made, state=RollState.PAUSED)


def told(made: Roll, *runs: Evacuation) -> tuple[Change, ...]:
    """As an engine tells it."""
    return (*(EvacuationChanged(run) for run in runs), RollChanged(made))
