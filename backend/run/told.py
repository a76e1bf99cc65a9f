"""The state of one migration as everybody is told of it: phases, decisions, the verdict."""

import time
from collections.abc import Callable
from dataclasses import replace

from backend.model import Control, Decision, Migration, Now, Outcome, Phase, PhaseState
from backend.run.publish import Publisher
from backend.run.turns import Turns

MOST_DECISIONS = 300
"""A migration that runs all night ends a pass every few seconds: the oldest notes go."""

_KEPT = frozenset({"volumes", "carried", "prepared", "phase", "changed"})
"""Fields that an engine which dies must not forget."""


class Told:
    """Every change of `state` goes through here and is published."""

    def __init__(
        self,
        state: Migration,
        publisher: Publisher,
        confirmed: float,
        now: Now,
        controls: Callable[[Migration], tuple[Control, ...]] = lambda _: (),
        keep: Callable[[Migration], None] | None = None,
    ) -> None:
        """`controls`: what can be done to a migration that stands so. `keep` is called before
        anybody is told of what was made at the target."""
        self._keep = keep
        self._controls = controls
        self.state = state
        self._turns = Turns(state.turns)
        self.zero = confirmed
        """`time.monotonic()` of the confirm, then of the migrate call."""
        self.now = now
        self._publisher = publisher

    @property
    def limit_ms(self) -> int:
        """The pause limit in force."""
        return self.state.pause_limit_ms or self.state.policy.pause_ms

    def update(self, **fields: object) -> None:
        """Change fields of the state."""
        state = replace(self.state, **fields)  # type: ignore[arg-type]
        state = replace(state, controls=self._controls(state))
        self.state = self._turns.follow(self.state, state, self.now())
        if self._keep is not None and fields.keys() & _KEPT:
            self._keep(self.state)
        self._publisher.migration(self.state)

    async def kept(self) -> None:
        """What was told outlives the engine from now on, or its journal's trouble has been told."""
        await self._publisher.kept()

    def unseen(self, last_s: float) -> float:
        """No engine has watched it since `last_s` (as `Sample.t_s`): told apart from what is seen
        from now on. For how many s that was."""
        now_s = round(time.monotonic() - self.zero, 3)
        self.update(gaps=(*self.state.gaps, (last_s, now_s)))
        return now_s - last_s

    def note(self, action: str, reason: str, by: str = "engine") -> None:
        """Add a decision."""
        t_s = round(time.monotonic() - self.zero, 3)
        decision = Decision(t_s=t_s, at=self.now(), action=action, reason=reason, by=by)
        self.state = replace(self.state, decisions=_kept((*self.state.decisions, decision)))
        self._publisher.decision(self.state.id, decision)
        self._publisher.migration(self.state)

    def enter(self, phase: Phase, skipped: tuple[Phase, ...] = ()) -> None:
        """Begin a phase; the one before is done, unless only the verdict can tell."""
        phases = dict(self.state.phases)
        for other, state in phases.items():
            if state is PhaseState.ACTIVE and phase is not Phase.VERIFY:
                phases[other] = PhaseState.DONE
        phases |= dict.fromkeys(skipped, PhaseState.SKIPPED)
        phases[phase] = PhaseState.ACTIVE
        self.update(phase=phase, phases=phases)

    def ended_phases(self, outcome: Outcome) -> dict[Phase, PhaseState]:
        """Every phase as the verdict leaves it."""
        phases = dict(self.state.phases)
        for phase, state in phases.items():
            if phase is Phase.VERIFY:
                known = outcome is not Outcome.UNKNOWN
                phases[phase] = PhaseState.DONE if known else PhaseState.FAILED
            elif outcome is Outcome.MOVED and state is not PhaseState.SKIPPED:
                phases[phase] = PhaseState.DONE
            elif state is PhaseState.ACTIVE:
                phases[phase] = PhaseState.FAILED
        return phases


def _kept(decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
    """Without the oldest note: what was done to the VM is told to the end."""
    if len(decisions) <= MOST_DECISIONS:
        return decisions
    oldest = next((n for n, one in enumerate(decisions) if one.action == "note"), 0)
    return (*decisions[:oldest], *decisions[oldest + 1 :])


def as_monotonic(at: float, now_s: float) -> float:
    """Of a time of day that has passed: what `time.monotonic()` was."""
    return time.monotonic() - max(0.0, now_s - at)
