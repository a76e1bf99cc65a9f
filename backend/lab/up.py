"""Bringing the lab up: the same steps make a lab, repair one and find that all is well."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from backend.lab import qemu_probe
from backend.lab.access import make_key, write_access
from backend.lab.certs import make_authority
from backend.lab.domain import ensure_disk
from backend.lab.domains import ensure_vm, restart_vm, survey
from backend.lab.errors import LabError, LabUsageError
from backend.lab.guest_image import install_boot_files
from backend.lab.guest_link import await_guest
from backend.lab.host import ensure_host, ensure_run_folder, processes_of
from backend.lab.host_files import write_host
from backend.lab.layout import Lab, LabHost, LabVm
from backend.lab.network import ensure_network
from backend.lab.processes import LabProcess
from backend.lab.qemu_wrapper import install_wrapper
from backend.lab.settings import (
    DEFAULT_HOST_COUNT,
    DEFAULT_MEMORY_MIB,
    Link,
    Settings,
    load,
    locked,
    save,
)
from backend.lab.shell import missing_programs

MIN_MEMORY_MIB = 256
"""Below 384 MiB db-1 and cache-1 have no room for the 200 MB they write over, and write nothing."""

_PATIENCE_S = 45.0
_GUESTS_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller asked for; None: as it is, or as it is by default."""

    name: str
    host_count: int | None = None
    link_bits_s: int | None = None
    memory_mib: int | None = None


def bring_up(wish: Wish, say: Say) -> None:
    """Make the lab, or repair it, until every VM that should run answers."""
    began = time.monotonic()
    _check_machine()
    settings = _agree(wish, load(wish.name))
    lab = Lab(wish.name, settings.host_count)
    with locked(lab, create=True):
        # Someone else may have made or changed it while we waited for the lock.
        settings = _agree(wish, load(wish.name))
        if not settings.complete:
            settings = _write_files(lab, settings, say)
        save(lab, settings)
        running = _raise_all(lab, settings, say)
    took = time.monotonic() - began
    say(f"up in {took:.1f} s: {lab.host_count} hosts, {running} running VMs")
    say(f"fleet file: {lab.fleet_file}")


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise LabUsageError(
            "The lab makes namespaces and starts daemons, which takes root. Run it as root."
        )
    missing = missing_programs()
    if missing:
        raise LabError(f"Not installed: {', '.join(missing)}. Run ./backend/lab/setup.sh.")


def _agree(wish: Wish, existing: Settings | None) -> Settings:
    """The settings to work to, or a refusal where a lab that stands cannot become that."""
    base = existing or Settings(
        host_count=wish.host_count or DEFAULT_HOST_COUNT,
        memory_mib=wish.memory_mib or DEFAULT_MEMORY_MIB,
    )
    for asked, has, what in (
        (wish.host_count, base.host_count, "hosts"),
        (wish.memory_mib, base.memory_mib, "MiB of memory for each VM"),
    ):
        if asked is not None and asked != has:
            raise LabUsageError(
                f"The lab {wish.name!r} has {has} {what}, not {asked}. Take it down first "
                "(virt-ferry lab down), or give the new one another --name."
            )
    hosts = Lab(wish.name, base.host_count).hosts
    links = {host.name: _link(wish, base.link(host.name)) for host in hosts}
    return replace(base, links=links)


def _link(wish: Wish, link: Link) -> Link:
    """A lab that is brought up has no cut links; their rates stay unless given."""
    if wish.link_bits_s is None:
        return replace(link, up=True)
    return Link(in_bits_s=wish.link_bits_s, out_bits_s=wish.link_bits_s)


def _write_files(lab: Lab, settings: Settings, say: Say) -> Settings:
    """Everything that lies on disk. An interrupted attempt starts over: nothing runs yet."""
    install_boot_files(lab)
    install_wrapper(lab)
    lab.shared.mkdir(exist_ok=True)
    operator_key = make_key()
    host_keys = {host.name: make_key() for host in lab.hosts}
    authority = make_authority(lab.name)
    for host in lab.hosts:
        key = host_keys[host.name]
        write_host(lab, host, authority, key.private, operator_key.public)
    write_access(lab, operator_key, host_keys)
    say(f"{lab.name}: keys, certificates and guest image made")
    return replace(settings, complete=True)


def _raise_all(lab: Lab, settings: Settings, say: Say) -> int:
    ensure_run_folder(lab)
    made = ensure_network(lab, settings)
    if made:
        say(f"network: {len(made)} namespaces and links made")
    with ThreadPoolExecutor(16) as pool:
        disks = [pool.submit(ensure_disk, lab, vm) for vm in lab.vms]
        _raise_hosts(lab, pool, say)
        for disk in disks:
            disk.result()
        _raise_vms(lab, settings, pool, say)
        wanted = [vm for vm in lab.vms if vm.running]
        _all([pool.submit(_settle, lab, vm, say) for vm in wanted])
    return len(wanted)


def _settle(lab: Lab, vm: LabVm, say: Say) -> None:
    """Wait for a guest to answer; one that runs and never does has crashed and starts again."""
    try:
        await_guest(lab, vm, time.monotonic() + _PATIENCE_S)
    except LabError:
        done = restart_vm(lab, vm)
        if done:
            say(done)
        await_guest(lab, vm, time.monotonic() + _GUESTS_S)


def _raise_hosts(lab: Lab, pool: ThreadPoolExecutor, say: Say) -> None:
    living = processes_of(lab)

    def raise_host(host: LabHost, processes: list[LabProcess]) -> None:
        began = time.monotonic()
        qemu_probe.teach(host)
        started = ensure_host(lab, host, processes)
        qemu_probe.learn(host)
        if started:
            say(f"{host.name}: {' and '.join(started)} up ({time.monotonic() - began:.1f} s)")

    hosts = list(lab.hosts)
    if not qemu_probe.known():
        # The first one learns for all: three that probe at once take three times as long.
        first = hosts.pop(0)
        raise_host(first, living[first.name])
    _all([pool.submit(raise_host, host, living[host.name]) for host in hosts])


def _raise_vms(lab: Lab, settings: Settings, pool: ThreadPoolExecutor, say: Say) -> None:
    seen = survey(lab, timeout_s=30)
    silent = [host.name for host in lab.hosts if host.name not in seen.up]
    if silent:
        # A VM that only seems to be nowhere must not be defined a second time.
        raise LabError(f"libvirtd of {', '.join(silent)} does not answer. Try again.")

    def raise_vm(vm: LabVm) -> None:
        done = ensure_vm(lab, vm, settings, seen)
        if done:
            say(done)

    _all([pool.submit(raise_vm, vm) for vm in lab.vms])


def _all(futures: Sequence[Future[Any]]) -> None:
    """Wait for all; then the first failure, if any, is the failure of all."""
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
