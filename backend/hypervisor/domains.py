"""What libvirt tells and takes about VMs: blocking functions to be run by `Lane.call`.

Every function takes the connection first and returns plain values, never a virDomain: that
would keep the connection alive off its lane. VMs are named by UUID.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import libvirt

from backend.errors import NO_DOMAIN, NO_SUPPORT, OPERATION_INVALID, HypervisorError
from backend.hypervisor.connection import Connection
from backend.hypervisor.domain_xml import parse_domain
from backend.hypervisor.stats import (
    JOB_NONE,
    JOB_OPERATIONS,
    job_progress,
    state_reason,
    vm_state,
)
from backend.model import Job, VmState

_STATS = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
)
_INVALID_ARG = 8
_NO_JOB = (NO_DOMAIN, OPERATION_INVALID, NO_SUPPORT)
"""What libvirt answers where there is no job to tell of: VM gone, not running, no such driver."""


@dataclass(frozen=True, slots=True)
class RawStats:
    """One VM's record of `getAllDomainStats`; `stats.vm_statistics` reads `raw`."""

    uuid: str
    name: str
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RawDomain:
    """One VM's definition as libvirt gives it; `domain_xml.parse_domain` reads the XML."""

    uuid: str
    name: str
    xml: str
    """Of the running VM, or its definition while shut off."""
    inactive_xml: str | None
    """The stored definition of a running persistent VM: what its next start would use."""
    persistent: bool
    autostart: bool
    active: bool
    has_managed_save: bool
    snapshots: int
    checkpoints: int


@dataclass(frozen=True, slots=True)
class Presence:
    """What one host says of one VM: the stuff of verdicts."""

    defined: bool
    """The host knows it at all, running or not."""
    active: bool = False
    """A QEMU process holds it here (also an incoming migration's)."""
    state: VmState = VmState.UNKNOWN
    state_reason: str = ""
    """`migrated`, `post-copy failed`, ...; empty when libvirt gives none."""
    persistent: bool = False
    autostart: bool = False
    job_kind: str | None = None
    has_managed_save: bool = False


ABSENT = Presence(defined=False)
"""The host does not know the VM."""


def read_statistics(conn: Connection, blocks: bool = False) -> list[RawStats]:
    """Statistics of every VM, shut off ones too.

    With NOWAIT: a VM that a job holds is left with fewer keys instead of holding up the call (it
    was 3.8 s without). `blocks` adds the disks' sizes, which costs a question to every QEMU.
    """
    groups = _STATS | (libvirt.VIR_DOMAIN_STATS_BLOCK if blocks else 0)
    records = conn.getAllDomainStats(groups, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return [RawStats(dom.UUIDString(), dom.name(), dict(raw)) for dom, raw in records]


def read_states(conn: Connection) -> list[RawStats]:
    """The same of every VM, but only what libvirt tells without asking a QEMU."""
    records = conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
    return [RawStats(dom.UUIDString(), dom.name(), dict(raw)) for dom, raw in records]


def read_configs(conn: Connection, uuids: Collection[str] | None = None) -> list[RawDomain]:
    """The definitions of all VMs, or of those in `uuids`.

    One or two remote calls each: over SSH about 4 ms, so ask for a few dozen at a time. VMs that
    vanish meanwhile are left out.
    """
    traits = _read_traits(conn)
    found = []
    for dom in conn.listAllDomains(0):
        if uuids is None or dom.UUIDString() in uuids:
            try:
                found.append(_read_domain(dom, traits))
            except libvirt.libvirtError as error:
                if error.get_error_code() != NO_DOMAIN:
                    raise
    return found


def read_config(conn: Connection, uuid: str) -> RawDomain:
    """One VM's definition.

    Raises:
        VmGone: The host does not know it.
    """
    dom = conn.lookupByUUIDString(uuid)
    return _read_domain(dom, _read_traits(conn))


@dataclass(frozen=True, slots=True)
class _Traits:
    """UUIDs by what holds for them: six remote calls for all VMs, not five for each."""

    active: frozenset[str]
    persistent: frozenset[str]
    autostart: frozenset[str]
    managed_save: frozenset[str]
    snapshot: frozenset[str]
    checkpoint: frozenset[str]


def _read_traits(conn: Connection) -> _Traits:
    def having(flag: int) -> frozenset[str]:
        try:
            return frozenset(dom.UUIDString() for dom in conn.listAllDomains(flag))
        except libvirt.libvirtError as error:
            # Drivers without checkpoints or saved images refuse the filter: none has any.
            if error.get_error_code() != _INVALID_ARG:
                raise
            return frozenset()

    return _Traits(
        active=having(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE),
        persistent=having(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT),
        autostart=having(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART),
        managed_save=having(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE),
        snapshot=having(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT),
        checkpoint=having(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT),
    )


def _read_domain(dom: Any, traits: _Traits) -> RawDomain:
    uuid = dom.UUIDString()
    active, persistent = uuid in traits.active, uuid in traits.persistent
    inactive = libvirt.VIR_DOMAIN_XML_INACTIVE
    return RawDomain(
        uuid=uuid,
        name=dom.name(),
        xml=dom.XMLDesc(0),
        inactive_xml=dom.XMLDesc(inactive) if active and persistent else None,
        persistent=persistent,
        autostart=uuid in traits.autostart,
        active=active,
        has_managed_save=uuid in traits.managed_save,
        snapshots=dom.snapshotNum(0) if uuid in traits.snapshot else 0,
        checkpoints=len(dom.listAllCheckpoints(0)) if uuid in traits.checkpoint else 0,
    )


def read_job(conn: Connection, uuid: str) -> dict[str, Any] | None:
    """Raw statistics of the running job; None when none runs, or the VM is gone.

    While a migrate call still runs, None only means: not begun yet, or just ended. libvirt then
    raises "domain is not running": that is the end, not an error.
    """
    try:
        raw = dict(conn.lookupByUUIDString(uuid).jobStats(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_JOB:
            return None
        raise
    return raw if raw.get("type", JOB_NONE) != JOB_NONE else None


def read_completed(conn: Connection, uuid: str) -> dict[str, Any] | None:
    """Raw statistics of the last job that ended, left in place for the next asker; or None.

    Whole only at the *target* of a migration. QEMU's driver keeps them until another job begins.
    """
    flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
    try:
        raw = dict(conn.lookupByUUIDString(uuid).jobStats(flags))
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_JOB:
            return None
        raise
    return raw if raw.get("type", JOB_NONE) != JOB_NONE else None


def read_active_job(conn: Connection, uuid: str) -> Job | None:
    """The job that runs on a VM, whoever began it; None for none (or no such VM).

    Cheap while no job runs: the daemon answers without asking QEMU.
    """
    try:
        raw = conn.lookupByUUIDString(uuid).jobStats(0)
    except libvirt.libvirtError as error:
        # libvirt refuses statistics of an incoming migration, in these words (and, in 9.0, as
        # VIR_ERR_OPERATION_UNSUPPORTED).
        if "only on the source host" in (error.get_error_message() or ""):
            return Job("migration in")
        if error.get_error_code() not in _NO_JOB:
            raise
        return None
    if raw.get("type", JOB_NONE) == JOB_NONE:
        return None
    percent, left = job_progress(raw)
    return Job(JOB_OPERATIONS.get(raw.get("operation", 0), "job"), percent, left)


def read_active_jobs(
    conn: Connection, uuids: Collection[str], asked: list[str]
) -> dict[str, Job | None]:
    """The same of several; each is put into `asked` before: whoever gives the call up sees at
    which VM it got stuck."""
    found = {}
    for uuid in uuids:
        asked.append(uuid)
        found[uuid] = read_active_job(conn, uuid)
    return found


def job_info_kind(conn: Connection, uuid: str) -> str | None:
    """`migration out`, `migration in`, `save`, ...; None when no job runs."""
    job = read_active_job(conn, uuid)
    return job.kind if job else None


def presence(conn: Connection, uuid: str) -> Presence:
    """What this host says of the VM; `ABSENT` if it does not know it."""
    try:
        dom = conn.lookupByUUIDString(uuid)
        number, reason = dom.state(0)[:2]
        state = vm_state(number)
        persistent = bool(dom.isPersistent())
        return Presence(
            defined=True,
            active=bool(dom.isActive()),
            state=state,
            state_reason=state_reason(state, reason),
            persistent=persistent,
            autostart=bool(dom.autostart()) if persistent else False,
            job_kind=job_info_kind(conn, uuid),
            has_managed_save=bool(dom.hasManagedSaveImage(0)) if persistent else False,
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() == NO_DOMAIN:
            return ABSENT
        raise


def suspend(conn: Connection, uuid: str) -> None:
    """Stop a VM's CPUs; libvirt takes it during a migration too, and resumes it at the target."""
    conn.lookupByUUIDString(uuid).suspend()


def resume(conn: Connection, uuid: str) -> None:
    """Let a suspended VM go on; one that runs already is no error."""
    try:
        conn.lookupByUUIDString(uuid).resume()
    except libvirt.libvirtError as error:
        if error.get_error_code() != OPERATION_INVALID:
            raise


def set_autostart(conn: Connection, uuid: str, on: bool) -> None:
    """Start the VM with its host, or not. Transient VMs have no autostart: libvirt refuses."""
    conn.lookupByUUIDString(uuid).setAutostart(int(on))


def undefine(conn: Connection, uuid: str) -> None:
    """Remove the definition of a VM that is shut off here, keeping its NVRAM and TPM files.

    They may lie on shared storage, and then belong to the VM where it runs now. Refuses a VM that
    runs (libvirt would make it transient) or has a saved image or snapshots (libvirt refuses), and
    one with a TPM under libvirt before 8.9, which cannot keep its state.
    """
    dom = conn.lookupByUUIDString(uuid)
    if dom.isActive():
        raise HypervisorError(
            f"{dom.name()} runs on that host: its definition is not removed.",
            "Shut it off first if it is the wrong copy.",
            OPERATION_INVALID,
        )
    config = parse_domain(dom.XMLDesc(0))
    flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM if config.nvram else 0
    flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM if config.tpm else 0
    dom.undefineFlags(flags)


def undefine_migrated(conn: Connection, uuid: str) -> None:
    """`undefine`, but only of what libvirt itself calls shut off because it has migrated."""
    number, reason = conn.lookupByUUIDString(uuid).state(0)[:2]
    state = vm_state(number)
    if state is not VmState.SHUT_OFF or state_reason(state, reason) != "migrated":
        raise HypervisorError(
            f"It is {state.value} ({state_reason(state, reason)}), not shut off by a migration:"
            " its definition is not removed.",
            "Look at both hosts.",
            OPERATION_INVALID,
        )
    undefine(conn, uuid)


def end_half(conn: Connection, uuid: str) -> None:
    """Destroy a VM and remove its definition, but only of one that stands still in post-copy: it
    is half of a VM, and cannot run."""
    dom = conn.lookupByUUIDString(uuid)
    number, reason = dom.state(0)[:2]
    state = vm_state(number)
    said = state_reason(state, reason)
    if state is not VmState.PAUSED or said not in ("post-copy", "post-copy failed"):
        raise HypervisorError(
            f"It is {state.value} ({said}), not half of a VM that stands still: it is left alone.",
            "Look at both hosts.",
            OPERATION_INVALID,
        )
    dom.destroy()
    if dom.isPersistent():
        undefine(conn, uuid)


def persist(conn: Connection, uuid: str) -> None:
    """Store the definition of a VM that runs here without one."""
    dom = conn.lookupByUUIDString(uuid)
    if dom.isActive() and not dom.isPersistent():
        conn.defineXML(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))


def find_named(conn: Connection, name: str) -> str | None:
    """The UUID of the VM of that name; None when the host has none."""
    try:
        return str(conn.lookupByName(name).UUIDString())
    except libvirt.libvirtError as error:
        if error.get_error_code() == NO_DOMAIN:
            return None
        raise
