"""What libvirt leaves undone when its call breaks off although the VM has moved.

Only once the target is seen to run it, and only what the source itself calls shut off because
it migrated: then a definition that is left there is removed, and one that the target lacks is
stored. And of a guest that shut down at the target in post-copy, the half that is left behind is
ended: the target has no QEMU any more that it could be joined with.
"""

import logging
from collections.abc import Callable

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains
from backend.hypervisor.connection import Connection
from backend.model import Outcome, VmState
from backend.run.settle import ask_both
from backend.run.told import Told
from backend.run.verdict import Before, End, Judgement

log = logging.getLogger(__name__)


def may_store(before: Before, target: End | None) -> bool:
    """The target runs a persistent VM without a stored definition."""
    return _runs(target) and before.persistent and target is not None and not target.defined


def may_undefine(before: Before, source: End | None, target: End | None) -> bool:
    """The target runs it with a definition of its own; the source has handed it over."""
    if source is None or target is None or not before.persistent:
        return False
    handed_over = source.state is VmState.SHUT_OFF and source.state_reason == "migrated"
    stale = source.defined and not source.active and source.job is None and handed_over
    return stale and _runs(target) and target.defined


def may_end_half(before: Before, source: End | None, target: End | None) -> bool:
    """Its guest shut down at the target, which has all there is of it but a half that stands still
    at the source."""
    if source is None or target is None or before.shut_down_at != target.host:
        return False
    off = target.defined and not target.active and target.state is VmState.SHUT_OFF
    return off and source.in_post_copy and source.state is VmState.PAUSED


def _runs(target: End | None) -> bool:
    return (
        target is not None
        and target.active
        and target.job is None
        and not target.in_post_copy
        and target.state is VmState.RUNNING
    )


async def clean(
    judgement: Judgement, before: Before, told: Told, source: HostWatch, target: HostWatch
) -> Judgement:
    """Finish what is left, each step told; the judgement of what the ends hold after it."""
    uuid = told.state.uuid
    if not judgement.leftovers:
        return judgement
    _, at_source, at_target = await ask_both(before, uuid, source, target)
    if may_store(before, at_target):
        done = f"{target.name} runs it without a stored definition: stored it from the running VM"
        await _do(told, target, lambda conn: domains.persist(conn, uuid), done, "store it")
        _, at_source, at_target = await ask_both(before, uuid, source, target)
    if may_undefine(before, at_source, at_target):
        done = (
            f"{target.name} runs it and has its definition: removed the one left on {source.name},"
            " where it is shut off (migrated)"
        )
        removing = "remove its stale definition"
        await _do(told, source, lambda conn: domains.undefine_migrated(conn, uuid), done, removing)
    if may_end_half(before, at_source, at_target):
        done = (
            f"its guest shut down on {target.name}, which has its definition: ended the half of it"
            f" that stood still on {source.name}"
        )
        await _do(told, source, lambda conn: domains.end_half(conn, uuid), done, "end a half of it")
    after, _, _ = await ask_both(before, uuid, source, target)
    return after if after.outcome is Outcome.MOVED else judgement


async def _do(
    told: Told, host: HostWatch, function: Callable[[Connection], None], done: str, what: str
) -> None:
    try:
        await host.call(function, timeout_s=10.0, what=what)
    except FerryError as error:
        log.warning("%s on %s: %s", what, host.name, error)
        told.note("note", error.sentence)
    else:
        told.note("clean", done)
