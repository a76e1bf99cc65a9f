"""Whether one host reaches another now, as a migration between them would."""

import contextlib

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.remote.probes import ReachFault, probe_reach

REACH_LIMIT_S = 5.0


async def reaches(source: HostWatch, target: HostWatch) -> bool:
    """Asked of the source; where that cannot be tried only the call itself can tell, so True."""
    shell = source.shell
    if shell is None:
        return True
    with contextlib.suppress(FerryError):
        found = await probe_reach(shell, target.migrate_uri, REACH_LIMIT_S)
        return found.ok or found.fault is ReachFault.UNTRIED
    return False
