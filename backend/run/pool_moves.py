"""Moves between the pools of one host: of a VM that runs, and of one that is shut off."""

from backend.fleet.host import HostWatch
from backend.hypervisor.migrate import MigrationOrder
from backend.model import Migration, Now, Tuning
from backend.plan.running import NOTHING
from backend.run.idle_disks import IdleDisks
from backend.run.migration import Undertaking
from backend.run.open_moves import OpenMoves
from backend.run.preparing import Ledger, resumed
from backend.run.publish import Publisher
from backend.run.storage_move import StorageRun
from backend.run.told import as_monotonic
from backend.run.verdict import Before

PoolMove = StorageRun | IdleDisks


def begun_so(
    begun: Undertaking, host: HostWatch, publisher: Publisher, open_moves: OpenMoves
) -> PoolMove:
    """The run that befits the VM, as it was planned."""
    kind = IdleDisks if begun.state.idle else StorageRun
    return kind(begun, host, publisher, open_moves)


def taken_up(
    state: Migration,
    host: HostWatch,
    publisher: Publisher,
    open_moves: OpenMoves,
    ledger: Ledger,
    now: Now,
) -> PoolMove:
    """A move that an engine which died has left as `state`; `settle_open` brings it to its end."""
    order = MigrationOrder(uuid=state.uuid, vm=state.vm, target_uri="")
    before = Before(state.vm, state.source, state.target, persistent=True, uuid=state.uuid)
    confirmed = as_monotonic(state.started, now())
    ready = resumed(ledger, state)
    begun = Undertaking(state, order, before, Tuning(0), NOTHING, confirmed, now, ready)
    return begun_so(begun, host, publisher, open_moves)
