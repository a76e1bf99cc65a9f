"""Carries what an engine publishes to the connections that watch it: encoded once for all."""

from collections.abc import Callable
from dataclasses import replace

from backend.model import Advising, Decision, Evacuation, FleetSnapshot, Migration, Roll, Sample
from backend.service.changes import difference, whole
from backend.service.protocol import (
    AdviceChanged,
    Change,
    DecisionMade,
    EvacuationChanged,
    MigrationChanged,
    Publish,
    RollChanged,
    SampleArrived,
    TroubleSaid,
    encode,
)

Subscriber = Callable[[Change, bytes], None]
"""Gets each change, and the line that says it."""


class Hub:
    """The `Publisher` of one engine."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()
        self._fleet = FleetSnapshot()
        self._trouble = ""
        self._advising = Advising()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` of every change from now on; first, the whole fleet as published."""
        if subscriber in self._subscribers:
            return
        now = (whole(self._fleet), TroubleSaid(self._trouble), AdviceChanged(self._advising))
        for change in now:
            subscriber(change, encode(Publish(change)))
        self._subscribers.add(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Tell it no more."""
        self._subscribers.discard(subscriber)

    def fleet(self, fleet: FleetSnapshot) -> None:
        """The fleet as it is from now on."""
        change = difference(self._fleet, fleet)
        self._fleet = fleet
        if change is not None:
            self._send(change)

    def migration(self, migration: Migration) -> None:
        """A migration began, went on or ended."""
        self._send(MigrationChanged(migration))

    def sample(self, migration_id: str, sample: Sample) -> None:
        """One more sample of a running migration."""
        self._send(SampleArrived(migration_id, sample))

    def decision(self, migration_id: str, decision: Decision) -> None:
        """Something was done to, or noticed about, a running migration."""
        self._send(DecisionMade(migration_id, decision))

    def evacuation(self, run: Evacuation) -> None:
        """A run began, went on or ended."""
        self._send(EvacuationChanged(run))

    def roll(self, roll: Roll) -> None:
        """A roll began, went on, stopped or ended."""
        self._send(RollChanged(roll))

    def advising(self, advising: Advising) -> None:
        """What the rules say from now on; told where it is not what was said before."""
        before, self._advising = self._advising, advising
        if replace(before, round=0, at=0.0) != replace(advising, round=0, at=0.0):
            self._send(AdviceChanged(advising))

    def trouble(self, sentence: str) -> None:
        """Something ails the engine itself, and migrations go on; empty: no longer."""
        self._trouble = sentence
        self._send(TroubleSaid(sentence))

    async def kept(self) -> bool:
        """Clients keep nothing."""
        return True

    def _send(self, change: Change) -> None:
        if not self._subscribers:
            return
        line = encode(Publish(change))
        for subscriber in tuple(self._subscribers):
            subscriber(change, line)
