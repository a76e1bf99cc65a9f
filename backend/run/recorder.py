"""The engine's news on their way to the clients, with the journal listening."""

from collections.abc import Callable

from backend.model import Advising, Decision, Evacuation, FleetSnapshot, Migration, Roll, Sample
from backend.run.journal import Journal
from backend.run.publish import Publisher


class Recorder:
    """A `Publisher` that tells another one, and keeps migrations in the journal.

    `heard` is told of migrations last.
    """

    def __init__(
        self, onward: Publisher, journal: Journal, heard: Callable[[Migration], None]
    ) -> None:
        self._onward = onward
        self._journal = journal
        self._heard = heard

    def fleet(self, fleet: FleetSnapshot) -> None:
        """The fleet as it is from now on."""
        self._onward.fleet(fleet)

    def migration(self, migration: Migration) -> None:
        """A migration began, went on or ended."""
        self._journal.migration(migration)
        self._onward.migration(migration)
        self._heard(migration)

    def sample(self, migration_id: str, sample: Sample) -> None:
        """One more sample of a running migration."""
        self._journal.sample(migration_id, sample)
        self._onward.sample(migration_id, sample)

    def decision(self, migration_id: str, decision: Decision) -> None:
        """Something was done to, or noticed about, a running migration."""
        self._onward.decision(migration_id, decision)

    def evacuation(self, run: Evacuation) -> None:
        """A run began, went on or ended."""
        self._onward.evacuation(run)

    def roll(self, roll: Roll) -> None:
        """A roll began, went on, stopped or ended."""
        self._onward.roll(roll)

    def advising(self, advising: Advising) -> None:
        """What the rules say from now on."""
        self._onward.advising(advising)

    def trouble(self, sentence: str) -> None:
        """Something ails the engine itself, and migrations go on; empty: no longer."""
        self._onward.trouble(sentence)

    async def kept(self) -> bool:
        """All that was told is in the journal; False when it cannot be."""
        return await self._journal.written()
