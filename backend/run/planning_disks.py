"""A plan for disks that move between the pools of one host."""

from dataclasses import replace

from backend.hypervisor.block_copy import virsh_lines
from backend.hypervisor.migrate import MigrationOrder, virsh_name
from backend.model import DiskAction, DiskMove, Finding, MoveOptions, Plan, Policy
from backend.plan.disk_time import here_forecast, timed_here
from backend.plan.disks import disk_cases, pools_for_images
from backend.plan.facts import Survey
from backend.plan.preflight import preflight
from backend.plan.preparing import announced, as_prepared, possible
from backend.plan.wording import memory
from backend.run.ordering import copied_bytes
from backend.run.together import Planned


def disks_planned(
    facts: Survey,
    uri: str,
    policy: Policy,
    options: MoveOptions,
    own: tuple[Finding, ...],
    seen_bytes_s: float | None = None,
) -> Planned:
    """What it would mean; `uri` is the host's, `own` are findings about moves of ours.

    `seen_bytes_s`: what the last copy on that host got through.
    """
    vm = facts.vm
    preparations = possible(facts)
    if options.prepare:
        facts = as_prepared(facts, preparations)
    moves = tuple(case.move for case in disk_cases(facts))
    moves = timed_here(moves, facts.idle, seen_bytes_s, options.bandwidth_bytes_s)
    more = announced(preparations) if options.prepare else ()
    order = MigrationOrder(uuid=vm.uuid, vm=vm.name, target_uri="")
    plan = Plan(
        vm=vm.name,
        uuid=vm.uuid,
        source=facts.source.name,
        target=facts.target.name,
        findings=(*own, *preflight(facts), *more),
        policy=policy,
        mode=facts.mode,
        summary=f"{facts.mode}, {memory(copied_bytes(moves))} of disk, on the same host",
        virsh="" if facts.idle else _virsh(uri, virsh_name(order), moves, options),
        remarks=_remarks(moves, options.remove_source, facts.idle),
        disks=moves,
        pools=pools_for_images(facts),
        preparations=preparations,
        idle=facts.idle,
    )
    if not plan.blocked:
        plan = replace(plan, forecast=here_forecast(moves, seen_bytes_s is not None))
    return Planned(plan, vm, order)


def _virsh(uri: str, vm: str, moves: tuple[DiskMove, ...], options: MoveOptions) -> str:
    copies = {one.target: (one.destination, one.format) for one in moves if one.destination}
    return virsh_lines(uri, vm, copies, options.bandwidth_bytes_s)


def _remarks(moves: tuple[DiskMove, ...], remove_source: bool, idle: bool) -> tuple[str, ...]:
    count = sum(move.action is DiskAction.COPY for move in moves)
    if not count:
        return ()
    old = "image" if count == 1 else "images"
    after = (
        f"The old {old} will be removed once the VM is seen to be on the new."
        if remove_source
        else f"The old {old} will be kept; --remove-source removes them at the end."
    )
    if idle:
        return (
            "The VM cannot be started meanwhile: QEMU's lock on its images is held. If the engine"
            " is killed, it stays on them, and the next engine takes away what was made.",
            after,
        )
    return (
        "The VM runs on meanwhile, and is not paused; what it writes goes to both images, at the"
        " pace of the slower one.",
        after,
        "Without its engine the copies go on; the next one undoes them, or finishes.",
    )
