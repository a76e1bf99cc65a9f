"""A migration as it begins, from its plan and what the operator asked for."""

from backend.model import Migration, MoveOptions, Phase, PhaseState, Plan, Vm
from backend.run.verdict import Before


def first_state(
    migration_id: str,
    plan: Plan,
    options: MoveOptions,
    vm: Vm,
    started: float,
    after: str | None = None,
) -> Migration:
    """`started`: when it was confirmed, epoch seconds; nothing has been touched."""
    return Migration(
        id=migration_id,
        vm=plan.vm,
        uuid=plan.uuid,
        source=plan.source,
        target=plan.target,
        started=started,
        policy=plan.policy,
        mode=plan.mode,
        encrypted=plan.encrypted,
        phases=dict.fromkeys(Phase, PhaseState.WAITING),
        bandwidth_bytes_s=options.bandwidth_bytes_s,
        virsh=plan.virsh,
        tuning=plan.tuning,
        forecast=plan.forecast,
        record=plan.record,
        can_hold=plan.can_hold,
        hold=options.hold,
        at=options.at,
        deadline_s=plan.deadline_s,
        moves=plan.disks,
        remove_source=options.remove_source,
        autostart=vm.autostart,
        idle=plan.idle,
        after=after,
        persistent=vm.persistent,
        state_before=vm.state,
        address=options.address,
        asked=options,
    )


def before_of(vm: Vm, plan: Plan) -> Before:
    """What the VM is now, for the verdict."""
    return Before(
        vm=vm.name,
        source=plan.source,
        target=plan.target,
        persistent=vm.persistent,
        state=vm.state,
        autostart=vm.autostart,
        uuid=vm.uuid,
    )
