"""Migrations that have ended, as the history lists them."""

from dataclasses import dataclass

from backend.model.moving import Migration, Outcome
from backend.model.planning import Mode


@dataclass(frozen=True, slots=True)
class Past:
    """One ended migration in one line; the keys are a verdict's (design.md, section 4)."""

    id: str
    vm: str
    uuid: str
    source: str
    target: str
    started: float
    """Epoch seconds of the operator's confirm."""
    ended: float
    """Epoch seconds of the verdict."""
    mode: Mode
    policy: str
    outcome: Outcome
    owner: str | None
    reason: str
    total_s: float
    wall_s: float
    pause_ms: int | None = None
    outage_ms: int | None = None
    sent_bytes: int = 0
    passes: int = 0
    stall_ms: int | None = None
    encrypted: bool | None = True
    authenticated: bool | None = True
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PastFilter:
    """Which of them are wanted; None: any."""

    vm: str | None = None
    """Its name, or its UUID."""
    host: str | None = None
    """At either end."""
    outcome: Outcome | None = None
    since: float | None = None
    """Epoch seconds, of the confirm."""
    until: float | None = None
    limit: int = 1000
    """The newest so many."""


def past_of(state: Migration) -> Past | None:
    """An ended migration's line; None while it has no verdict."""
    verdict = state.verdict
    if verdict is None:
        return None
    return Past(
        id=state.id,
        vm=state.vm,
        uuid=state.uuid,
        source=state.source,
        target=state.target,
        started=state.started,
        ended=state.started + verdict.wall_s,
        mode=state.mode,
        policy=state.policy.name,
        outcome=verdict.outcome,
        owner=verdict.owner,
        reason=verdict.reason,
        total_s=verdict.total_s,
        wall_s=verdict.wall_s,
        pause_ms=verdict.pause_ms,
        outage_ms=verdict.outage_ms,
        sent_bytes=verdict.sent_bytes,
        passes=verdict.passes,
        stall_ms=verdict.stall_ms,
        encrypted=verdict.encrypted,
        authenticated=verdict.authenticated,
        leftovers=verdict.leftovers,
    )
