"""What a rule decides by, and its advice. Pure. Loads in percent of a host."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.plan.placement_types import HostRoom, Resident, VmNeed
from backend.plan.rules import Level, Measure


@dataclass(frozen=True, slots=True)
class HostLoad:
    """One host in one round; None: not known."""

    name: str
    cpu_percent: float | None = None
    memory_percent: float | None = None
    pressure_percent: float | None = None
    """Of the time something waited for a CPU (PSI, some)."""

    def of(self, measure: Measure) -> float | None:
        """The load by that measure."""
        if measure is Measure.CPU:
            return self.cpu_percent
        return self.memory_percent if measure is Measure.MEMORY else self.pressure_percent


@dataclass(frozen=True, slots=True)
class LoadRound:
    """All hosts at one moment."""

    at: float
    """Epoch seconds."""
    hosts: tuple[HostLoad, ...]

    def of(self, host: str, measure: Measure) -> float | None:
        """None where it is not known."""
        return next((one.of(measure) for one in self.hosts if one.name == host), None)


@dataclass(frozen=True, slots=True)
class PastMove:
    """One move that a VM has made, whoever asked for it."""

    vm: str
    """Its id."""
    source: str
    target: str
    at: float
    """Epoch seconds of its end."""


@dataclass(frozen=True, slots=True)
class RuleFleet:
    """The fleet as it is now."""

    hosts: tuple[HostRoom, ...]
    """`closed` where down or in maintenance."""
    vms: tuple[VmNeed, ...]
    blocked: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """As a placement's question has it."""
    moves: tuple[PastMove, ...] = ()
    """Of the last days, in any order."""
    moving: frozenset[str] = frozenset()
    """Ids of VMs that are being moved: until they are there, no advice on load is given."""

    def residents(self, without: frozenset[str]) -> tuple[Resident, ...]:
        """All other VMs with groups."""
        return tuple(
            Resident(vm.name, vm.host, vm.tags)
            for vm in self.vms
            if vm.id not in without and vm.tags.grouped
        )


@dataclass(frozen=True, slots=True)
class AdvisedMove:
    """One VM to move."""

    vm: str
    """Its id."""
    name: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What a rule would have done now; all of its moves or none."""

    rule: str
    level: Level
    moves: tuple[AdvisedMove, ...]
    reason: str
    """What is so, as a sentence without its full stop."""
    gain: str
    """What it will have brought, likewise."""
    gain_percent: float = 0.0
    """The busier host's load, before less after; 0 where that is not the aim."""
    drain: str = ""
    """The host to evacuate: the moves are those of its plan, made when it is asked for."""
