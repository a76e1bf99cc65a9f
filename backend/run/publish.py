"""Where the engine's news goes; whoever carries it to the clients sits in `service`."""

from typing import Protocol

from backend.model import Advising, Decision, Evacuation, FleetSnapshot, Migration, Roll, Sample


class Publisher(Protocol):
    """Told of every change, on the event loop; must not block."""

    def fleet(self, fleet: FleetSnapshot) -> None:
        """The fleet as it is from now on."""

    def migration(self, migration: Migration) -> None:
        """A migration began, went on or ended."""

    def sample(self, migration_id: str, sample: Sample) -> None:
        """One more sample of a running migration."""

    def decision(self, migration_id: str, decision: Decision) -> None:
        """Something was done to, or noticed about, a running migration."""

    def evacuation(self, run: Evacuation) -> None:
        """A run began, went on or ended."""

    def roll(self, roll: Roll) -> None:
        """A roll began, went on, stopped or ended."""

    def advising(self, advising: Advising) -> None:
        """What the rules say from now on."""

    def trouble(self, sentence: str) -> None:
        """Something ails the engine itself, and migrations go on; empty: no longer."""

    async def kept(self) -> bool:
        """Wait, within bounds, until all that was told of migrations would outlive the engine;
        False when it would not. What must not be forgotten is awaited before it is done."""
        ...
