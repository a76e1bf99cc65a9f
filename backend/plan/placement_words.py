"""Why a VM goes to a host, or nowhere, in sentences without their full stop. Pure."""

from backend.plan.placement_loads import Loads
from backend.plan.placement_types import Choice, Part, Question
from backend.plan.placement_units import Unit, shut
from backend.plan.wording import memory

TOLD_HOSTS = 4
"""Reasons of more hosts are counted, not told."""


def why_here(unit: Unit, host: int, loads: Loads) -> str:
    """What the host is like when all are placed; the unit is among them."""
    room = loads.hosts[host]
    left = room.memory_bytes - loads.used[host]
    told = [f"{memory(left)} of {memory(room.memory_bytes)} stay free on {room.name}"]
    if room.cpus:
        told.append(f"its CPUs {100 * loads.cpus[host] / room.cpus:.0f} % busy")
    told += _wishes(unit, host, loads)
    return ", ".join(told)


def why_nowhere(unit: Unit, loads: Loads, question: Question) -> str:
    """Host by host, what forbids it there."""
    if unit.stuck:
        return unit.stuck
    told = [why_not_there(unit, number, loads, question) for number in range(len(question.hosts))]
    told = [one for one in told if one]
    if not told:
        return "there is no other host"
    more = len(told) - TOLD_HOSTS
    rest = f"; and {more} more hosts" if more > 0 else ""
    return "; ".join(told[:TOLD_HOSTS]) + rest


def why_not_there(unit: Unit, host: int, loads: Loads, question: Question) -> str:
    """Why the unit cannot be on that host beside what is placed; empty: it can, or is there now."""
    room = question.hosts[host]
    if any(vm.host == room.name for vm in unit.vms):
        return ""
    if shut(room):
        return shut(room)
    for vm in unit.vms:
        reason = question.blocked.get((vm.id, room.name))
        if reason is not None:
            return f"{room.name}: {reason.rstrip('.')}"
    if host not in unit.hosts:
        return f"{room.name}: the VMs that its group keeps it with are elsewhere"
    return _no_room(unit, host, loads, loads.why_not(unit, host))


def _no_room(unit: Unit, host: int, loads: Loads, why: str) -> str:
    name = loads.hosts[host].name
    if why == "memory":
        left = memory(max(0, loads.free[host]))
        need = memory(unit.memory_bytes)
        whose = "" if len(unit.vms) == 1 else f" for the {len(unit.vms)} VMs that go together"
        return f"{name}: {need} of memory needed{whose}, {left} left beside the others"
    if why == "apart":
        groups = [group for group in unit.apart if loads.apart.get(group, {}).get(host)]
        return f"{name}: a VM that is kept apart from it runs there (group {groups[0]})"
    if why == "pool":
        pools = {need.pool for need in unit.pools[host]} & set(loads.pools[host])
        return f"{name}: no room for its disks beside the others (pool {', '.join(sorted(pools))})"
    if why == "path":
        return f"{name}: another VM's disk is to have the same file name there"
    return ""


def choice_of(unit: Unit, host: int, loads: Loads, question: Question) -> Choice:
    """One host for a unit that is not placed."""
    room = question.hosts[host]
    if any(vm.host == room.name for vm in unit.vms):
        return Choice(room.name, None, reason="it is there now")
    reason = unit.stuck or why_not_there(unit, host, loads, question)
    if reason:
        return Choice(room.name, None, reason=reason)
    costs = loads.parts(unit, host)
    parts = tuple(
        Part(name, cost, _sentence(name, unit, host, loads))
        for name, cost in costs.items()
        if cost > 0.005
    )
    return Choice(room.name, sum(costs.values()), parts)


def _sentence(name: str, unit: Unit, host: int, loads: Loads) -> str:
    room = loads.hosts[host]
    if name == "memory":
        left = room.memory_bytes - loads.used[host] - unit.memory_bytes
        return f"{memory(left)} of {memory(room.memory_bytes)} would stay free"
    if name == "cpu":
        busy = 100 * (loads.cpus[host] + unit.cpus_used) / max(1, room.cpus)
        return f"its CPUs would be {busy:.0f} % busy"
    if name == "link":
        return f"its link would receive {memory(loads.sent[host] + unit.sent_bytes)}"
    if name == "prefer":
        wanted = sorted({host for vm in unit.vms for host in vm.tags.prefer})
        return f"preferred: {', '.join(wanted)}"
    if name == "together":
        return "VMs it should run with are elsewhere"
    return "VMs it should be apart from run there"


def _wishes(unit: Unit, host: int, loads: Loads) -> list[str]:
    """Soft tags of a placed unit that were kept, or not."""
    told = []
    if any(vm.tags.prefer for vm in unit.vms):
        told.append("not a preferred host" if unit.disliked.get(host) else "a preferred host")
    for group in unit.together_soft:
        whole = len(loads.together_soft.get(group, {})) <= 1
        told.append(f"with group {group}" if whole else f"group {group} is scattered")
    for group in unit.apart_soft:
        if loads.apart_soft.get(group, {}).get(host, 0) > 1:
            told.append(f"beside others of group {group}")
    return told
