"""Figures that stand still: CPU shares move on the screen only when they moved in earnest.

A share that trembles by a point each second says nothing, yet repaints a cell a second: over a
bad link that is most of what an idle console would send.
"""

from dataclasses import replace
from typing import TypeVar

from backend.model import FleetSnapshot, Host, Vm

Thing = TypeVar("Thing", Host, Vm)
VM_DEADBAND, HOST_DEADBAND = 2.5, 5.0
"""Percent points; what is shown is never further than this from what was measured."""


class Steady:
    """Remembers what is shown of each host and VM."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, ...], float] = {}

    def fleet(self, fleet: FleetSnapshot) -> FleetSnapshot:
        """The fleet with steadied CPU shares."""
        hosts = tuple(
            self._steadied(host, ("host", host.name), HOST_DEADBAND) for host in fleet.hosts
        )
        vms = tuple(self._steadied(vm, (vm.uuid, vm.host), VM_DEADBAND) for vm in fleet.vms)
        return replace(fleet, hosts=hosts, vms=vms)

    def _steadied(self, of: Thing, key: tuple[str, ...], deadband: float) -> Thing:
        measured = of.cpu_percent
        if measured is None:
            self._shown.pop(key, None)
            return of
        shown = self._shown.get(key)
        if shown is None or abs(measured - shown) > deadband:
            shown = self._shown[key] = measured
        return replace(of, cpu_percent=shown)
