"""Hosts in maintenance: they take no VM until somebody says that it is over.

Kept in the journal, so the next engine knows them too; every console sees them in the fleet.
"""

from backend.fleet.inventory import Inventory
from backend.run.journal_runs import RunRows


class Maintenance:
    """Of one fleet. `load` it once; until then plans wait."""

    def __init__(self, rows: RunRows, inventory: Inventory) -> None:
        self._rows = rows
        self._inventory = inventory

    async def load(self) -> None:
        """What an engine before this one was told."""
        self._inventory.maintenance.update(await self._rows.maintenance())
        self._inventory.maintenance_known.set()
        self._inventory.touch(True)

    def since(self, host: str) -> float | None:
        """Epoch seconds; None: it is not in maintenance."""
        return self._inventory.maintenance.get(host)

    async def set(self, host: str, on: bool) -> bool:
        """Begin or end it; False when it would not outlive this engine. Raises BadInput."""
        self._inventory.host(host)
        await self._inventory.maintenance_known.wait()
        if on:
            self._inventory.maintenance.setdefault(host, self._inventory.now())
        else:
            self._inventory.maintenance.pop(host, None)
        self._inventory.touch(True)
        return await self._rows.set_maintenance(host, self.since(host))
