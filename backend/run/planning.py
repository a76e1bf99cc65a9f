"""From the names an operator gave to plans: which VM, which targets, what was found."""

import asyncio
import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from backend.errors import BadInput
from backend.fleet.host import HostWatch
from backend.fleet.inventory import Inventory
from backend.hypervisor.migrate import MigrationOrder, offline_line, restart_line, virsh_line
from backend.model import (
    DiskMove,
    Finding,
    Mode,
    MoveOptions,
    Plan,
    Policy,
    Severity,
    Vm,
)
from backend.plan.disk_time import each_timed, idle_forecast, with_disks
from backend.plan.disks import disk_cases, pools_for_images
from backend.plan.facts import Survey
from backend.plan.modes import MOVED_WHILE_OFF, mode_of
from backend.plan.policy import all_policies, deadline_s, policy_for
from backend.plan.preflight import fit_score, preflight
from backend.plan.preparing import announced, as_prepared, possible
from backend.plan.remarks import disk_remarks, idle_remarks
from backend.plan.wording import memory
from backend.run.asked import checked
from backend.run.foreseeing import Foreseen, foresee
from backend.run.history import History
from backend.run.links import Links
from backend.run.ordering import cold_order, copied_bytes, order_for
from backend.run.planning_disks import disks_planned
from backend.run.survey import survey
from backend.run.together import Planned, fit_together

SETTLE_S = 12.0
"""How long a plan waits for hosts that have not answered yet."""
LOAD_LIMIT_S = 2.0
"""And then for the load of those that have: free memory and the link are part of a plan."""


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
        self.links = Links(inventory.now)

    @property
    def policies(self) -> tuple[Policy, ...]:
        """All that can be named, the built-in ones first."""
        return all_policies(self._own)

    async def plan(
        self,
        vms: tuple[str, ...],
        target: str | None,
        options: MoveOptions,
        *,
        welcome: bool = False,
        sharing: int | None = None,
    ) -> tuple[Planned, ...]:
        """One for each VM and target, VMs outermost. Raises BadInput for what is not there.

        `welcome`: as if no target were in maintenance. `sharing`: how many moves will share its
        link, where that is known better than by what runs now.
        """
        policy_for(options, self._own)
        checked(options, self._inventory.now(), len(vms))
        await self._inventory.maintenance_known.wait()
        await self._inventory.settled(SETTLE_S)
        await self._inventory.informed(LOAD_LIMIT_S)
        wanted = self._inventory.host(target) if target is not None else None
        found = {(vm.uuid, vm.host): vm for vm in map(self._vm, vms)}.values()
        leaving = Counter(vm.host for vm in found if vm.state.active)
        pairs = [(vm, to) for vm in found for to in self._targets(vm, wanted, options)]
        planned = await asyncio.gather(
            *(
                self._plan_one(
                    vm,
                    to,
                    options,
                    beside=max(0, leaving[vm.host] - 1),
                    welcome=welcome,
                    sharing=sharing,
                )
                for vm, to in pairs
            )
        )
        return tuple(fit_together(planned))

    def _targets(self, vm: Vm, wanted: HostWatch | None, options: MoveOptions) -> list[HostWatch]:
        """The one that was named; else all others, or, where only disks move, its own host."""
        if wanted is not None:
            return [wanted]
        hosts = self._inventory.hosts.values()
        stays = mode_of(vm, options) is Mode.STORAGE
        return [host for host in hosts if (host.name == vm.host) is stays]

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

    async def once_more(self, plan: Plan, options: MoveOptions) -> Planned:
        """For a migration that has made its target ready. Raises BadInput."""
        vm = self._vm(f"{plan.source}/{plan.uuid}")
        target = self._inventory.host(plan.target)
        return await self._plan_one(vm, target, replace(options, prepare=False), own=True)

    async def _plan_one(
        self,
        vm: Vm,
        target: HostWatch,
        options: MoveOptions,
        own: bool = False,
        beside: int = 0,
        welcome: bool = False,
        sharing: int | None = None,
    ) -> Planned:
        """`own`: for a migration that is there already; `beside`: others that start with it."""
        source = self._inventory.host(vm.host)
        facts = await survey(vm, source, target, self.links, options)
        facts = replace(facts, moved_by_others=self._by_others(facts.vm))
        if sharing is not None:
            facts = replace(facts, measures=replace(facts.measures, sharing_link=sharing))
        if not (own or welcome):
            facts = replace(facts, target=self._inventory.marked(facts.target))
        vm = facts.vm  # as its host has it now: libvirt sends no event when autostart changes
        policy = policy_for(options, self._own, vm.policy)
        if facts.mode is Mode.STORAGE:
            uri = source.source_uri
            return disks_planned(
                facts, uri, policy, options, self._own_job(vm, own), self.links.here(source.name)
            )
        preparations = possible(facts)
        if options.prepare:
            facts = as_prepared(facts, preparations)
        seen = foresee(facts, policy, options, self.links, self._history, beside)
        idle = facts.mode in MOVED_WHILE_OFF
        more = announced(preparations) if options.prepare else ()
        more += () if idle else seen.findings
        findings = (*self._own_job(vm, own), *preflight(facts), *more)
        encrypted = source.tls and target.tls
        moves = tuple(case.move for case in disk_cases(facts))
        order = order_for(facts, target.migrate_uri, encrypted, moves, seen.tuning, options)
        plan = Plan(
            vm=vm.name,
            uuid=vm.uuid,
            source=source.name,
            target=target.name,
            findings=findings,
            policy=policy,
            mode=facts.mode,
            encrypted=encrypted,
            fit=fit_score(facts, findings),
            free_bytes=facts.target_free_bytes,
            summary=_summary(facts.mode, policy.name, encrypted, moves),
            virsh=_virsh(facts, order, source.source_uri, target.source_uri),
            deadline_s=deadline_s(policy, vm.memory_bytes),
            disks=moves,
            pools=pools_for_images(facts),
            preparations=preparations,
        )
        if not plan.blocked:
            plan = (_when_off if idle else _with_forecast)(plan, seen, options)
        needed, in_use = facts.needed_bytes, facts.measures.in_use_bytes
        cold = cold_order(facts, moves, options) if idle else None
        needed = 0 if facts.mode is Mode.COLD else needed
        return Planned(plan, vm, order, seen.prior, in_use, needed, cold)

    def _by_others(self, vm: Vm) -> bool:
        """What libvirt shows is none of ours."""
        outward = vm.job is not None and vm.job.kind == "migration out"
        return outward and vm.uuid not in self._moving()

    def _own_job(self, vm: Vm, own: bool) -> tuple[Finding, ...]:
        """A migration of ours that libvirt may not show yet; `own`: it is the one that asks."""
        if own or vm.uuid not in self._moving() or vm.job is not None:
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


def _virsh(facts: Survey, order: MigrationOrder, source_uri: str, target_uri: str) -> str:
    if facts.mode not in MOVED_WHILE_OFF:
        return virsh_line(order, source_uri)
    if order.copy_disks:
        return ""
    if facts.mode is Mode.RESTART:
        return restart_line(order, source_uri, target_uri)
    return offline_line(order, source_uri)


def check_target(target: str | None, options: MoveOptions) -> None:
    """A start needs one target, unless only disks move. Raises BadInput."""
    if target is None and options.mode is not Mode.STORAGE:
        raise BadInput("It is not said where to.", "Name the target: --to HOST.")


def _summary(mode: Mode, policy: str, encrypted: bool, moves: Sequence[DiskMove]) -> str:
    size = copied_bytes(moves)
    disks = f" + {memory(size)} of disk" if size else ""
    return f"{mode}{disks}, {policy}, {'encrypted' if encrypted else 'NOT ENCRYPTED'}"


def _when_off(plan: Plan, seen: Foreseen, options: MoveOptions) -> Plan:
    """Its disks are all there is to copy."""
    remarks = (
        *idle_remarks(plan.mode),
        *disk_remarks(plan, options.remove_source),
    )
    return replace(
        plan,
        disks=each_timed(plan.disks, seen.link_bytes_s, idle=True),
        forecast=idle_forecast(copied_bytes(plan.disks), seen.link_bytes_s),
        remarks=remarks,
        deadline_s=None,
    )


def _with_forecast(plan: Plan, seen: Foreseen, options: MoveOptions) -> Plan:
    return replace(
        plan,
        disks=each_timed(plan.disks, seen.link_bytes_s, idle=False),
        forecast=with_disks(seen.forecast, copied_bytes(plan.disks), seen.link_bytes_s),
        tuning=seen.tuning,
        remarks=(
            *disk_remarks(plan, options.remove_source),
            *seen.remarks,
        ),
        can_hold=seen.can_hold,
        record=seen.record,
    )
