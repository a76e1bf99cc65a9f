"""The course of a roll: what comes next, when there is trouble, what is true then. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from backend.errors import BadInput
from backend.model import (
    Evacuation,
    EvacuationMove,
    FleetSnapshot,
    Host,
    HostState,
    MoveState,
    Roll,
    RollHost,
    RollState,
    RollStep,
    RollWish,
)

_NEXT = {
    RollStep.WAITING: RollStep.EMPTYING,
    RollStep.EMPTYING: RollStep.HOOK,
    RollStep.HOOK: RollStep.BACK,
    RollStep.BACK: RollStep.RETURNING,
    RollStep.RETURNING: RollStep.DONE,
}
SKIPPABLE = (RollStep.HOOK, RollStep.BACK)
MOST_HOOK = 4096
"""Characters of a hook."""


# -- before anything is touched --------------------------------------------------------------


def check(wish: RollWish, hosts: Sequence[Host], reached: Collection[str]) -> None:
    """`reached`: hosts on which commands can be run. Raises BadInput."""
    known = {host.name: host for host in hosts}
    for name in (*wish.hosts, *wish.targets):
        if name not in known:
            raise BadInput(f"There is no host {name!r} in the fleet.", f"It has: {_listed(known)}.")
    twice = [name for name in wish.hosts if wish.hosts.count(name) > 1]
    if twice:
        raise BadInput(f"{twice[0]} is named twice.", "Name each host once.")
    if not wish.hosts:
        raise BadInput("It is not said which hosts.", "Name them in the order of their turn.")
    if len(known) == 1:
        raise BadInput(
            f"{wish.hosts[0]} is the only host of the fleet: nothing could take its VMs.",
            "Add another one to the fleet file.",
        )
    for name in wish.hosts:
        if wish.targets == (name,):
            raise BadInput(
                f"Only {name} is to take VMs, and {name} is to be emptied.", "Name another --to."
            )
    if "\0" in wish.hook or len(wish.hook) > MOST_HOOK:
        raise BadInput(
            f"The hook is no command (at most {MOST_HOOK} characters).", "Put it into a script."
        )
    for name in wish.hosts:
        check_host(wish, known[name], name in reached)


def check_host(wish: RollWish, host: Host, reached: bool) -> None:
    """Whether its turn can begin. Raises BadInput."""
    if host.state is not HostState.UP:
        why = host.reason or "it does not answer yet"
        raise BadInput(
            f"{host.name} is not up: {why}", host.remedy or "It is tried again by itself."
        )
    if host.maintenance_since is not None:
        raise BadInput(
            f"{host.name} is in maintenance already: somebody works there, or its VMs are away.",
            f"End that first: `virt-ferry return {host.name}`, or"
            f" `virt-ferry maintenance {host.name} off`.",
        )
    if not reached and (wish.hook or wish.reboots):
        raise BadInput(
            f"No command can be run on {host.name}: the fleet file gives no SSH login for it.",
            f'Write `ssh = "..."` under [hosts.{host.name}], or leave --hook and --reboots out.',
        )


# -- its steps -------------------------------------------------------------------------------


def set_host(roll: Roll, host: RollHost) -> Roll:
    """One host as it is now."""
    return replace(roll, hosts=tuple(host if one.host == host.host else one for one in roll.hosts))


def advanced(roll: Roll, now: float) -> Roll:
    """The host whose turn it is has done its step; the roll ends with the last one of the last."""
    host = roll.current
    if host is None:
        return roll
    roll = set_host(roll, replace(host, step=_NEXT[host.step], began=now, run=None))
    return ended(roll, now) if roll.current is None else roll


def ended(roll: Roll, now: float) -> Roll:
    """Nothing more is done."""
    return replace(roll, state=RollState.ENDED, ended=now)


def with_run(roll: Roll, run: Evacuation) -> Roll:
    """The current host's step is that run."""
    host = roll.current
    assert host is not None
    return set_host(roll, replace(host, runs=(*host.runs, run.id), run=run.id))


def with_left(roll: Roll, run: Evacuation) -> Roll:
    """What that run has moved away from the current host is to come home."""
    host = roll.current
    assert host is not None
    gone = [one.uuid for one in run.in_state(MoveState.MOVED) if one.uuid not in host.left]
    return set_host(roll, replace(host, left=(*host.left, *gone)))


def resumed(roll: Roll) -> Roll:
    """Goes on; after trouble the step is tried anew, with another run."""
    host = roll.current
    if host is not None and roll.state is RollState.STOPPED:
        roll = set_host(roll, replace(host, run=None))
    return replace(roll, state=RollState.RUNNING, trouble="", needs_you=False)


def must_restart(host: RollHost, wish: RollWish) -> bool:
    """Only another boot id tells that it is back: it was said, or its hook cut the connection."""
    return wish.reboots or (host.hook is not None and host.hook.exit_status is None)


@dataclass(frozen=True, slots=True)
class Seen:
    """A host, looked at while it is waited for."""

    up: bool
    """libvirt answered, more than once since the hook has ended."""
    boot_id: str = ""
    """Empty: not known."""
    stopping: bool = False
    """It is being shut down."""
    why: str = ""
    """Why it is not up."""


def not_back(host: RollHost, wish: RollWish, seen: Seen) -> str:
    """Why it is not back yet; empty where it is."""
    if not seen.up:
        return seen.why or "libvirt does not answer"
    if seen.stopping:
        return "it is being shut down"
    if must_restart(host, wish) and (not seen.boot_id or seen.boot_id == host.boot_id):
        return "it answers, but it has not booted anew"
    return ""


# -- trouble ---------------------------------------------------------------------------------


def staying(run: Evacuation, wish: RollWish) -> tuple[EvacuationMove, ...]:
    """VMs of an emptied host (or of the plan to empty it) that are to go and do not."""
    left = {one.uuid for one in wish.choices if one.leave}
    goes = (MoveState.MOVED, MoveState.WAITING, MoveState.MOVING)
    return tuple(one for one in run.moves if one.state not in goes and one.uuid not in left)


def not_home(run: Evacuation, host: RollHost) -> tuple[EvacuationMove, ...]:
    """VMs that left in this roll and did not come home in that run."""
    return tuple(
        one for one in run.moves if one.uuid in host.left and one.state is not MoveState.MOVED
    )


def move_words(moves: Sequence[EvacuationMove]) -> str:
    """`db-1: no host has room; web-1: ...`."""
    return "; ".join(f"{one.vm}: {one.reason.rstrip('.') or one.state.value}" for one in moves)


def still_there(host: str, fleet: FleetSnapshot, wish: RollWish) -> tuple[str, ...]:
    """What runs, or is about to, on a host that should be empty."""
    left = {one.uuid for one in wish.choices if one.leave}
    runs = [
        vm.name for vm in fleet.vms if vm.host == host and vm.state.active and vm.uuid not in left
    ]
    seen = fleet.host(host)
    comes = seen is not None and seen.migrations_in > 0
    return (*runs, *["a VM that is being moved there"] * comes)


def stopped(roll: Roll, why: str, marked: Collection[str], *, needs_you: bool = False) -> Roll:
    """By trouble: with what is true now and how to go on. `marked`: hosts in maintenance."""
    said = f"{why.rstrip('.')}. {true_now(roll, marked)} {how_on(roll)}"
    return replace(roll, state=RollState.STOPPED, trouble=said, needs_you=needs_you)


def true_now(roll: Roll, marked: Collection[str]) -> str:
    """What is so, of every host."""
    host = roll.current
    done = [one.host for one in roll.hosts if one.step is RollStep.DONE]
    untouched = [one.host for one in roll.hosts if one.step is RollStep.WAITING and one is not host]
    said = [_true_of(host, host.host in marked)] if host is not None else []
    said += [f"Done: {_listed(done)}."] * bool(done)
    said += [f"Not begun: {_listed(untouched)}."] * bool(untouched)
    return " ".join(said)


def _true_of(host: RollHost, marked: bool) -> str:
    mark = "is in maintenance" if marked else "is not in maintenance"
    match host.step:
        case RollStep.WAITING:
            return f"{host.host} was not touched."
        case RollStep.EMPTYING if not host.runs:
            return f"{host.host} was not touched."
        case RollStep.EMPTYING:
            mark = f"{mark}, and not empty"
        case RollStep.HOOK | RollStep.BACK:
            mark = f"{mark}, and empty"
    return f"{host.host} {mark}; {_away(host)}."


def _away(host: RollHost) -> str:
    count = len(host.left)
    if not count:
        return "no VM of it is elsewhere"
    return f"{count} VM{'s' * (count != 1)} of it {'is' if count == 1 else 'are'} on other hosts"


def how_on(roll: Roll) -> str:
    """The commands that go on, or end it."""
    host = roll.current
    if host is None:
        return ""
    again = {
        RollStep.HOOK: "runs the hook again" if roll.wish.hook else "goes on with waiting for it",
        RollStep.BACK: "waits for it again",
    }.get(host.step, "tries that again")
    skip = {
        RollStep.HOOK: " `... skip` goes on without the hook,",
        RollStep.BACK: " `... skip` goes on without waiting,",
    }.get(host.step, "")
    return f"`virt-ferry rolls resume` {again},{skip} `... abort` ends the roll."


def found_again(roll: Roll, marked: Collection[str]) -> Roll:
    """As the next engine has it: what an engine was in the middle of is interrupted."""
    host = roll.current
    hooked = host is not None and host.step is RollStep.HOOK and host.hook_began is not None
    unclear = hooked and bool(roll.wish.hook)
    if roll.state is not RollState.RUNNING and not (roll.state is RollState.PAUSED and unclear):
        return roll
    why = "The engine ended while the roll went on"
    if host is not None and unclear and host.hook is None:
        why = f"The engine ended while the hook ran on {host.host}: its end is not known"
    said = f"{why}. {true_now(roll, marked)} {how_on(roll)}"
    return replace(roll, state=RollState.INTERRUPTED, trouble=said)


def left_to_do(roll: Roll, marked: Collection[str]) -> tuple[str, ...]:
    """Commands that bring a roll which was ended early to where it would have been."""
    host = roll.current
    if host is None:
        return ()
    commands = []
    if host.left:
        commands.append(f"virt-ferry return {host.host}")
    elif host.host in marked:
        commands.append(f"virt-ferry maintenance {host.host} off")
    rest = [one.host for one in roll.hosts if one.step is not RollStep.DONE]
    if host.step is RollStep.RETURNING:
        rest.remove(host.host)
    if rest:
        commands.append(f"virt-ferry roll {' '.join(rest)}")
    return tuple(commands)


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
