"""A migration as it begins, from its plan and what the operator asked for."""

import time

from backend.model import Migration, MoveOptions, Now, Phase, PhaseState, Plan, Vm
from backend.run.boot_clock import read_clocks
from backend.run.verdict import Before


def first_state(
    migration_id: str,
    plan: Plan,
    options: MoveOptions,
    vm: Vm,
    now: Now,
    confirmed: float,
    after: str | None = None,
) -> Migration:
    """`confirmed`: `time.monotonic()` of the operator's confirm; nothing has been touched."""
    now_s = now()
    return Migration(
        id=migration_id,
        vm=plan.vm,
        uuid=plan.uuid,
        source=plan.source,
        target=plan.target,
        started=now_s - (time.monotonic() - confirmed),
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
        clocks=read_clocks(now_s),
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
