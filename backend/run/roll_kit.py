"""What a roll uses, and the trouble that stops it."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from backend.errors import FerryError
from backend.model import (
    Evacuation,
    EvacuationControl,
    EvacuationWish,
    FleetSnapshot,
    Host,
    Now,
    Roll,
)
from backend.remote.shell import Shell


class TroubleError(FerryError):
    """Stops a roll."""

    def __init__(self, sentence: str, *, needs_you: bool = False) -> None:
        super().__init__(sentence)
        self.needs_you = needs_you


class Runs(Protocol):
    """Evacuations and returns of one fleet. All of it raises FerryError."""

    @property
    def known(self) -> tuple[Evacuation, ...]:
        """Open ones and the newest that ended."""
        ...

    async def plan(self, wish: EvacuationWish, *, fresh: bool) -> Evacuation:
        """What it would be; changes nothing."""
        ...

    async def start(self, wish: EvacuationWish) -> Evacuation:
        """Begin it, or say in `changed` why not."""
        ...

    async def control(self, wanted: str, control: EvacuationControl, uuid: str | None) -> None:
        """What an operator does to it."""
        ...

    async def set_maintenance(self, host: str, on: bool) -> None:
        """A host takes no VM from now on, or does again."""
        ...


class Watched(Protocol):
    """One host."""

    @property
    def host(self) -> Host:
        """As last seen, but for its maintenance."""
        ...

    @property
    def looks(self) -> int:
        """How often libvirt told its VMs."""
        ...

    @property
    def shell(self) -> Shell | None:
        """Runs commands there; None where nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class RollKit:
    """What every roll of one fleet uses."""

    runs: Runs
    fleet: Callable[[], FleetSnapshot]
    watched: Callable[[str], Watched]
    """Raises BadInput."""
    marked: Callable[[], Collection[str]]
    """Hosts in maintenance."""
    keep: Callable[[Roll], Awaitable[bool]]
    """In the journal; False where it would not outlive the engine."""
    publish: Callable[[Roll], None]
    now: Now
