"""QEMU's own estimate of what a VM writes, by page sampling. Blocking, for `Lane.call`.

QEMU hashes 512 random pages of each GiB, waits, and counts those that changed: *unique* pages
over the period, and only those whose content differs. Of its modes only this one is used:
the dirty bitmap was seen to kill QEMU 7.2, the dirty ring needs KVM.

What libvirt 9.0 and QEMU 7.2 were seen to do:

- the figure is in whole MiB/s, rounded *down*: over 8 s up to 8 MiB go missing
  (`fleet.readings` puts their mean back);
- the start time is in seconds of the host's own uptime, not of the epoch;
- periods are 1-60 s; a second start while one runs is refused (code 1), a VM that is shut off
  too (55), the test driver has none (3); a paused VM is measured like any other;
- a VM that is shut off has a record without keys, and so has one that a job holds (NOWAIT);
- a VM never measured has status 0 and a start time of 0; while it measures there is no figure;
- a start waits behind a migration of the VM until that ends or 30 s have passed (seen: 9.2 s):
  `start` looks for jobs first, and belongs on a connection where nobody else waits.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import libvirt

from backend.errors import NO_SUPPORT
from backend.hypervisor.connection import Connection

SHORTEST_S, LONGEST_S = 1, 60
_MIB = 2**20
_NEVER = (NO_SUPPORT, 67, 84)
"""No such call in the driver, or not with this QEMU (VIR_ERR_CONFIG_UNSUPPORTED, 84 the same
for operations): asking again is of no use."""


class Status(IntEnum):
    """VIR_DOMAIN_DIRTYRATE_*."""

    UNSTARTED = 0
    MEASURING = 1
    MEASURED = 2


class Refusal(IntEnum):
    """Why a calculation did not start."""

    NOT_NOW = 1
    """Shut off, held by a job, or measured by somebody else."""
    NEVER = 2
    """This driver or this QEMU cannot."""


@dataclass(frozen=True, slots=True)
class DirtyRate:
    """The newest calculation of one VM, whoever started it."""

    status: Status
    started_s: int = 0
    """Seconds of the host's uptime."""
    period_s: int = 0
    rate_bytes_s: int | None = None
    """Unique bytes / period, rounded down to whole MiB/s; None until it is measured."""


def start(conn: Connection, periods_s: Mapping[str, int]) -> dict[str, Refusal]:
    """Begin a calculation on each VM (UUID -> seconds, 1-60); returns those that did not begin.

    About three calls of 1 ms each per VM. Never begun where a job runs, of whomever.
    """
    return {
        uuid: refusal
        for uuid, period_s in periods_s.items()
        if (refusal := _start(conn, uuid, period_s)) is not None
    }


def _start(conn: Connection, uuid: str, period_s: int) -> Refusal | None:
    try:
        dom = conn.lookupByUUIDString(uuid)
        # An incoming migration's is refused (code 84): that is a job too.
        if dom.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
            return Refusal.NOT_NOW
    except libvirt.libvirtError:
        return Refusal.NOT_NOW
    try:
        dom.startDirtyRateCalc(period_s, libvirt.VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING)
    except libvirt.libvirtError as error:
        return Refusal.NEVER if error.get_error_code() in _NEVER else Refusal.NOT_NOW
    return None


def read(conn: Connection, uuids: Collection[str]) -> dict[str, DirtyRate]:
    """The newest calculation of each VM; without those that are gone, off, or held by a job.

    One call for all, and one more for each VM to find it.
    """
    doms = [dom for uuid in uuids if (dom := _find(conn, uuid)) is not None]
    if not doms:
        return {}
    try:
        records = conn.domainListGetStats(
            doms,
            libvirt.VIR_DOMAIN_STATS_DIRTYRATE,
            libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT,
        )
    except libvirt.libvirtError:
        return {}
    found = ((dom.UUIDString(), dirty_rate(dict(raw))) for dom, raw in records)
    return {uuid: rate for uuid, rate in found if rate is not None}


def _find(conn: Connection, uuid: str) -> Any:
    try:
        return conn.lookupByUUIDString(uuid)
    except libvirt.libvirtError:
        return None


def dirty_rate(raw: Mapping[str, Any]) -> DirtyRate | None:
    """One VM's record of the group `dirtyrate`; None where it tells nothing."""
    status, mode = raw.get("dirtyrate.calc_status"), raw.get("dirtyrate.calc_mode")
    if status not in tuple(Status) or mode not in (None, "page-sampling"):
        return None
    mib_s = _count(raw, "dirtyrate.megabytes_per_second")
    measured = status == Status.MEASURED and mib_s is not None
    return DirtyRate(
        Status(status) if measured or status != Status.MEASURED else Status.UNSTARTED,
        _count(raw, "dirtyrate.calc_start_time") or 0,
        _count(raw, "dirtyrate.calc_period") or 0,
        mib_s * _MIB if measured and mib_s is not None else None,
    )


def _count(raw: Mapping[str, Any], key: str) -> int | None:
    """A count that is one: QEMU says -1 for a calculation that failed."""
    value = raw.get(key)
    return value if isinstance(value, int) and 0 <= value < 2**64 else None
