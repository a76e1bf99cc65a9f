"""The difference between two fleet snapshots, and putting it back together: pure.

`fold(old, difference(old, new)) == new` for every pair; a client that folds each published
change holds what the engine holds.
"""

from backend.model import FleetSnapshot
from backend.service.protocol import FleetChanged


def whole(fleet: FleetSnapshot) -> FleetChanged:
    """The change that replaces everything."""
    return FleetChanged(
        name=fleet.name, whole=True, hosts=fleet.hosts, vms=fleet.vms, alarms=fleet.alarms
    )


def difference(old: FleetSnapshot, new: FleetSnapshot) -> FleetChanged | None:
    """What a holder of `old` must be told to hold `new`; None when nothing changed."""
    if old == new:
        return None
    if old.name != new.name or [h.name for h in old.hosts] != [h.name for h in new.hosts]:
        return whole(new)
    before = {(vm.uuid, vm.host): vm for vm in old.vms}
    now = {(vm.uuid, vm.host): vm for vm in new.vms}
    return FleetChanged(
        name=new.name,
        hosts=tuple(h for was, h in zip(old.hosts, new.hosts, strict=True) if was != h),
        vms=tuple(vm for key, vm in now.items() if before.get(key) != vm),
        gone_vms=tuple(key for key in before if key not in now),
        alarms=new.alarms,
    )


def fold(fleet: FleetSnapshot, change: FleetChanged) -> FleetSnapshot:
    """`fleet` with `change` applied."""
    if change.whole:
        return FleetSnapshot(change.name, change.hosts, change.vms, change.alarms)
    hosts = {host.name: host for host in fleet.hosts} | {host.name: host for host in change.hosts}
    vms = {(vm.uuid, vm.host): vm for vm in fleet.vms}
    vms |= {(vm.uuid, vm.host): vm for vm in change.vms}
    for key in change.gone_vms:
        vms.pop(key, None)
    in_order = sorted(vms.values(), key=lambda vm: (vm.name, vm.host, vm.uuid))
    return FleetSnapshot(change.name, tuple(hosts.values()), tuple(in_order), change.alarms)
