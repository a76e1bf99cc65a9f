"""What the engine asks of a move that it carries out, whatever its kind."""

from typing import Protocol

from backend.model import Control, Migration, Sample


class Run(Protocol):
    """One move, from the operator's confirm to the verdict."""

    @property
    def state(self) -> Migration:
        """All but the samples."""
        ...

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of its memory; empty where none is copied."""
        ...

    async def run(self) -> None:
        """Do it. Never raises: what goes wrong is in the verdict."""
        ...

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        """Limit the rate from now on; None lifts the limit. Raises FerryError."""
        ...

    async def set_pause_limit(self, pause_ms: int) -> None:
        """Allow another pause from now on. Raises FerryError."""
        ...

    async def operate(self, control: Control) -> None:
        """A control without a value. Raises FerryError."""
        ...

    async def abort(self) -> None:
        """Ask for the VM, or its disks, to stay. Raises FerryError when it is too late."""
        ...
