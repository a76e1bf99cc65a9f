"""A VM that runs on two hosts at once, told apart from a migration that is just handing over.

Two hosts are not looked at in the same instant: one may still say `running` of a VM that has
just left it. So a VM is only said to run twice once both hosts, asked anew, say so again. Once
said it stands until the hosts are seen to hold it once: a host that falls silent proves nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from backend.model import Alarm, Vm, VmState

_EXECUTING = (VmState.RUNNING, VmState.SHUTTING_DOWN)
_LOOKS = 2
"""After this many more the last one began after the VM was first seen twice."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One host as the inventory has it."""

    up: bool
    looks: int
    """How often its VMs were read, all in all."""


@dataclass(slots=True)
class _Suspicion:
    name: str
    hosts: tuple[str, ...]
    since: Mapping[str, int]
    sure: bool = False


class AlarmWatch:
    """Remembers between snapshots; no I/O and no clock."""

    def __init__(self) -> None:
        self._suspected: dict[str, _Suspicion] = {}

    @property
    def unsure(self) -> bool:
        """Something looks wrong and has not been looked at again yet."""
        return any(not one.sure for one in self._suspected.values())

    def look(
        self, vms: Collection[Vm], hosts: Mapping[str, Looked], moving: Collection[str]
    ) -> tuple[Alarm, ...]:
        """The alarms that stand, by VM. `moving`: UUIDs that this engine moves now."""
        now = running_twice(vms, moving)
        for uuid in [uuid for uuid in self._suspected if uuid not in now]:
            if not self._may_go_on(uuid, hosts):
                del self._suspected[uuid]
        for uuid, copies in now.items():
            self._suspect(uuid, copies, hosts)
        sure = [(uuid, one) for uuid, one in self._suspected.items() if one.sure]
        return tuple(
            alarm_of(uuid, one.name, one.hosts, [h for h in one.hosts if not _up(hosts, h)])
            for uuid, one in sorted(sure, key=lambda pair: (pair[1].name, pair[0]))
        )

    def _may_go_on(self, uuid: str, hosts: Mapping[str, Looked]) -> bool:
        one = self._suspected[uuid]
        return one.sure and not all(_up(hosts, host) for host in one.hosts)

    def _suspect(self, uuid: str, copies: tuple[Vm, ...], hosts: Mapping[str, Looked]) -> None:
        on = tuple(vm.host for vm in copies)
        known = self._suspected.get(uuid)
        if known is None or (not known.sure and set(known.hosts) != set(on)):
            looks = {host: hosts[host].looks for host in on}
            self._suspected[uuid] = _Suspicion(copies[0].name, on, looks)
            return
        known.hosts = on
        known.sure = known.sure or all(
            hosts[host].looks >= known.since[host] + _LOOKS for host in on
        )


def running_twice(vms: Collection[Vm], moving: Collection[str]) -> dict[str, tuple[Vm, ...]]:
    """By UUID, the copies that execute on several hosts while no migration of them goes on."""
    copies: dict[str, list[Vm]] = {}
    for vm in vms:
        copies.setdefault(vm.uuid, []).append(vm)
    found = {}
    for uuid, own in copies.items():
        executing = tuple(vm for vm in own if vm.state in _EXECUTING)
        migrating = any(vm.job is not None and "migration" in vm.job.kind for vm in own)
        if len(executing) > 1 and not migrating and uuid not in moving:
            found[uuid] = executing
    return found


def alarm_of(uuid: str, name: str, hosts: tuple[str, ...], silent: list[str]) -> Alarm:
    """The alarm's words."""
    where = " and on ".join(hosts)
    unheard = f" ({' and '.join(silent)} does not answer now)" if silent else ""
    return Alarm(
        name,
        uuid,
        hosts,
        f"{name} RUNS TWICE: on {where} at once{unheard}, each copy writing as if it were alone.",
        f"Decide which is right, end the other there: virsh destroy {uuid} (see virt-ferry"
        " doctor).",
    )


def _up(hosts: Mapping[str, Looked], name: str) -> bool:
    return name in hosts and hosts[name].up
