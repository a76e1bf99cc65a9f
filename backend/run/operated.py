"""What an operator can do to a live migration, whoever has begun it."""

from backend.errors import BadInput
from backend.model import Control, Migration
from backend.run.controls import Controls
from backend.run.settle import reached
from backend.run.told import Told


class Operated:
    """The controls of a run; who derives from it makes `_told` and `_controls`."""

    _told: Told
    _controls: Controls

    @property
    def state(self) -> Migration:
        """All but the samples."""
        return self._told.state

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the rate from now on; None lifts the limit. Raises FerryError."""
        await self._operable()
        await self._controls.set_bandwidth(rate_bytes_s)

    async def set_pause_limit(self, pause_ms: int) -> None:
        """Allow another pause from now on. Raises FerryError."""
        await self._operable()
        await self._controls.set_pause_limit(pause_ms)

    async def operate(self, control: Control) -> None:
        """A control without a value. Raises FerryError."""
        await self._operable()
        await self._controls.operate(control)

    async def abort(self) -> None:
        """Ask the hosts to leave the VM at the source; asked again until they could be. Raises
        FerryError when it is too late or refused."""
        await self._operable()
        if self.state.post_copy:
            raise BadInput(
                f"{self.state.vm} was handed over to {self.state.target} already: there is no"
                " way back from post-copy.",
                f"`virt-ferry recover {self.state.id}` goes on with it."
                if self.state.recoverable
                else "It can be moved back once this has ended.",
            )
        await self._controls.abort()

    async def _operable(self) -> None:
        """It has not ended, and its source was reached: a new engine may not be so far yet."""
        await reached(self._controls.source)
        if not self.state.running:
            raise BadInput(f"Migration {self.state.id} of {self.state.vm} has ended.")
