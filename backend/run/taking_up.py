"""What an engine before this one has left open, as runs of this engine: each to its verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from backend.fleet.inventory import Inventory
from backend.model import Migration, Mode, Sample, Vm
from backend.plan.modes import MOVED_WHILE_OFF
from backend.run import cold_move, pool_moves
from backend.run.attached import AttachedRun, attached_undertaking
from backend.run.boot_clock import by_this_clock, read_clocks
from backend.run.foreign import ForeignRun
from backend.run.onlooker import Onlooker
from backend.run.open_moves import OpenMoves
from backend.run.outage import OutageProbe
from backend.run.preparing import Ledger, resumed
from backend.run.publish import Publisher
from backend.run.runs import Run


class Left(Run, Protocol):
    """A run that can go on with what was left."""

    async def settle_open(self) -> None:
        """To its verdict. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class TakingUp:
    """With what one engine goes on with the moves of those before it."""

    inventory: Inventory
    publisher: Publisher
    open_moves: OpenMoves
    ledger: Ledger
    elsewhere: Callable[[str, str], Callable[[str], str | None]]
    """By source and target: finds a third host on which a VM runs."""

    def run_of(self, state: Migration, samples: tuple[Sample, ...] = ()) -> Left | None:
        """What goes on with it; None for one of hosts that are not (any more) of this fleet, which
        that fleet's engine will see to."""
        hosts, now = self.inventory.hosts, self.inventory.now
        state = by_this_clock(state, read_clocks(now()))
        if state.source not in hosts:
            return None
        if state.foreign:
            return ForeignRun(state, hosts, self.publisher, now, samples)
        if state.target not in hosts:
            return None
        if state.mode is Mode.STORAGE:
            source = hosts[state.source]
            return pool_moves.taken_up(
                state, source, self.publisher, self.open_moves, self.ledger, now
            )
        if state.mode in MOVED_WHILE_OFF:
            return self._cold(state)
        return self._live(state, samples)

    def _cold(self, state: Migration) -> Left:
        source, target = map(self.inventory.host, (state.source, state.target))
        return cold_move.taken_up(
            state,
            source,
            target,
            self.publisher,
            self.open_moves,
            self.ledger,
            self.inventory.now,
        )

    def _live(self, state: Migration, samples: tuple[Sample, ...]) -> Left:
        source, target = map(self.inventory.host, (state.source, state.target))
        hosts = self.inventory.hosts

        def look_on(vm: Vm) -> Onlooker:
            return Onlooker(OutageProbe(hosts, source, target, vm, state.address), vm)

        ready = resumed(self.ledger, state)
        begun = attached_undertaking(state, target, ready, self.inventory.now)
        elsewhere = self.elsewhere(state.source, state.target)
        return AttachedRun(begun, samples, source, target, look_on, self.publisher, elsewhere)
