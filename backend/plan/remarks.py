"""What the choice of settings means for the VM: its risks and costs, one sentence each. Pure."""

from backend.model import DiskAction, Forecast, Mode, Moment, MoveOptions, Plan, Policy, Tuning
from backend.plan.wording import seconds, seconds_band


def remarks(
    policy: Policy, tuning: Tuning, forecast: Forecast, options: MoveOptions, can_hold: bool
) -> tuple[str, ...]:
    """In the order in which they will matter."""
    said = []
    if forecast.throttle_percent:
        said.append(
            f"The VM is slowed by {forecast.throttle_percent} % from the end of its second pass"
            " until it has moved."
        )
    elif tuning.throttle_start_percent is not None:
        said.append(
            "No throttle is expected; should the VM get busy on the way, it starts at"
            f" {tuning.throttle_start_percent} %."
        )
    if tuning.switch is not None:
        when = "at once" if tuning.switch is Moment.AT_ONCE else "after the first pass"
        span = f" for {seconds_band(forecast.total_s)}" if forecast.total_s else ""
        said.append(
            f"Post-copy begins {when}: the VM runs at the target and waits for pages over the"
            f" network{span}. If the link breaks then, it stands still until it is recovered;"
            " if either host dies then, the VM is lost."
        )
    elif tuning.post_copy:
        said.append("Copying ahead should do; post-copy begins only if that turns out wrong.")
    if policy.suspend:
        said.append("If it does not finish otherwise, the VM is suspended until it has moved.")
    if options.hold and can_hold:
        said.append("It waits before the switchover until told; meanwhile it goes on sending.")
    if options.at is not None and forecast.total_s is not None:
        said.append(f"It starts {seconds(forecast.total_s.mid)} before the time that was set.")
    return (*said, without_engine(options.hold and can_hold))


def without_engine(held: bool) -> str:
    """What becomes of a live move whose engine ends."""
    if held:
        return "Without its engine it is held on, until the next one is told."
    return "Without its engine it goes on in the hosts; steering waits for the next one."


def idle_remarks(mode: Mode) -> tuple[str, ...]:
    """What moving a VM that does not run means for it, and for an engine that dies."""
    steps = (
        "The engine does it in steps: if it is killed meanwhile, the VM is whole at its source, and"
        " the next engine takes away what was made at the target."
    )
    if mode is not Mode.RESTART:
        return (steps,)
    back = "If anything fails it is started again at its source."
    return (f"Its guest is asked to shut down, and is never forced. {back}", steps)


def disk_remarks(plan: Plan, remove_source: bool) -> tuple[str, ...]:
    """What copying so many disks means, and what becomes of the images at the source."""
    copied = sum(move.action is DiskAction.COPY for move in plan.disks)
    if not copied:
        return ()
    source = plan.source
    them = "Its disk is" if copied == 1 else f"Its {copied} disks are"
    after = (
        f"The source's images are removed from {source} once the target is seen to have the VM."
        if remove_source
        else f"The source's images are kept on {source}; --remove-source removes them at the end."
    )
    if not plan.mode.copies_memory:
        return (after,)
    return (f"{them} copied first, then the memory; the deadline is the memory's.", after)
