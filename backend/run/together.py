"""Plans made one by one, looked at together: what several VMs would take of one target. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from backend.hypervisor.migrate import MigrationOrder
from backend.model import DiskAction, DiskMove, Finding, Plan, Severity, Vm
from backend.plan.running import NOTHING, Prior
from backend.plan.wording import memory
from backend.run.ordering import ColdOrder


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what carrying it out needs."""

    plan: Plan
    vm: Vm
    order: MigrationOrder
    prior: Prior = NOTHING
    """What was known of the VM's writing."""
    in_use_bytes: int | None = None
    needed_bytes: int = 0
    """Memory it takes at the target."""
    cold: ColdOrder | None = None
    """Of a VM that is moved while it does not run."""


@dataclass(slots=True)
class _Taken:
    """What the VMs before have taken of one target."""

    memory_bytes: int = 0
    pool_bytes: dict[str, int] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)

    def take(self, one: Planned) -> None:
        self.memory_bytes += one.needed_bytes
        for move in _copied(one.plan):
            pool = move.pool or ""
            self.pool_bytes[pool] = self.pool_bytes.get(pool, 0) + move.needed_bytes
            self.paths.add(move.destination or "")


def fit_together(planned: Sequence[Planned]) -> Iterator[Planned]:
    """Each VM fits alone: those that no longer do with the ones before them are blocked."""
    targets: dict[str, _Taken] = {}
    for one in planned:
        taken = targets.setdefault(one.plan.target, _Taken())
        found = [] if one.plan.blocked else list(_findings(one, taken))
        if found:
            findings = (*one.plan.findings, *found)
            yield replace(one, plan=replace(one.plan, findings=findings, fit=None, forecast=None))
            continue
        if not one.plan.blocked:
            taken.take(one)
        yield one


def _findings(one: Planned, taken: _Taken) -> Iterator[Finding]:
    plan = one.plan
    needed = taken.memory_bytes + one.needed_bytes
    if plan.free_bytes is not None and needed > plan.free_bytes:
        yield Finding(
            "memory-together",
            "memory",
            Severity.BLOCK,
            f"{plan.target} has no room for {plan.vm} beside the VMs before it in this plan:"
            f" {_gib(needed)} needed, {_gib(plan.free_bytes)} free",
            "Move fewer at once, or some to another host.",
        )
    for move in _copied(plan):
        yield from _disk(plan, move, taken)


def _disk(plan: Plan, move: DiskMove, taken: _Taken) -> Iterator[Finding]:
    if move.destination in taken.paths:
        yield Finding(
            "storage-same-name",
            "storage",
            Severity.BLOCK,
            f"{move.destination} on {plan.target} is taken by a VM before {plan.vm} in this plan",
            f"Move them one by one, with --disk {move.target}={move.pool}:NAME.",
        )
    before = taken.pool_bytes.get(move.pool or "", 0)
    if before and move.room_bytes is not None and before + move.needed_bytes > move.room_bytes:
        yield Finding(
            "storage-together",
            "storage",
            Severity.BLOCK,
            f"pool {move.pool} of {plan.target} has no room for {move.target} of {plan.vm} beside"
            f" the VMs before it in this plan: {memory(before + move.needed_bytes)} needed,"
            f" {memory(move.room_bytes)} free",
            "Move fewer at once, or choose another pool.",
        )


def _copied(plan: Plan) -> list[DiskMove]:
    return [move for move in plan.disks if move.action is DiskAction.COPY]


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} G"
