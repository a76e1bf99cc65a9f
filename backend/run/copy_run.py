"""What moves of a VM that does not run have in common: image files are copied by the engine.

How such a move goes, step by step, is its subclass's `_move`; this carries it out as a task that
an abort can end, and has its controls.
"""

import asyncio
import logging
from abc import ABC, abstractmethod

from backend.errors import BadInput, FerryError
from backend.model import Control, Migration, Phase, Sample
from backend.run.cold_disks import ColdDisks
from backend.run.disk_samples import DiskSamples
from backend.run.migration import Undertaking
from backend.run.open_moves import OpenMoves
from backend.run.publish import Publisher
from backend.run.told import Told

log = logging.getLogger(__name__)


class CopyRun(ABC):
    """Runs one; all that is known of it is in `state`."""

    _disks: ColdDisks

    def __init__(self, begun: Undertaking, publisher: Publisher, open_moves: OpenMoves) -> None:
        self._begun = begun
        self._told = Told(
            begun.state,
            publisher,
            begun.confirmed,
            begun.now,
            _controls,
            open_moves.keep_running,
        )
        self._samples = DiskSamples(self._told, publisher)
        self._work: asyncio.Task[None] | None = None

    @property
    def state(self) -> Migration:
        """All but the samples."""
        return self._told.state

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of its disks: no memory is copied."""
        return tuple(self._samples.taken)

    @abstractmethod
    async def _move(self) -> None:
        """The steps. Raises FerryError."""

    @abstractmethod
    def _too_late(self) -> BadInput | None:
        """Why an abort cannot be any more; None while it can."""

    def _stop(self) -> None:
        """An abort was asked for, and is not too late."""
        if self._work is not None:
            self._work.cancel()

    async def _worked(self) -> str:
        """Take the steps, all or up to an abort or an error: what went wrong, or nothing."""
        self._told.update(called_at=self._told.now())
        self._work = asyncio.create_task(self._move())
        try:
            await asyncio.wait({self._work})
        finally:
            self._work.cancel()
        error = None if self._work.cancelled() else self._work.exception()
        if isinstance(error, FerryError):
            self._told.note("note", error.sentence)
            return str(error)
        if error is not None:
            log.error("move %s", self.state.id, exc_info=error)
            return f"The engine met a fault of its own: {error!r}."
        return ""

    # -- controls ------------------------------------------------------------------------------

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the copying from now on; None lifts the limit. Raises FerryError."""
        self._must_run()
        await self._disks.set_bandwidth(rate_bytes_s)
        self._told.update(bandwidth_bytes_s=rate_bytes_s)
        said = f"limited to {rate_bytes_s} bytes/s" if rate_bytes_s else "limit lifted"
        self._told.note("bandwidth", said, by="operator")

    async def set_pause_limit(self, pause_ms: int) -> None:
        """There is none. Raises BadInput."""
        raise BadInput("A VM that does not run has no pause to limit.")

    async def operate(self, control: Control) -> None:
        """There is nothing to steer. Raises BadInput."""
        raise BadInput(f"{control.value} cannot be done to a VM that does not run.")

    async def abort(self) -> None:
        """Stop, and undo it. Raises BadInput once that is too late."""
        self._must_run()
        late = self._too_late()
        if late is not None:
            raise late
        if self.state.abort_asked:
            return
        self._told.update(abort_asked=True)
        self._told.note("abort", "abort asked for", by="operator")
        self._stop()

    def _must_run(self) -> None:
        if not self.state.running:
            raise BadInput(f"Move {self.state.id} of {self.state.vm} has ended.")


def _controls(state: Migration) -> tuple[Control, ...]:
    early = state.running and state.phase in (Phase.PREPARE, Phase.DISK)
    return (Control.BANDWIDTH, Control.ABORT) if early and not state.abort_asked else ()
