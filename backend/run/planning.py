"""From the names an operator gave to plans: which VM, which targets, what was found."""

import asyncio
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from backend.errors import BadInput
from backend.fleet.host import HostWatch
from backend.fleet.inventory import Inventory
from backend.hypervisor.migrate import MigrationOrder, virsh_line
from backend.model import Finding, Forecast, Plan, Policy, Severity, Vm
from backend.plan.facts import Survey
from backend.plan.forecast import forecast_before
from backend.plan.policy import policy_named
from backend.plan.preflight import fit_score, needs_unsafe, preflight
from backend.run.survey import survey

SETTLE_S = 12.0
"""How long a plan waits for hosts that have not answered yet."""
LOAD_LIMIT_S = 2.0
"""And then for the load of those that have: free memory and the link are part of a plan."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what carrying it out needs."""

    plan: Plan
    vm: Vm
    order: MigrationOrder
    needed_bytes: int = 0
    """Memory it takes at the target."""


class Planner:
    """Plans for one fleet. Changes nothing anywhere."""

    def __init__(
        self,
        inventory: Inventory,
        moving: Callable[[], frozenset[str]],
        learned_rate: Callable[[str, str], float | None],
    ) -> None:
        self._inventory = inventory
        self._moving = moving
        self._learned_rate = learned_rate

    @staticmethod
    def policy(name: str | None, pause_ms: int | None) -> Policy:
        """The policy of that name with that pause limit. Raises BadInput."""
        return policy_named(name, pause_ms)

    async def plan(
        self,
        vms: tuple[str, ...],
        target: str | None,
        policy_name: str | None,
        pause_ms: int | None,
        bandwidth_bytes_s: int | None,
    ) -> tuple[Planned, ...]:
        """One for each VM and target, VMs outermost. Raises BadInput for what is not there."""
        policy = self.policy(policy_name, pause_ms)
        if bandwidth_bytes_s is not None and bandwidth_bytes_s <= 0:
            raise BadInput("A bandwidth must be above 0.", "Leave it out for no limit.")
        await self._inventory.settled(SETTLE_S)
        await self._inventory.informed(LOAD_LIMIT_S)
        targets = [self._inventory.host(target)] if target is not None else None
        found = {(vm.uuid, vm.host): vm for vm in map(self._vm, vms)}.values()
        pairs = [(vm, to) for vm in found for to in targets or self._others(vm)]
        planned = await asyncio.gather(
            *(self._plan_one(vm, to, policy, bandwidth_bytes_s) for vm, to in pairs)
        )
        return tuple(fit_together(planned))

    def _others(self, vm: Vm) -> list[HostWatch]:
        return [host for host in self._inventory.hosts.values() if host.name != vm.host]

    def _vm(self, wanted: str) -> Vm:
        """By name, UUID, or HOST/NAME where a name alone is not enough."""
        fleet = self._inventory.snapshot
        found = fleet.vms_named(wanted)
        if not found and "/" in wanted:
            host, _, name = wanted.partition("/")
            found = tuple(vm for vm in fleet.vms_named(name) if vm.host == host)
        active = tuple(vm for vm in found if vm.state.active)
        if len(found) > 1 and len(active) == 1:
            found = active
        if len(found) == 1:
            return found[0]
        if found:
            where = ", ".join(f"{vm.host}/{vm.name}" for vm in found)
            raise BadInput(f"There are several VMs called {wanted!r}.", f"Say which: {where}.")
        raise BadInput(f"There is no VM {wanted!r} in the fleet.", self._suggestion(wanted))

    def _suggestion(self, wanted: str) -> str:
        fleet = self._inventory.snapshot
        close = difflib.get_close_matches(wanted, [vm.name for vm in fleet.vms], n=3)
        silent = [host.name for host in fleet.hosts if host.reason]
        parts = [f"Did you mean {', '.join(close)}?"] if close else []
        parts += [f"Not asked, because they do not answer: {', '.join(silent)}."] if silent else []
        return " ".join(parts) or "`virt-ferry vms` lists them."

    async def _plan_one(
        self, vm: Vm, target: HostWatch, policy: Policy, bandwidth_bytes_s: int | None
    ) -> Planned:
        source = self._inventory.host(vm.host)
        facts = await survey(vm, source, target)
        vm = facts.vm  # as its host has it now: libvirt sends no event when autostart changes
        findings = (*self._own_job(vm), *preflight(facts))
        encrypted = source.tls and target.tls
        order = MigrationOrder(
            uuid=vm.uuid,
            vm=vm.name,
            target_uri=target.migrate_uri,
            persistent=vm.persistent,
            tls=encrypted,
            unsafe=needs_unsafe(facts),
            bandwidth_bytes_s=bandwidth_bytes_s,
        )
        plan = Plan(
            vm=vm.name,
            uuid=vm.uuid,
            source=source.name,
            target=target.name,
            findings=findings,
            policy=policy,
            encrypted=encrypted,
            fit=fit_score(facts, findings),
            free_bytes=facts.target_free_bytes,
            summary=f"live, {policy.name}, {'encrypted' if encrypted else 'NOT ENCRYPTED'}",
            virsh=virsh_line(order, source.source_uri),
        )
        if not plan.blocked:
            plan = replace(plan, forecast=self._forecast(facts, policy, bandwidth_bytes_s))
        return Planned(plan, vm, order, facts.needed_bytes)

    def _own_job(self, vm: Vm) -> tuple[Finding, ...]:
        """A migration of ours that libvirt may not show yet."""
        if vm.uuid not in self._moving() or vm.job is not None:
            return ()
        return (
            Finding(
                "job-active",
                "job",
                Severity.BLOCK,
                f"{vm.name} is being moved already",
                "Wait for its verdict: `virt-ferry jobs`.",
            ),
        )

    def _forecast(self, facts: Survey, policy: Policy, bandwidth_bytes_s: int | None) -> Forecast:
        source, target, vm = facts.source, facts.target, facts.vm
        speeds = [
            speed
            for speed in (
                self._learned_rate(source.name, target.name)
                or _slower(source.link_speed_bytes_s, target.link_speed_bytes_s),
                bandwidth_bytes_s,
            )
            if speed
        ]
        return forecast_before(
            vm_memory_used_bytes=vm.memory_used_bytes or vm.memory_bytes,
            link_bytes_s=min(speeds) if speeds else None,
            dirty_bytes_s=vm.writes_bytes_s,
            working_set_bytes=None,
            pause_ms=policy.pause_ms,
        )


def fit_together(planned: Sequence[Planned]) -> Iterator[Planned]:
    """Each VM fits alone: those that no longer do with the ones before them are blocked."""
    taken: dict[str, int] = {}
    for one in planned:
        plan, before = one.plan, taken.get(one.plan.target, 0)
        if plan.blocked or plan.free_bytes is None or before + one.needed_bytes <= plan.free_bytes:
            if not plan.blocked:
                taken[plan.target] = before + one.needed_bytes
            yield one
            continue
        finding = Finding(
            "memory-together",
            "memory",
            Severity.BLOCK,
            f"{plan.target} has no room for {plan.vm} beside the VMs before it in this plan:"
            f" {_gib(before + one.needed_bytes)} needed, {_gib(plan.free_bytes)} free",
            "Move fewer at once, or some to another host.",
        )
        yield replace(
            one,
            plan=replace(plan, findings=(*plan.findings, finding), fit=None, forecast=None),
        )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} G"


def _slower(one: float | None, other: float | None) -> float | None:
    known = [speed for speed in (one, other) if speed]
    return min(known) if known else None
