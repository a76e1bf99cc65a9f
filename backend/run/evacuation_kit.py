"""What every run of one fleet uses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from backend.model import Evacuation, Migration, MoveOptions, Now, Plan
from backend.run.evacuation_where import Where
from backend.run.journal_runs import RunRows


class Hands(Protocol):
    """What a run needs of the engine."""

    async def start(
        self, vms: tuple[str, ...], target: str | None, options: MoveOptions
    ) -> tuple[tuple[Plan, ...], tuple[Migration, ...]]:
        """All or nothing; no migrations where a plan is blocked. Raises FerryError."""
        ...

    async def abort(self, wanted: str) -> None:
        """Raises FerryError."""
        ...

    def going(self, uuid: str) -> Migration | None:
        """The VM's newest migration of this engine, running or ended."""
        ...


@dataclass(frozen=True, slots=True)
class Kit:
    """What every run of one fleet uses."""

    hands: Hands
    where: Where
    rows: RunRows
    publish: Callable[[Evacuation], None]
    now: Now
