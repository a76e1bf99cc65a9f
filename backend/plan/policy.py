"""The named policies, as data: what the operator allows a migration to do to a VM.

A fleet file adds its own (`fleet.config` reads them); a VM may name one in its metadata. What an
operator says for one migration wins over both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from backend.errors import BadInput
from backend.model import MoveOptions, Policy

PAUSE_MS_MIN = 1
PAUSE_MS_MAX = 2_000_000
"""QEMU refuses a pause limit above 2,000 s."""
DEADLINE_S_MAX = 7 * 86_400
THROTTLE_PERCENT_MAX = 90

GENTLE = Policy(
    name="gentle",
    pause_ms=300,
    about="Never slows the VM; it stays where it is when it would not finish in time.",
    deadline_s_per_gib=150.0,
)
BALANCED = Policy(
    name="balanced",
    pause_ms=300,
    about="Slows the VM as far as needed, by up to 90 %, and keeps the pause.",
    deadline_s_per_gib=600.0,
    throttle_percent=THROTTLE_PERCENT_MAX,
)
MUST_FINISH = Policy(
    name="must-finish",
    pause_ms=300,
    about="Finishes by post-copy where copying ahead would take longer.",
    post_copy=True,
)
FREEZE = Policy(
    name="freeze",
    pause_ms=300,
    about="Suspends the VM to finish, when it does not finish otherwise.",
    deadline_s_per_gib=150.0,
    throttle_percent=THROTTLE_PERCENT_MAX,
    suspend=True,
)

BUILT_IN = (GENTLE, BALANCED, MUST_FINISH, FREEZE)
DEFAULT = BALANCED


def all_policies(own: Iterable[Policy] = ()) -> tuple[Policy, ...]:
    """The built-in ones and the fleet file's; its own may replace a built-in of the same name."""
    named = {policy.name: policy for policy in (*BUILT_IN, *own)}
    return tuple(named.values())


def policy_for(
    options: MoveOptions, own: Sequence[Policy] = (), of_vm: str | None = None
) -> Policy:
    """The policy the operator named, else the VM's, else the default; with the overrides.

    Raises:
        BadInput: no such policy, or a limit that cannot be set.
    """
    policies = all_policies(own)
    if options.policy is not None:
        policy = _find(policies, options.policy)
    else:
        default = _find(policies, DEFAULT.name)
        policy = next((one for one in policies if one.name == of_vm), default)
    if options.pause_ms is not None:
        policy = replace(policy, pause_ms=checked_pause_ms(options.pause_ms))
    if options.deadline_s is not None:
        deadline_s = _checked_deadline_s(options.deadline_s)
        policy = replace(policy, deadline_s=deadline_s, deadline_s_per_gib=None)
    return policy


def deadline_s(policy: Policy, memory_bytes: int) -> float | None:
    """How long the migrate call may take for a VM of that size; None: as long as it takes."""
    limits = []
    if policy.deadline_s is not None:
        limits.append(policy.deadline_s)
    if policy.deadline_s_per_gib is not None:
        limits.append(policy.deadline_s_per_gib * max(1.0, memory_bytes / 2**30))
    return min(limits) if limits else None


def checked_pause_ms(pause_ms: int) -> int:
    """A pause limit QEMU takes. Raises BadInput."""
    if not PAUSE_MS_MIN <= pause_ms <= PAUSE_MS_MAX:
        raise BadInput(
            f"A pause limit of {pause_ms} ms cannot be set.",
            f"Allowed: {PAUSE_MS_MIN} to {PAUSE_MS_MAX:,} ms.",
        )
    return pause_ms


def _checked_deadline_s(deadline_s: float) -> float:
    if not 1 <= deadline_s <= DEADLINE_S_MAX:
        raise BadInput(
            f"A deadline of {deadline_s:g} s cannot be kept.",
            f"Allowed: 1 s to {DEADLINE_S_MAX // 86_400} days.",
        )
    return deadline_s


def _find(policies: Sequence[Policy], name: str) -> Policy:
    found = next((policy for policy in policies if policy.name == name), None)
    if found is None:
        names = ", ".join(policy.name for policy in policies)
        raise BadInput(f"There is no policy called {name!r}.", f"Allowed: {names}.")
    return found
