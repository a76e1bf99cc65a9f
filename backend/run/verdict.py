"""Who owns the VM: a judgement from what both ends say, and from nothing else.

Pure. The migrate call's own result is only ever quoted in the reason: an abort does not look
like one, and a call can fail although the VM has moved (both seen with libvirt 9.0).
"""

from dataclasses import dataclass

from backend.model import Outcome, VmState


@dataclass(frozen=True, slots=True)
class End:
    """What one host says of the VM. `None` in place of an End: the host did not answer."""

    host: str
    defined: bool
    """It has a stored definition there."""
    active: bool
    """A QEMU process holds it there."""
    state: VmState = VmState.UNKNOWN
    state_reason: str = ""
    job: str | None = None
    """A job libvirt runs on it there: `migration out`, `migration in`, ..."""
    autostart: bool = False

    @property
    def absent(self) -> bool:
        """Nothing of the VM is there."""
        return not self.defined and not self.active


@dataclass(frozen=True, slots=True)
class Before:
    """What the VM was when the operator confirmed."""

    vm: str
    source: str
    target: str
    persistent: bool
    state: VmState = VmState.RUNNING
    autostart: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """An outcome with its owner; `settled` False while the hosts are still at it."""

    outcome: Outcome
    owner: str | None
    reason: str
    settled: bool = True
    leftovers: tuple[str, ...] = ()


def judge(before: Before, source: End | None, target: End | None) -> Judgement:
    """Decide from both ends. Never a guess: an end that did not answer means `unknown`."""
    if source is None or target is None:
        return _one_end_silent(before, source, target)
    if source.job == "migration out" or target.job == "migration in":
        return Judgement(
            Outcome.UNKNOWN, None, f"{before.vm} is still being moved by the hosts.", settled=False
        )
    if source.active and target.active:
        return _both_active(before, source, target)
    if target.active:
        return _only_target(before, source, target)
    if source.active:
        return _only_source(before, source, target)
    return _none_active(before, source, target)


def _one_end_silent(before: Before, source: End | None, target: End | None) -> Judgement:
    silent = [
        host for host, end in ((before.source, source), (before.target, target)) if end is None
    ]
    heard = source or target
    says = f" {heard.host} says: {_state(heard)}." if heard else ""
    return Judgement(
        Outcome.UNKNOWN,
        None,
        f"{' and '.join(silent)} did not answer, so where {before.vm} runs is not known.{says}"
        " Do not start it anywhere by hand; it is asked again until it is known.",
        settled=False,
    )


def _both_active(before: Before, source: End, target: End) -> Judgement:
    if source.state is VmState.RUNNING and target.state is VmState.RUNNING:
        return Judgement(
            Outcome.SPLIT,
            None,
            f"{before.vm} RUNS ON BOTH {source.host} AND {target.host}. Stop one of them at once,"
            f" before its disks are damaged: virsh destroy {before.vm} on the host with the"
            " older state.",
            settled=False,
        )
    handed_over = source.state_reason in ("migrated", "migration", "post-copy")
    if target.state is VmState.RUNNING and handed_over:
        return Judgement(
            Outcome.MOVED,
            target.host,
            f"{target.host} runs it; {source.host} still holds its paused copy.",
            settled=False,
            leftovers=(f"a paused copy on {source.host}: virsh destroy {before.vm} there",),
        )
    if source.state is VmState.RUNNING and target.state is VmState.PAUSED:
        return Judgement(
            Outcome.STAYED,
            source.host,
            f"It runs on {source.host}; an unfinished copy is paused on {target.host}.",
            settled=False,
            leftovers=(f"a paused copy on {target.host}: virsh destroy {before.vm} there",),
        )
    return Judgement(
        Outcome.UNKNOWN,
        None,
        f"{source.host} says {_state(source)}, {target.host} says {_state(target)}:"
        " neither runs it. Resume it on one host only, once you know which copy is whole.",
        settled=False,
    )


def _only_target(before: Before, source: End, target: End) -> Judgement:
    left = []
    if source.defined:
        left.append(f"its definition on {source.host}: virsh undefine {before.vm} there")
    if before.persistent and not target.defined:
        left.append(f"no stored definition on {target.host}: it would be gone when shut down")
    paused = target.state is VmState.PAUSED and before.state is not VmState.PAUSED
    if paused:
        left.append(f"it is paused on {target.host}: virsh resume {before.vm} there")
    return Judgement(
        Outcome.MOVED,
        target.host,
        f"It {_verb(target)} on {target.host}; {source.host} "
        + ("keeps only a stale definition." if source.defined else "has nothing of it any more."),
        leftovers=tuple(left),
    )


def _only_source(before: Before, source: End, target: End) -> Judgement:
    left = []
    if target.defined:
        left.append(f"a stale definition on {target.host}: virsh undefine {before.vm} there")
    paused = source.state is VmState.PAUSED and before.state is not VmState.PAUSED
    if paused:
        left.append(f"it is paused on {source.host}: virsh resume {before.vm} there")
    return Judgement(
        Outcome.STAYED,
        source.host,
        f"It {_verb(source)} on {source.host}; {target.host} "
        + ("keeps a stale definition." if target.defined else "has nothing of it."),
        settled=not paused,
        leftovers=tuple(left),
    )


def _none_active(before: Before, source: End, target: End) -> Judgement:
    if source.defined and not target.defined:
        return Judgement(
            Outcome.STAYED,
            source.host,
            f"It is {_state(source)} on {source.host}, and {target.host} has nothing of it.",
        )
    if target.defined and not source.defined:
        return Judgement(
            Outcome.MOVED,
            target.host,
            f"It is {_state(target)} on {target.host}, and {source.host} has nothing of it.",
        )
    if source.defined and target.defined:
        return Judgement(
            Outcome.UNKNOWN,
            None,
            f"It is defined on both {source.host} and {target.host} and runs on neither."
            " Look at both before you start one and undefine the other.",
            settled=False,
        )
    return Judgement(
        Outcome.LOST,
        None,
        f"Neither {source.host} nor {target.host} has it"
        + (" (it was transient: it ended with its QEMU)." if not before.persistent else "."),
        settled=False,
    )


def found_elsewhere(lost: Judgement, host: str | None) -> Judgement:
    """A VM that neither end has any more may have been moved on meanwhile."""
    if host is None:
        return lost
    return Judgement(
        Outcome.UNKNOWN,
        host,
        f"Neither end has it any more: it runs on {host} now, moved there by somebody else.",
    )


def _verb(end: End) -> str:
    return "runs" if end.state is VmState.RUNNING else f"is {_state(end)}"


def _state(end: End) -> str:
    if end.absent:
        return "nothing of it is here"
    return f"{end.state.value} ({end.state_reason})" if end.state_reason else end.state.value
