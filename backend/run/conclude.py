"""The end of a migration: what is carried over, the last figures, the verdict's words."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains, stats
from backend.model import Migration, Outcome, Outlook, Sample, Verdict, Word
from backend.run.again import promise
from backend.run.onlooker import Seen
from backend.run.verdict import Before, Judgement

log = logging.getLogger(__name__)

_WORDS = {Outcome.MOVED: Word.MOVED, Outcome.STAYED: Word.STAYED}


async def carry_autostart(target: HostWatch, uuid: str, autostart: bool) -> tuple[str, ...]:
    """libvirt drops autostart on the way; set it again. Returns what is left to do by hand."""
    if not autostart:
        return ()
    try:
        await target.call(
            lambda conn: domains.set_autostart(conn, uuid, True), what="set autostart"
        )
    except FerryError as error:
        log.warning("autostart of %s on %s: %s", uuid, target.name, error)
        return (f"autostart is not set on {target.name}: virsh autostart {uuid} there",)
    return ()


async def completed_at(target: HostWatch, uuid: str) -> stats.CompletedJob | None:
    """The final statistics, which the target's libvirt keeps; None if it does not say."""
    try:
        raw = await target.call(
            lambda conn: domains.read_completed(conn, uuid), what="read the final statistics"
        )
    except FerryError as error:
        log.info("final statistics of %s: %s", uuid, error)
        return None
    return stats.completed(raw) if raw else None


def verdict(
    state: Migration,
    judgement: Judgement,
    *,
    call_error: str,
    given_up: str,
    lost_link: str,
    completed: stats.CompletedJob | None,
    passes: int,
    total_s: float,
    wall_s: float,
    own_pause_ms: int | None,
    stall_ms: int | None,
    seen: Seen,
    leftovers: tuple[str, ...],
    samples: Sequence[Sample] = (),
) -> Verdict:
    """All that is to be said; figures that are not known stay None."""
    newest = state.sample
    moved = judgement.outcome is Outcome.MOVED
    sent = completed.sent_bytes if moved and completed else newest.sent_bytes if newest else 0
    if moved and completed and newest is not None:
        # The target, which tells the final figures, does not count its disks.
        sent = completed.memory_sent_bytes + max(completed.disk_sent_bytes, newest.disk_sent_bytes)
    if state.post_copy and newest is not None:
        # What a source says last after its call broke is what it knew when it broke.
        sent = max(sent, newest.sent_bytes + newest.remaining_bytes)
    plain = plain_verdict(
        state,
        judgement,
        reason=_reason(state, judgement, call_error, given_up, lost_link),
        total_s=total_s,
        wall_s=wall_s,
        sent_bytes=sent or 0,
        leftovers=leftovers,
    )
    return replace(
        plain,
        again=bool(lost_link),
        pause_ms=_pause_ms(state, completed, own_pause_ms) if moved else None,
        stall_ms=stall_ms,
        outage_ms=seen.outage_ms,
        lost_probes=seen.lost,
        network=seen.network,
        throttle_percent=_most_throttle(samples, completed),
        record=state.record,
        passes=passes,
    )


def plain_verdict(
    state: Migration,
    judgement: Judgement,
    *,
    reason: str,
    total_s: float,
    wall_s: float,
    sent_bytes: int,
    leftovers: tuple[str, ...],
) -> Verdict:
    """What every kind of move has to say of its end."""
    return Verdict(
        id=state.id,
        vm=state.vm,
        source=state.source,
        target=state.target,
        outcome=judgement.outcome,
        owner=judgement.owner,
        reason=reason,
        total_s=round(total_s, 3),
        wall_s=round(wall_s, 3),
        sent_bytes=sent_bytes,
        mode=state.mode,
        policy=state.policy.name,
        encrypted=state.encrypted,
        authenticated=state.encrypted,
        leftovers=leftovers,
        forecast=state.forecast,
    )


def _pause_ms(
    state: Migration, completed: stats.CompletedJob | None, own_pause_ms: int | None
) -> int | None:
    """The longer of libvirt's figure and ours, where there is one. Of a post-copy libvirt counts
    only until the source has let go, and of a VM that we suspended not from then on: alone it would
    be too good."""
    known = [
        ms for ms in (completed.pause_ms if completed else None, own_pause_ms) if ms is not None
    ]
    ours_alone = state.post_copy or state.suspended
    if not known or (ours_alone and own_pause_ms is None):
        return None
    return max(known)


def _most_throttle(samples: Sequence[Sample], completed: stats.CompletedJob | None) -> int | None:
    """The last samples may have none: QEMU lets go of it as it hands over."""
    seen = [sample.throttle_percent or 0 for sample in samples]
    return max(*seen, (completed.throttle_percent if completed else None) or 0, 0) or None


def opening(state: Migration) -> str:
    """What was set before the start, as the first decision."""
    tuning = state.tuning
    if tuning is None or state.hold:
        return "held before the switchover until told"
    parts = [f"pause limit {tuning.pause_limit_ms} ms at first, {state.policy.pause_ms} ms allowed"]
    if tuning.throttle_start_percent is not None:
        parts.append(f"throttle from {tuning.throttle_start_percent} % if needed")
    if tuning.post_copy:
        when = f" {tuning.switch.value}" if tuning.switch else " if needed"
        parts.append(f"post-copy{when}")
    return "; ".join(parts)


def _reason(
    state: Migration, judgement: Judgement, call_error: str, given_up: str, lost_link: str
) -> str:
    """What is true now first, then why."""
    if lost_link:
        after = promise(state.source, state.target)
        return f"{judgement.reason} Its link was lost: {lost_link}. {after}"
    if given_up and judgement.outcome is Outcome.STAYED:
        return f"{judgement.reason} It was {given_up}."
    if state.abort_asked and judgement.outcome in (Outcome.STAYED, Outcome.MOVED):
        late = " The abort came too late." if judgement.outcome is Outcome.MOVED else ""
        return (
            f"{judgement.reason} Aborted as asked.{late}" if not late else judgement.reason + late
        )
    if call_error and judgement.outcome is not Outcome.MOVED:
        return f"{judgement.reason} {call_error}"
    if call_error:
        return f"{judgement.reason} (The call itself ended with: {call_error})"
    return judgement.reason


def fault_of_our_own(before: Before) -> Judgement:
    """The engine could not even ask: nothing is known, and that is said."""
    return Judgement(
        Outcome.UNKNOWN,
        None,
        "The engine met a fault of its own (its log has it), so where"
        f" {before.vm} runs is not known: look at {before.source} and {before.target}.",
    )


def last_word(verdict: Verdict) -> Outlook:
    """The big line after the end."""
    word = _WORDS.get(verdict.outcome, Word.NEEDS_YOU)
    return Outlook(word=word, reason=verdict.reason)
