"""A roll in words: what is to happen, how far each host is. For screen and commands."""

from backend.model import HookEnd, Roll, RollHost, RollState, RollStep, RollWish
from tui.render import units


def intent(wish: RollWish) -> str:
    """What happens with each host, in one sentence."""
    hosts = ", ".join(wish.hosts)
    work = (
        f"`{wish.hook}` runs there ({units.duration(wish.hook_within_s)} at most)"
        if wish.hook
        else "the roll waits for your work until `virt-ferry rolls resume`"
    )
    back = "it is to boot anew and answer" if wish.reboots else "it is to answer"
    limit = units.duration(wish.back_within_s)
    return (
        f"ROLL {hosts}: each is emptied, {work}, {back} within {limit}, and its VMs come home"
        f"{' before the next one begins' if len(wish.hosts) > 1 else ''}."
    )


def later(wish: RollWish) -> str:
    """What is not decided yet; empty where there is one host only."""
    rest = wish.hosts[1:]
    if not rest:
        return ""
    turn = "its turn comes" if len(rest) == 1 else "their turn comes"
    return (
        f"{', '.join(rest)}: planned when {turn}, by what is true then."
        " The roll stops at the first trouble."
    )


def step_words(one: RollHost) -> str:
    """`hook: exit code 1`, `emptying`, `done`."""
    hook = one.hook
    if hook is not None and one.step is RollStep.HOOK:
        ended = "connection lost" if hook.exit_status is None else f"exit code {hook.exit_status}"
        return f"{one.step.value}: {ended}"
    return one.step.value


def hook_words(hook: HookEnd) -> str:
    """How a hook ended."""
    took = units.duration(hook.took_s)
    if hook.exit_status is None:
        return f"the connection was lost after {took}"
    return f"ended with exit code {hook.exit_status} after {took}"


def what_is_so(roll: Roll) -> str:
    """Its trouble, without the commands that go on with it: for where keys do that."""
    return roll.trouble.partition(" `virt-ferry rolls ")[0]


def whole(roll: Roll) -> str:
    """`kvm-a done · kvm-b hook · kvm-c waiting`."""
    return " · ".join(f"{one.host} {step_words(one)}" for one in roll.hosts)


def ended(roll: Roll) -> str:
    """How it ended, or why it stands."""
    took = units.duration((roll.ended or 0.0) - (roll.started or 0.0))
    done = sum(one.step is RollStep.DONE for one in roll.hosts)
    count = f"{done} of {len(roll.hosts)} hosts done"
    if roll.state is RollState.ENDED:
        return f"{count} in {took}{f'. {roll.trouble}' if roll.trouble else ''}"
    return f"{count}. {roll.trouble}" if roll.trouble else count
