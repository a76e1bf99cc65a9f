"""All moves that one engine knows of: by id, by VM, and what they mean for the fleet's VMs."""

import secrets

from backend.errors import BadInput
from backend.model import Migration, Outcome, Vm
from backend.run.learned import learned
from backend.run.runs import Run

KEPT = 200
"""Ended migrations kept in memory, newest last."""


class Roster:
    """The runs, oldest first."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def add(self, run: Run) -> None:
        """From now on it is one of them; the oldest that have ended go."""
        self.runs[run.state.id] = run
        ended = [key for key, run in self.runs.items() if not run.state.running]
        for key in ended[:-KEPT]:
            del self.runs[key]

    def new_id(self) -> str:
        """One that none of them has."""
        while (new := secrets.token_hex(3)) in self.runs:
            pass
        return new

    def states(self, *, running_only: bool) -> tuple[Migration, ...]:
        """Of all of them, oldest first."""
        states = (run.state for run in self.runs.values())
        return tuple(state for state in states if state.running or not running_only)

    def knows(self, wanted: str) -> bool:
        """Whether there is a migration of that id, or one of a VM of that name."""
        return wanted in self.runs or any(r.state.vm == wanted for r in self.runs.values())

    def carries(self, id: str) -> bool:
        """It is one of them, and has not ended."""
        return id in self.runs and self.runs[id].state.running

    def run(self, wanted: str) -> Run:
        """By id, or by the name of a VM that moves now. Raises BadInput."""
        if wanted in self.runs:
            return self.runs[wanted]
        named = [run for run in self.runs.values() if run.state.vm == wanted]
        running = [run for run in named if run.state.running]
        if len(running) == 1 or named:
            return (running or named)[-1]
        raise BadInput(
            f"There is no migration {wanted!r}.",
            "`virt-ferry jobs` lists those that run, `virt-ferry history` those that have ended.",
        )

    def running_uuids(self) -> frozenset[str]:
        """VMs whose migration by us has no verdict, or none that says who owns them."""
        return frozenset(
            state.uuid
            for state in self.states(running_only=False)
            if not state.foreign and _open(state)
        )

    def watched_uuids(self) -> frozenset[str]:
        """VMs whose migration is watched already, ours or not."""
        foreign = (state for state in self.states(running_only=True) if state.foreign)
        return self.running_uuids() | {state.uuid for state in foreign}

    def moving(self) -> dict[tuple[str, str], int]:
        """(uuid, source) of what moves now, with the pause limit in ms."""
        return {
            (state.uuid, state.source): state.pause_limit_ms or state.policy.pause_ms
            for state in self.states(running_only=True)
            if state.called_at is not None
        }

    def had_its_link_alone(self, state: Migration) -> bool:
        """No other one used the way out of its source or into its target while it moved."""
        since = state.called_at or state.started
        return not any(
            (other.source == state.source or other.target == state.target)
            and other.id != state.id
            and other.called_at is not None
            and (other.verdict is None or other.started + other.verdict.wall_s > since)
            for other in self.states(running_only=False)
        )

    def newest_of(self, uuid: str) -> Migration | None:
        """A VM's newest, running or ended."""
        newest = (one.state for one in reversed(self.runs.values()) if one.state.uuid == uuid)
        return next(newest, None)

    def enriched(self, vm: Vm) -> Vm:
        """With what the newest move of a VM has taught about it."""
        newest = (run for run in reversed(self.runs.values()) if run.state.uuid == vm.uuid)
        run = next(newest, None)
        return vm if run is None else learned(vm, run)


def _open(state: Migration) -> bool:
    verdict = state.verdict
    return verdict is None or (verdict.outcome is Outcome.UNKNOWN and verdict.owner is None)
