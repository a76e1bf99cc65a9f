"""The named policies, as data: what the operator allows a migration to do to a VM."""

from dataclasses import replace

from backend.errors import BadInput
from backend.model import Policy

PAUSE_MS_MIN = 1
PAUSE_MS_MAX = 2_000_000
"""QEMU refuses a pause limit above 2,000 s."""

BALANCED = Policy(
    name="balanced",
    pause_ms=300,
    about="Moves the VM live, never throttles it, and aborts only when asked.",
)

POLICIES = (BALANCED,)


def policy_named(name: str | None = None, pause_ms: int | None = None) -> Policy:
    """The policy called `name` (None: the default), with another pause limit if one is given.

    Raises:
        BadInput: no such policy, or a pause limit QEMU would refuse.
    """
    policy = BALANCED if name is None else _find(name)
    return policy if pause_ms is None else replace(policy, pause_ms=_checked(pause_ms))


def _find(name: str) -> Policy:
    found = next((policy for policy in POLICIES if policy.name == name), None)
    if found is None:
        names = ", ".join(policy.name for policy in POLICIES)
        raise BadInput(f"There is no policy called {name!r}.", f"Allowed: {names}.")
    return found


def _checked(pause_ms: int) -> int:
    if not PAUSE_MS_MIN <= pause_ms <= PAUSE_MS_MAX:
        raise BadInput(
            f"A pause limit of {pause_ms} ms cannot be set.",
            f"Allowed: {PAUSE_MS_MIN} to {PAUSE_MS_MAX:,} ms.",
        )
    return pause_ms
