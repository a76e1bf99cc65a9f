"""What a rule decides by. Pure. Loads in percent of a host."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.plan.placement_types import HostRoom, Resident, VmNeed
from backend.plan.rules import Measure


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
    """All hosts over some seconds, in the mean."""

    at: float
    """Epoch seconds of its begin."""
    hosts: tuple[HostLoad, ...]

    def of(self, host: str, measure: Measure) -> float | None:
        """None where it is not known."""
        return next((one.of(measure) for one in self.hosts if one.name == host), None)


@dataclass(frozen=True, slots=True)
class PastMove:
    """One move that a VM has made or tried, whoever asked for it."""

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
    emptied: Mapping[str, float] = field(default_factory=dict)
    """Host -> epoch seconds of the begin of its newest evacuation; infinite while one is open."""
    moving: frozenset[str] = frozenset()
    """Ids of VMs that are being moved: until they are there, no advice on load is given."""

    def residents(self, without: frozenset[str]) -> tuple[Resident, ...]:
        """All other VMs with groups."""
        return tuple(
            Resident(vm.name, vm.host, vm.tags)
            for vm in self.vms
            if vm.id not in without and vm.tags.grouped
        )
