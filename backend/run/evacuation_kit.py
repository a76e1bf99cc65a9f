"""What every run of one fleet uses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from backend.model import Evacuation, Migration, MoveOptions, Now, Plan
from backend.run.evacuation_where import Where
from backend.run.journal_runs import RunRows
from backend.run.link_wait import LinkWait
from backend.run.together import Planned


class Hands(Protocol):
    """What a run needs of the engine."""

    async def start(
        self,
        vms: tuple[str, ...],
        target: str | None,
        options: MoveOptions,
        ready: tuple[Planned, ...] = (),
        link: LinkWait | None = None,
    ) -> tuple[tuple[Plan, ...], tuple[Migration, ...]]:
        """All or nothing; no migrations where a plan is blocked. `ready`: of these VMs, just made;
        none: they are planned now. `link`: waited for before the first byte. Raises FerryError."""
        ...

    async def abort(self, wanted: str) -> None:
        """Raises FerryError."""
        ...

    def going(self, uuid: str) -> Migration | None:
        """The VM's newest migration of this engine, running or ended."""
        ...


class Plans(Protocol):
    """Plans of VMs to one target."""

    async def __call__(
        self,
        vms: tuple[str, ...],
        target: str | None,
        options: MoveOptions,
        *,
        sharing: int | None = None,
    ) -> tuple[Planned, ...]:
        """Changes nothing. `sharing`: how many moves will share its link; None: as many as do now.
        Raises FerryError."""
        ...


@dataclass(frozen=True, slots=True)
class Kit:
    """What every run of one fleet uses."""

    hands: Hands
    plan: Plans
    where: Where
    rows: RunRows
    publish: Callable[[Evacuation], None]
    now: Now
