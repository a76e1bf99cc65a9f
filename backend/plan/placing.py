"""Stand-in until placement has its search."""

from backend.plan.placement import Placed, Placement, Question


def place(question: Question) -> Placement:
    """Greedy, by free memory."""
    free = {host.name: host.memory_free_bytes for host in question.hosts if not host.closed}
    placed = []
    for vm in sorted(question.vms, key=lambda one: -one.memory_bytes):
        able = [
            host
            for host in free
            if host != vm.host
            and (vm.id, host) not in question.blocked
            and free[host] >= vm.memory_bytes
        ]
        host = max(able, key=lambda name: (free[name], name), default=None)
        if host is not None:
            free[host] -= vm.memory_bytes
        why = "the most free memory" if host else "no host takes it"
        placed.append(Placed(vm.id, vm.name, host, why))
    return Placement(tuple(placed), 0.0, False)
