"""Who owns the VM: a judgement from what both ends say, and from nothing else.

Pure. The migrate call's own result is only ever quoted in the reason: an abort does not look
like one, and a call can fail although the VM has moved (both seen with libvirt 9.0).
"""

from dataclasses import dataclass
from enum import StrEnum

from backend.errors import virsh_word
from backend.model import Outcome, VmState

_FAILED = "post-copy failed"
_POST_COPY = ("post-copy", _FAILED)
"""libvirt's reasons for the state of a VM whose memory is on two hosts."""


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
    def in_post_copy(self) -> bool:
        """It holds one half of the VM's memory, and needs the other."""
        return self.active and self.state_reason in _POST_COPY

    @property
    def handed_over(self) -> bool:
        """libvirt there says that the VM has left, or is leaving, by a migration."""
        left = self.state_reason in ("migrated", "migration", *_POST_COPY)
        return left and self.state is not VmState.RUNNING  # there "migrated" is how it came

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
    uuid: str = ""
    shut_down_at: str = ""
    """Where its guest was seen to shut down while it moved; empty: nowhere."""

    @property
    def word(self) -> str:
        """The VM as a word of a virsh command."""
        return virsh_word(self.vm, self.uuid or self.vm)


@dataclass(frozen=True, slots=True)
class Judgement:
    """An outcome with its owner; `settled` False while the hosts are still at it."""

    outcome: Outcome
    owner: str | None
    reason: str
    settled: bool = True
    leftovers: tuple[str, ...] = ()
    seen: End | None = None
    """What its owner, or whoever holds what is left of it, said."""


class Standing(StrEnum):
    """How far two hosts are with a migration whose call has ended."""

    OVER = "over"
    """They are through, or as good as: what they hold can be judged."""
    GOING = "going"
    """They go on without the call."""
    BROKEN = "broken"
    """Its post-copy stands still on both, until it is recovered."""
    SILENT = "silent"
    """One that has to be heard was not."""


def standing(source: End | None, target: End | None) -> Standing:
    """Never a guess: while the VM's memory may be on both, both must have answered.

    libvirt's keepalive makes the source say "post-copy failed" while the stream goes on (seen
    with 9.0), so broken is only what the target calls so too; it says "running" of a VM that
    stands still.
    """
    if source is None:
        return Standing.SILENT
    if not source.in_post_copy:
        return Standing.GOING if source.job == "migration out" else Standing.OVER
    if target is None:
        return Standing.SILENT
    if not target.active or source.state is target.state is VmState.RUNNING:
        return Standing.OVER
    if source.state_reason == target.state_reason == _FAILED:
        return Standing.BROKEN
    return Standing.GOING if target.in_post_copy or target.job else Standing.OVER


def lost_half(source: End, target: End) -> bool:
    """The source's QEMU has ended without having handed over all of the memory. One that has says
    that it was shut off because it migrated, or nothing any more."""
    return _ended(source) and target.in_post_copy


def waits_in_vain(source: End, target: End) -> bool:
    """The source's VM has ended, and the target still holds what it was to become: a copy that
    never ran."""
    arrives = target.job == "migration in" or target.state_reason == "migration"
    copy = target.active and target.state is VmState.PAUSED and arrives
    return _ended(source) and source.job is None and copy and not target.in_post_copy


def _ended(source: End) -> bool:
    return source.defined and not source.active and not source.handed_over


def judge(before: Before, source: End | None, target: End | None) -> Judgement:
    """Decide from both ends. Never a guess: an end that did not answer means `unknown`."""
    if source is None or target is None:
        return _one_end_silent(before, source, target)
    if source.in_post_copy or target.in_post_copy:
        return _in_post_copy(before, source, target)
    if waits_in_vain(source, target):
        return _never_came(before, source, target)
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
    says = f" {heard.host} says: {state_words(heard)}." if heard else ""
    return Judgement(
        Outcome.UNKNOWN,
        None,
        f"{' and '.join(silent)} did not answer, so where {before.vm} runs is not known.{says}"
        " Do not start it anywhere by hand; it is asked again until it is known.",
        settled=False,
    )


def _never_came(before: Before, source: End, target: End) -> Judgement:
    return Judgement(
        Outcome.STAYED,
        source.host,
        f"It is {state_words(source)} on {source.host}; {target.host} waits for a copy that will"
        " not come any more.",
        settled=False,
        leftovers=(f"an unfinished copy on {target.host}: virsh destroy {before.word} there",),
        seen=source,
    )


def _in_post_copy(before: Before, source: End, target: End) -> Judgement:
    if source.state is target.state is VmState.RUNNING:
        return _both_active(before, source, target)
    if source.active and target.active:
        if standing(source, target) is Standing.BROKEN:
            return _undecided(broken_sentence(before.vm, source.host, target.host))
        if target.in_post_copy or target.job:
            return _undecided(f"{before.vm} is still moving: {target.host} fetches its memory.")
        return _both_active(before, source, target)
    if target.active and target.state_reason != _FAILED and not lost_half(source, target):
        return _undecided(
            f"{before.vm} runs on {target.host}, which has not said that it is whole."
        )
    held, gone = (source, target) if source.active else (target, source)
    stale = [f"a second definition on {gone.host}: virsh undefine {before.word} there"] * (
        gone.defined and held.defined
    )
    half = f"half a VM on {held.host}: virsh destroy {before.word} there"
    if lost_half(source, target):
        # Its call (libvirt 9.0) never returns, and keeps every change of the VM waiting there.
        waits = f"libvirt on {gone.host} waits in the migration's call: systemctl restart libvirtd"
        stale = [f"{waits} there", *stale]
    if gone is target and gone.defined and before.shut_down_at == gone.host:
        return Judgement(
            Outcome.MOVED,
            gone.host,
            f"It is shut off on {gone.host}; {held.host} holds half of its memory, which nobody"
            " needs any more.",
            settled=False,
            leftovers=(
                half,
                f"a second definition on {held.host}: virsh undefine {before.word} there",
            ),
        )
    certain = "it runs nowhere now"
    if held.state is VmState.RUNNING:
        certain = (
            f"it is not whole and will not be; {held.host} calls it running, and it stands as soon"
            " as it needs a page that never came"
        )
    return Judgement(
        Outcome.LOST,
        None,
        f"Half of its memory was on {gone.host}, where its QEMU has ended: what {held.host} holds"
        f" cannot run on. Certain: {certain}, and its disks are as it wrote them last. Lost: what"
        " was only in its memory; it starts as after a power cut. Do not resume it; destroy it and"
        " start the VM from its disks.",
        settled=False,
        leftovers=(half, *stale),
    )


def _undecided(reason: str) -> Judgement:
    return Judgement(Outcome.UNKNOWN, None, reason, settled=False)


def broken_sentence(vm: str, source: str, target: str) -> str:
    """What is true of a VM whose post-copy broke."""
    return (
        f"{vm} stands still: the stream broke, and half of its memory is on {source}, the other"
        f" half on {target}. Destroy neither, resume neither."
    )


def _both_active(before: Before, source: End, target: End) -> Judgement:
    if source.state is VmState.RUNNING and target.state is VmState.RUNNING:
        return Judgement(
            Outcome.SPLIT,
            None,
            f"{before.vm} RUNS ON BOTH {source.host} AND {target.host}. Stop one of them at once,"
            f" before its disks are damaged: virsh destroy {before.word} on the host with the"
            " older state.",
            settled=False,
        )
    if target.state is VmState.RUNNING and source.handed_over:
        return Judgement(
            Outcome.MOVED,
            target.host,
            f"{target.host} runs it; {source.host} still holds its paused copy.",
            settled=False,
            leftovers=(f"a paused copy on {source.host}: virsh destroy {before.word} there",),
        )
    if source.state is VmState.RUNNING and target.state is VmState.PAUSED:
        return Judgement(
            Outcome.STAYED,
            source.host,
            f"It runs on {source.host}; an unfinished copy is paused on {target.host}.",
            settled=False,
            leftovers=(f"a paused copy on {target.host}: virsh destroy {before.word} there",),
        )
    return Judgement(
        Outcome.UNKNOWN,
        None,
        f"{source.host} says {state_words(source)}, {target.host} says {state_words(target)}:"
        " neither runs it. Resume it on one host only, once you know which copy is whole.",
        settled=False,
    )


def _only_target(before: Before, source: End, target: End) -> Judgement:
    left = []
    if source.defined:
        left.append(f"its definition on {source.host}: virsh undefine {before.word} there")
    if before.persistent and not target.defined:
        left.append(f"no stored definition on {target.host}: it would be gone when shut down")
    paused = target.state is VmState.PAUSED and before.state is not VmState.PAUSED
    if paused:
        left.append(f"it is paused on {target.host}: virsh resume {before.word} there")
    return Judgement(
        Outcome.MOVED,
        target.host,
        f"It {_verb(target)} on {target.host}; {source.host} "
        + ("keeps only a stale definition." if source.defined else "has nothing of it any more."),
        leftovers=tuple(left),
        seen=target,
    )


def _only_source(before: Before, source: End, target: End) -> Judgement:
    left = []
    if target.defined:
        left.append(f"a stale definition on {target.host}: virsh undefine {before.word} there")
    paused = source.state is VmState.PAUSED and before.state is not VmState.PAUSED
    if paused:
        left.append(f"it is paused on {source.host}: virsh resume {before.word} there")
    return Judgement(
        Outcome.STAYED,
        source.host,
        f"It {_verb(source)} on {source.host}; {target.host} "
        + ("keeps a stale definition." if target.defined else "has nothing of it."),
        settled=not paused,
        leftovers=tuple(left),
        seen=source,
    )


def _none_active(before: Before, source: End, target: End) -> Judgement:
    if source.defined and not target.defined:
        return Judgement(
            Outcome.STAYED,
            source.host,
            f"It is {state_words(source)} on {source.host}, and {target.host} has nothing of it.",
            seen=source,
        )
    if target.defined and not source.defined:
        return Judgement(
            Outcome.MOVED,
            target.host,
            f"It is {state_words(target)} on {target.host}, and {source.host} has nothing of it.",
            seen=target,
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
    return "runs" if end.state is VmState.RUNNING else f"is {state_words(end)}"


def state_words(end: End) -> str:
    """`paused (migration)`, or that nothing of it is there."""
    if end.absent:
        return "nothing of it is here"
    return f"{end.state.value} ({end.state_reason})" if end.state_reason else end.state.value
