"""From a plan, a VM, a host as they are known to what placement and order work with. Pure."""

from collections.abc import Iterable, Mapping

from backend.model import DiskAction, Host, HostState, Plan, Severity, Vm
from backend.plan.placement_types import HostRoom, PoolNeed, Resident, VmNeed
from backend.plan.queue_types import UNKNOWN_LINK_BYTES_S, QueuedMove
from backend.plan.running import Prior
from backend.plan.simulate import Scenario
from backend.plan.writes import fit

USUAL_CPUS = 0.2
"""Of each vCPU of a running VM of which nothing is known."""


def need_of(vm: Vm, memory_bytes: int | None = None, sent_bytes: int = 0) -> VmNeed:
    """`memory_bytes`: what it takes at a target (`Planned.needed_bytes`); None: all of its own."""
    if memory_bytes is None:
        memory_bytes = vm.memory_bytes if vm.state.active else 0
    percent = vm.cpu_usual_percent if vm.cpu_usual_percent is not None else vm.cpu_percent
    part = USUAL_CPUS if percent is None else percent / 100
    cpus = part * vm.vcpus if vm.state.active else 0.0
    return VmNeed(vm.uuid, vm.name, vm.host, memory_bytes, cpus, sent_bytes, vm.tags)


def room_of(
    host: Host,
    free_bytes: int | None = None,
    pools: Mapping[str, int] | None = None,
    link_bytes_s: float | None = None,
    closed: str = "",
) -> HostRoom:
    """`free_bytes`: as a plan says; None: as the host's row does. One that is not up is closed."""
    total = host.memory_bytes or 0
    if free_bytes is None:
        free_bytes = max(0, total - (host.memory_used_bytes or 0))
    if not closed and host.state is not HostState.UP:
        closed = f"{host.name} is {host.state}"
    cpus = host.cpus or 0
    return HostRoom(
        host.name,
        total,
        free_bytes,
        cpus,
        cpus * (host.cpu_percent or 0.0) / 100,
        pools or {},
        link_bytes_s or host.link_speed_bytes_s,
        closed,
    )


def residents_of(vms: Iterable[Vm], placed: Iterable[VmNeed]) -> tuple[Resident, ...]:
    """The VMs with groups that are not to be placed."""
    taken = {one.id for one in placed}
    return tuple(
        Resident(vm.name, vm.host, vm.tags)
        for vm in vms
        if vm.uuid not in taken and vm.tags.grouped
    )


def blocked_by(plans: Iterable[Plan]) -> dict[tuple[str, str], str]:
    """(VM's UUID, target) -> the first sentence that forbids it."""
    return {
        (plan.uuid, plan.target): finding.sentence
        for plan in plans
        for finding in reversed(plan.findings)
        if finding.severity is Severity.BLOCK
    }


def pool_needs_by(plans: Iterable[Plan]) -> dict[tuple[str, str], tuple[PoolNeed, ...]]:
    """(VM's UUID, target) -> what its copied disks take there."""
    return {
        (plan.uuid, plan.target): tuple(
            PoolNeed(move.pool or "", move.needed_bytes, move.destination or "")
            for move in plan.disks
            if move.action is DiskAction.COPY
        )
        for plan in plans
    }


def pools_by(plans: Iterable[Plan]) -> dict[str, dict[str, int]]:
    """Target -> pool -> free bytes, as the plans' disks tell."""
    found: dict[str, dict[str, int]] = {}
    for plan in plans:
        for move in plan.disks:
            if move.action is DiskAction.COPY and move.pool and move.room_bytes is not None:
                found.setdefault(plan.target, {})[move.pool] = move.room_bytes
    return found


def move_of(plan: Plan, prior: Prior, copied_bytes: int = 0, rank: int = 0) -> QueuedMove:
    """The queue's view of a plan that is not blocked; `prior` and the bytes of disk are its own."""
    alone_s = plan.forecast.total_s if plan.forecast else None
    memory = _scenario(prior) if plan.mode.copies_memory else None
    return QueuedMove(
        id=plan.uuid,
        vm=plan.vm,
        source=plan.source,
        target=plan.target,
        memory=memory,
        disk_bytes=copied_bytes,
        policy=plan.policy if memory else None,
        tuning=plan.tuning if memory else None,
        deadline_s=plan.deadline_s,
        pauses_ms=prior.pauses_ms,
        alone_s=alone_s,
        runs=plan.mode.copies_memory,
        rank=rank,
    )


def _scenario(prior: Prior) -> Scenario | None:
    found = fit(prior.counts, prior.most_bytes)
    if prior.first_pass_bytes is None or found is None:
        return None
    # A link that could not be measured is no reason to forget what the VM writes.
    rate = prior.link_bytes_s or UNKNOWN_LINK_BYTES_S
    return Scenario(prior.first_pass_bytes, rate, found.mid, prior.cpu_part)
