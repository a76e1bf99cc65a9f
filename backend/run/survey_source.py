"""What the source tells of the VM: one round of calls, and the definition made of it."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace

from backend.errors import FerryError
from backend.hypervisor import cpu, domains, volumes
from backend.hypervisor.connection import Connection
from backend.hypervisor.domain_xml import DomainConfig, parse_domain
from backend.hypervisor.networks import NetworkDefinition, read_definitions
from backend.hypervisor.volumes import DiskSize, Pool
from backend.model import Disk, Job, Vm, VmState
from backend.plan.facts import Definition, Versions
from backend.run.survey_asking import Asking

DEFAULT_HUGEPAGE_BYTES = 2 * 2**20


@dataclass(frozen=True, slots=True)
class AtSource:
    """What one round of calls on the source tells of the VM."""

    raw: domains.RawDomain
    presence: domains.Presence
    job: Job | None
    cpu_xml: str | None
    """Of the running VM as it would be sent; of the definition while shut off."""
    disk_errors: int
    volumes: dict[str, str]
    """`pool/volume` -> path."""
    sizes: dict[str, DiskSize]
    """Of a running VM's disks, by target name."""
    stored: dict[str, str]
    """What the stored definition of a running VM calls the images, by target name."""
    pools: dict[str, str]
    """The pool a disk's image lies in, by target name."""
    own_pools: tuple[Pool, ...]
    """All of the host's."""
    networks: dict[str, NetworkDefinition]
    """Those the VM is on, and those it is to be on, by name."""
    versions: Versions


async def ask_source(asking: Asking) -> AtSource | None:
    vm, renames = asking.vm, {one.target for one in asking.options.networks}
    return await asking.call(
        "definition",
        asking.source,
        lambda conn: _read_source(conn, vm.uuid, renames, answers=not vm.trouble),
        "describe the VM",
    )


def parsed(asking: Asking, at_source: AtSource | None) -> DomainConfig | None:
    if at_source is None:
        return None
    try:
        return parse_domain(at_source.raw.xml)
    except FerryError as error:
        asking.unknown["definition"] = error.sentence
        return None


def _read_source(conn: Connection, uuid: str, renames: set[str], answers: bool) -> AtSource:
    raw, presence = domains.read_config(conn, uuid), domains.presence(conn, uuid)
    job = domains.read_active_job(conn, uuid)
    config = parse_domain(raw.xml)
    cpu_xml = config.cpu_xml
    if presence.active and job is None:
        cpu_xml = parse_domain(cpu.migratable_xml(conn, uuid)).cpu_xml
    idle = answers and job is None and presence.state in (VmState.RUNNING, VmState.PAUSED)
    paths = _volume_paths(conn, config)
    images = dict(_images(config, paths))
    on = {nic.source for nic in config.nics if nic.kind == "network"}
    return AtSource(
        raw=raw,
        presence=presence,
        job=job,
        cpu_xml=cpu_xml,
        # Asking a QEMU that a job holds would wait for the job; one that hangs, for ever.
        disk_errors=len(conn.lookupByUUIDString(uuid).diskErrors(0)) if idle else 0,
        volumes=paths,
        sizes=volumes.disk_sizes(conn, uuid, images) if idle else {},
        stored=_stored(conn, raw.inactive_xml),
        pools=_pools(conn, images),
        own_pools=volumes.pools_if_any(conn) if images else (),
        networks=read_definitions(conn, sorted(on | renames)) if on else {},
        versions=read_versions(conn),
    )


def _volume_paths(conn: Connection, config: DomainConfig) -> dict[str, str]:
    found = {}
    for disk in config.disks:
        if disk.kind == "volume" and disk.source:
            pool, _, volume = disk.source.partition("/")
            found[disk.source] = volumes.volume_path(conn, pool, volume)
    return found


def _images(config: DomainConfig, paths: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Target name and path of every disk that could be copied."""
    for disk in config.disks:
        path = paths.get(disk.source or "", disk.source or "")
        if (
            disk.device == "disk"
            and disk.kind in ("file", "volume", "block")
            and path.startswith("/")
        ):
            yield disk.target, path


def _stored(conn: Connection, inactive_xml: str | None) -> dict[str, str]:
    if inactive_xml is None:
        return {}
    config = parse_domain(inactive_xml)
    return dict(_images(config, _volume_paths(conn, config)))


def _pools(conn: Connection, images: dict[str, str]) -> dict[str, str]:
    found = {name: volumes.pool_of(conn, path) for name, path in images.items()}
    return {name: pool for name, pool in found.items() if pool is not None}


def read_versions(conn: Connection) -> Versions:
    return Versions(conn.getLibVersion(), conn.getVersion())


def definition(config: DomainConfig, vm: Vm, at_source: AtSource) -> Definition:
    sizes = {disk.target: disk for disk in vm.disks}
    backing = config.memory_backing
    page_bytes = backing.hugepage_bytes or DEFAULT_HUGEPAGE_BYTES
    return Definition(
        virt_type=config.virt_type,
        machine=config.machine,
        emulator=config.emulator,
        memory_bytes=config.memory_bytes,
        disks=tuple(_sized(disk, sizes.get(disk.target), at_source) for disk in config.disks),
        nics=config.nics,
        hostdevs=config.hostdevs,
        filesystems=config.filesystems,
        shmems=config.shmems,
        redirected_usb=config.redirected_usb,
        tpm=config.tpm,
        nvram=config.nvram,
        vsock=config.vsock,
        launch_security=config.launch_security,
        hugepage_bytes=page_bytes if backing.hugepages else None,
        pinned=config.pinned,
        leases=config.leases,
        secrets=config.secrets,
        files=needed_paths(config),
    )


def _sized(disk: Disk, seen: Disk | None, at_source: AtSource) -> Disk:
    source = at_source.volumes.get(disk.source or "", disk.source)
    known = at_source.sizes.get(disk.target) or seen
    if known is None:
        return replace(disk, source=source)
    return replace(
        disk,
        source=source,
        virtual_bytes=known.virtual_bytes,
        allocated_bytes=known.allocated_bytes,
    )


def needed_paths(config: DomainConfig) -> tuple[str, ...]:
    """Paths besides the emulator and the disks' top images that must exist at the target."""
    logs = (_log_needs(path) for path in config.character_files)
    paths = (*config.boot_files, *config.backing_files, *logs)
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/")))


def _log_needs(path: str) -> str:
    """A device must be there; a log file is made by QEMU, in a directory that is."""
    return path if path.startswith("/dev/") else posixpath.dirname(path)
