"""One migrate call: its order, flags, parameters, the equal `virsh` line, start and abort.

Flags and the virsh line come from one table, so they cannot say different things.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import libvirt

from backend import errors
from backend.errors import OPERATION_INVALID
from backend.hypervisor import domains
from backend.hypervisor.connection import Connection
from backend.hypervisor.stats import JobReading, job_sample
from backend.hypervisor.target_xml import Changes, at_target
from backend.hypervisor.tuning import mib_per_s

OUTWARD = "migration out"
"""libvirt's job at the source of a migration."""

_NO_CHANGES = Changes()
_STORED = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_RUNNING = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
"""Without SECURE the passwords of its displays would get lost on the way."""


@dataclass(frozen=True, slots=True)
class MigrationOrder:
    """What libvirt is asked to do with one VM."""

    uuid: str
    vm: str
    """Its name, for the virsh line."""
    target_uri: str
    """As the *source host* reaches the target: qemu+tls://kvm-b/system."""
    persistent: bool = True
    """False: a transient VM, which stays transient."""
    tls: bool = True
    unsafe: bool = False
    """Skip libvirt's own guess about shared storage: only when sharing was proven otherwise."""
    bandwidth_bytes_s: int | None = None
    """None: unlimited."""
    throttle_start_percent: int | None = None
    """Auto-converge's first throttle; None: without auto-converge."""
    throttle_step_percent: int = 10
    post_copy: bool = False
    """Permit it; it begins with `start_post_copy`."""
    resume: bool = False
    """Go on with a post-copy whose stream broke."""
    compression: bool = False
    """XBZRLE."""
    streams: int = 1
    """Above 1: multifd."""
    copy_disks: tuple[str, ...] = ()
    """Guest names (vda) of the disks to copy; empty: all storage is shared."""
    changes: Changes = _NO_CHANGES
    """What is different at the target; `with_documents` makes the two documents of it."""
    dest_xml: str | None = field(default=None, repr=False)
    """The running VM's XML with what changes on the way; None: as it is."""
    persist_xml: str | None = field(default=None, repr=False)
    """The stored definition with the same changes, or its next start there fails."""


@dataclass(frozen=True, slots=True)
class _Option:
    """One libvirt flag, virsh's word for it, and when it is used."""

    flag: int
    word: str
    used: Callable[[MigrationOrder], bool]


def _always(_order: MigrationOrder) -> bool:
    return True


_OPTIONS = (
    _Option(libvirt.VIR_MIGRATE_LIVE, "--live", _always),
    _Option(libvirt.VIR_MIGRATE_PEER2PEER, "--p2p", _always),
    _Option(libvirt.VIR_MIGRATE_TLS, "--tls", lambda order: order.tls),
    _Option(libvirt.VIR_MIGRATE_PERSIST_DEST, "--persistent", lambda order: order.persistent),
    _Option(libvirt.VIR_MIGRATE_UNDEFINE_SOURCE, "--undefinesource", lambda o: o.persistent),
    _Option(
        libvirt.VIR_MIGRATE_NON_SHARED_DISK,
        "--copy-storage-all",
        lambda order: bool(order.copy_disks),
    ),
    _Option(libvirt.VIR_MIGRATE_UNSAFE, "--unsafe", lambda order: order.unsafe),
    _Option(libvirt.VIR_MIGRATE_ABORT_ON_ERROR, "--abort-on-error", _always),
    _Option(
        libvirt.VIR_MIGRATE_AUTO_CONVERGE,
        "--auto-converge",
        lambda order: order.throttle_start_percent is not None,
    ),
    _Option(libvirt.VIR_MIGRATE_POSTCOPY, "--postcopy", lambda order: order.post_copy),
    _Option(libvirt.VIR_MIGRATE_POSTCOPY_RESUME, "--postcopy-resume", lambda o: o.resume),
    _Option(libvirt.VIR_MIGRATE_COMPRESSED, "--compressed", lambda order: order.compression),
    _Option(libvirt.VIR_MIGRATE_PARALLEL, "--parallel", lambda order: order.streams > 1),
    _Option(libvirt.VIR_MIGRATE_CHANGE_PROTECTION, "--change-protection", _always),
)


def flags_and_parameters(order: MigrationOrder) -> tuple[int, dict[str, Any]]:
    """The flags and typed parameters of `migrateToURI3`."""
    flags = 0
    for option in _OPTIONS:
        if option.used(order):
            flags |= option.flag
    parameters: dict[str, Any] = {}
    if order.bandwidth_bytes_s is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = mib_per_s(order.bandwidth_bytes_s)
    if order.bandwidth_bytes_s is not None and order.post_copy:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY] = mib_per_s(
            order.bandwidth_bytes_s
        )
    if order.throttle_start_percent is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL] = order.throttle_start_percent
        parameters[libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT] = order.throttle_step_percent
    if order.compression:
        parameters[libvirt.VIR_MIGRATE_PARAM_COMPRESSION] = "xbzrle"
    if order.streams > 1:
        parameters[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = order.streams
    if order.copy_disks:
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(order.copy_disks)
    if order.dest_xml is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_DEST_XML] = order.dest_xml
    if order.persist_xml is not None:
        parameters[libvirt.VIR_MIGRATE_PARAM_PERSIST_XML] = order.persist_xml
    return flags, parameters


def virsh_line(order: MigrationOrder, source_uri: str) -> str:
    """The equal command for a shell on this machine; XML documents appear as file names."""
    words = ["virsh", "-c", source_uri, "migrate"]
    words += [option.word for option in _OPTIONS if option.used(order)]
    if order.bandwidth_bytes_s is not None:
        words += ["--bandwidth", str(mib_per_s(order.bandwidth_bytes_s))]
    if order.bandwidth_bytes_s is not None and order.post_copy:
        words += ["--postcopy-bandwidth", str(mib_per_s(order.bandwidth_bytes_s))]
    if order.throttle_start_percent is not None:
        words += ["--auto-converge-initial", str(order.throttle_start_percent)]
        words += ["--auto-converge-increment", str(order.throttle_step_percent)]
    if order.compression:
        words += ["--comp-methods", "xbzrle"]
    if order.streams > 1:
        words += ["--parallel-connections", str(order.streams)]
    if order.copy_disks:
        words += ["--migrate-disks", ",".join(order.copy_disks)]
    if order.dest_xml is not None or order.changes:
        words += ["--xml", "target.xml"]
    if order.persist_xml is not None or (order.changes and order.persistent):
        words += ["--persistent-xml", "target-stored.xml"]
    return shlex.join([*words, virsh_name(order), order.target_uri])


def offline_line(order: MigrationOrder, source_uri: str) -> str:
    """The equal command for a VM that does not run and whose disks both hosts see."""
    words = ["virsh", "-c", source_uri, "migrate", "--offline", "--persistent", "--undefinesource"]
    return shlex.join([*words, "--p2p", virsh_name(order), order.target_uri])


def restart_line(order: MigrationOrder, source_uri: str, target_uri: str) -> str:
    """The equal commands for a VM that is shut down, moved so, and started; `target_uri`: the one
    by which the operator's machine reaches the target."""
    here, there = (shlex.join(["virsh", "-c", uri]) for uri in (source_uri, target_uri))
    name = shlex.quote(virsh_name(order))
    wait = f"until {here} domstate {name} | grep -q 'shut off'; do sleep 1; done"
    moved = offline_line(order, source_uri)
    return f"{here} shutdown {name} && {{ {wait}; }} && {moved} && {there} start {name}"


def virsh_name(order: MigrationOrder) -> str:
    """How virsh finds it."""
    return errors.virsh_name(order.vm, order.uuid)


def with_documents(conn: Connection, order: MigrationOrder) -> MigrationOrder:
    """The order with what the VM is to be at the target, from what it is right now; as it is where
    nothing changes. Raises BadDocument, BadInput.
    """
    if not order.changes:
        return order
    dom = conn.lookupByUUIDString(order.uuid)
    stored = dom.XMLDesc(_STORED) if order.persistent else None
    kept = replace(order.changes, detecting=frozenset())
    return replace(
        order,
        dest_xml=at_target(dom.XMLDesc(_RUNNING), order.changes),
        persist_xml=None if stored is None else at_target(stored, kept),
    )


def run(conn: Connection, order: MigrationOrder) -> None:
    """Migrate; returns when it has ended, minutes or hours later. A lane of its own, no limit.

    An error does not say where the VM runs: ask both hosts. After an abort it is code 78 ("canceled
    by client") or a broken pipe, so remember that it was asked for.
    """
    flags, parameters = flags_and_parameters(order)
    conn.lookupByUUIDString(order.uuid).migrateToURI3(order.target_uri, parameters, flags)


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A migration that runs on its source, whoever has begun it."""

    reading: JobReading

    @property
    def age_s(self) -> float:
        """For how long it has been running, by its host's clock."""
        return self.reading.elapsed_ms / 1000


def job_seen(conn: Connection, uuid: str) -> JobSeen | None:
    """The outgoing migration of a VM; None where none runs, or where it is being cancelled and so
    tells nothing of itself."""
    raw = domains.read_job(conn, uuid)
    if raw is None or (reading := job_sample(raw, 0.0)).operation != OUTWARD:
        return None
    return JobSeen(reading) if reading.elapsed_ms else None


def start_post_copy(conn: Connection, uuid: str) -> None:
    """Let the VM go on at the target, its memory after it. There is no way back.

    Permitted only when the order said so.
    """
    conn.lookupByUUIDString(uuid).migrateStartPostCopy(0)


def abort(conn: Connection, uuid: str) -> bool:
    """Ask the running job of a VM to stop; False when there was none.

    Returns as soon as it is asked: the migrate call's return is the end. Once in post-copy libvirt
    refuses.
    """
    try:
        conn.lookupByUUIDString(uuid).abortJob()
    except libvirt.libvirtError as error:
        message = error.get_error_message() or ""
        if error.get_error_code() == OPERATION_INVALID and "no job is active" in message:
            return False
        raise
    return True
