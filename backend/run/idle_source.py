"""A VM that does not run is kept so at its host while its disks are copied."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from backend.errors import HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains
from backend.model import Migration
from backend.remote.hold import Hold, hold
from backend.remote.shell import LocalShell
from backend.remote.ssh import SshHost

CALL_LIMIT_S = 10.0


@contextlib.asynccontextmanager
async def locked(host: HostWatch, images: Sequence[str]) -> AsyncIterator[Hold | None]:
    """Nobody starts it there while this lasts; None where it has no image to lock, or only shared
    ones and no SSH to its host."""
    shell = host.shell
    if not isinstance(shell, SshHost | LocalShell) or not images:
        yield None
        return
    async with hold(shell, images) as lock:
        yield lock


def must_be_locked(lock: Hold | None, host: str) -> None:
    """It could have been started and have ended again meanwhile, and the copies be old. Raises
    HypervisorError."""
    if lock is not None and not lock.held:
        raise HypervisorError(
            f"The lock on its images on {host} was lost meanwhile, so that they"
            " are still what was copied is not certain.",
            "Move it again.",
        )


async def must_be_off(host: HostWatch, state: Migration) -> None:
    """Raises FerryError: it runs, or has no definition any more."""
    uuid = state.uuid
    seen = await host.call(
        lambda conn: domains.presence(conn, uuid), CALL_LIMIT_S, "say whether it runs"
    )
    if seen.active or not seen.persistent:
        raise HypervisorError(
            f"{state.vm} was started, or undefined, on {host.name} meanwhile.",
            "Shut it down and plan again.",
        )


def stop_if_asked(state: Migration) -> None:
    """Raises HypervisorError."""
    if state.abort_asked:
        raise HypervisorError("Aborted as asked.")
