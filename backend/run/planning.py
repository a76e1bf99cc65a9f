"""From the names an operator gave to plans: which VM, which targets, what was found."""

import asyncio
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from backend.errors import BadInput
from backend.fleet.host import HostWatch
from backend.fleet.inventory import Inventory
from backend.hypervisor.migrate import MigrationOrder, virsh_line
from backend.hypervisor.target_xml import Changes
from backend.model import DiskAction, DiskMove, Finding, MoveOptions, Plan, Policy, Severity, Vm
from backend.plan.disk_time import with_disks
from backend.plan.disks import disk_cases
from backend.plan.facts import Survey, renamed
from backend.plan.policy import all_policies, deadline_s, policy_for
from backend.plan.preflight import fit_score, needs_unsafe, preflight
from backend.plan.running import NOTHING, Prior
from backend.plan.wording import memory
from backend.run.asked import checked
from backend.run.foreseeing import Foreseen, foresee
from backend.run.history import History
from backend.run.links import Links
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
    prior: Prior = NOTHING
    """What was known of the VM's writing."""
    in_use_bytes: int | None = None
    needed_bytes: int = 0
    """Memory it takes at the target."""


class Planner:
    """Plans for one fleet. Changes nothing anywhere."""

    def __init__(
        self,
        inventory: Inventory,
        moving: Callable[[], frozenset[str]],
        own_policies: tuple[Policy, ...],
        history: History,
    ) -> None:
        self._inventory = inventory
        self._moving = moving
        self._own = own_policies
        self._history = history
        self.links = Links()

    @property
    def policies(self) -> tuple[Policy, ...]:
        """All that can be named, the built-in ones first."""
        return all_policies(self._own)

    async def plan(
        self, vms: tuple[str, ...], target: str | None, options: MoveOptions
    ) -> tuple[Planned, ...]:
        """One for each VM and target, VMs outermost. Raises BadInput for what is not there."""
        policy_for(options, self._own)
        checked(options, len(vms))
        await self._inventory.settled(SETTLE_S)
        await self._inventory.informed(LOAD_LIMIT_S)
        targets = [self._inventory.host(target)] if target is not None else None
        found = {(vm.uuid, vm.host): vm for vm in map(self._vm, vms)}.values()
        pairs = [(vm, to) for vm in found for to in targets or self._others(vm)]
        planned = await asyncio.gather(*(self._plan_one(vm, to, options) for vm, to in pairs))
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

    async def _plan_one(self, vm: Vm, target: HostWatch, options: MoveOptions) -> Planned:
        source = self._inventory.host(vm.host)
        facts = await survey(vm, source, target, self.links, options)
        vm = facts.vm  # as its host has it now: libvirt sends no event when autostart changes
        policy = policy_for(options, self._own, vm.policy)
        seen = foresee(facts, policy, options, self.links, self._history)
        findings = (*self._own_job(vm), *preflight(facts), *seen.findings)
        encrypted = source.tls and target.tls
        moves = tuple(case.move for case in disk_cases(facts))
        order = MigrationOrder(
            uuid=vm.uuid,
            vm=vm.name,
            target_uri=target.migrate_uri,
            persistent=vm.persistent,
            tls=encrypted,
            unsafe=needs_unsafe(facts),
            bandwidth_bytes_s=options.bandwidth_bytes_s,
            throttle_start_percent=seen.tuning.throttle_start_percent,
            throttle_step_percent=seen.tuning.throttle_step_percent,
            post_copy=seen.tuning.post_copy,
            compression=seen.tuning.compression,
            streams=seen.tuning.streams,
            copy_disks=tuple(move.target for move in _copies(moves)),
            changes=_changes(facts, moves),
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
            summary=_summary(policy.name, encrypted, moves),
            virsh=virsh_line(order, source.source_uri),
            deadline_s=deadline_s(policy, vm.memory_bytes),
            disks=moves,
        )
        if not plan.blocked:
            plan = _with_forecast(plan, seen)
        needed, in_use = facts.needed_bytes, facts.measures.in_use_bytes
        return Planned(plan, vm, order, seen.prior, in_use, needed)

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


def _copies(moves: Sequence[DiskMove]) -> list[DiskMove]:
    return [move for move in moves if move.action is DiskAction.COPY]


def _changes(facts: Survey, moves: Sequence[DiskMove]) -> Changes:
    """New paths, where they differ; new names of networks that the VM is on."""
    nics = facts.definition.nics if facts.definition else ()
    used = {nic.source for nic in nics if renamed(nic, facts.networks) != nic}
    return Changes(
        disks={
            move.target: move.destination
            for move in _copies(moves)
            if move.destination is not None and move.destination != move.source
        },
        networks={was: new for was, new in facts.networks.items() if was in used},
    )


def _summary(policy: str, encrypted: bool, moves: Sequence[DiskMove]) -> str:
    copies = _copies(moves)
    size = sum(move.allocated_bytes or move.virtual_bytes or 0 for move in copies)
    disks = f" + {memory(size)} of disk" if copies else ""
    return f"live{disks}, {policy}, {'encrypted' if encrypted else 'NOT ENCRYPTED'}"


def _with_forecast(plan: Plan, seen: Foreseen) -> Plan:
    copied = sum(move.allocated_bytes or move.virtual_bytes or 0 for move in _copies(plan.disks))
    return replace(
        plan,
        forecast=with_disks(seen.forecast, copied, seen.link_bytes_s),
        tuning=seen.tuning,
        remarks=seen.remarks,
        can_hold=seen.can_hold,
        record=seen.record,
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
