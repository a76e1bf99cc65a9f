"""What the target, and the way to it, tell: names held, versions, CPU, machine types, networks."""

import asyncio
from collections.abc import Mapping

from backend.hypervisor import cpu
from backend.hypervisor.connection import Connection
from backend.hypervisor.domain_xml import DomainConfig
from backend.hypervisor.host import Network, read_networks
from backend.model import Nic
from backend.plan.facts import CpuAnswer, Held, Reach, ReachProblem, Versions, attachment
from backend.remote import probes
from backend.remote.probes import FileFacts
from backend.run.survey_asking import PROBE_LIMIT_S, Asking
from backend.run.survey_source import DEFAULT_HUGEPAGE_BYTES, AtSource, read_versions

REACH_LIMIT_S = 5.0

_REACH_PROBLEMS = {
    None: ReachProblem.OTHER,
    probes.ReachFault.NAME: ReachProblem.NAME,
    probes.ReachFault.PORT_CLOSED: ReachProblem.PORT,
    probes.ReachFault.TIMED_OUT: ReachProblem.SILENT,
    probes.ReachFault.NOT_TRUSTED: ReachProblem.TRUST,
    probes.ReachFault.NO_CREDENTIALS: ReachProblem.CREDENTIALS,
    probes.ReachFault.NAME_MISMATCH: ReachProblem.NAME_MISMATCH,
    probes.ReachFault.BAD_URI: ReachProblem.URI,
    probes.ReachFault.OTHER: ReachProblem.OTHER,
}


async def ask_versions(asking: Asking) -> Versions | None:
    return await asking.call("versions", asking.target, read_versions, "tell its versions")


async def ask_held(asking: Asking) -> tuple[Held, str] | None:
    vm = asking.vm
    return await asking.call(
        "held", asking.target, lambda conn: _read_held(conn, vm.uuid, vm.name), "list its VMs"
    )


def _read_held(conn: Connection, uuid: str, name: str) -> tuple[Held, str]:
    for dom in conn.listAllDomains(0):
        if dom.UUIDString() == uuid:
            return (Held.RUNNING if dom.isActive() else Held.STALE), uuid
        if dom.name() == name:
            return Held.OTHER_NAMED_SO, dom.UUIDString()
    return Held.NOTHING, ""


async def ask_reach(asking: Asking) -> Reach | None:
    shell = asking.shell("reach", asking.source)
    if shell is None:
        return None
    probe = probes.probe_reach(shell, asking.target.migrate_uri, REACH_LIMIT_S)
    found = await asking.ask("reach", probe, REACH_LIMIT_S + 3)
    if found is None:
        return None
    if found.fault is probes.ReachFault.UNTRIED:
        asking.unknown["reach"] = found.detail
        return None
    return reach_of(found, asking.target.host.hostname)


def reach_of(found: probes.Reach, expected: str) -> Reach:
    """What a probe of a migration URI means; `expected`: what the target calls itself."""
    if found.ok and expected and found.hostname != expected:
        return Reach(ReachProblem.OTHER_HOST, f"{found.hostname} answers there, not {expected}")
    problem = ReachProblem.NONE if found.ok else _REACH_PROBLEMS[found.fault]
    return Reach(problem, found.detail)


async def ask_cpu(asking: Asking, config: DomainConfig, at_source: AtSource) -> CpuAnswer | None:
    cpu_xml, running = at_source.cpu_xml, at_source.presence.active
    if cpu_xml is None:
        return CpuAnswer(True, running=running)
    if "<model" not in cpu_xml:
        mode = config.cpu_mode or "no model"
        asking.unknown["cpu"] = f"it takes the host's own CPU ({mode}): both must have the same"
        return None
    fit = await asking.call(
        "cpu",
        asking.target,
        lambda conn: cpu.compare_cpu(
            conn, config.emulator, config.arch, config.machine, config.virt_type, cpu_xml
        ),
        "compare the CPU",
    )
    return CpuAnswer(fit.fits, fit.missing, fit.message, running) if fit else None


async def ask_machines(asking: Asking, config: DomainConfig) -> tuple[frozenset[str] | None, bool]:
    """The machine types of the VM's own emulator, and whether libvirt there lists it."""
    found = await asking.call(
        "machines",
        asking.target,
        lambda conn: cpu.supported_machines(conn, config.arch, config.virt_type, config.emulator),
        "list its machine types",
    )
    if found is not None and not found:
        asking.unknown["machines"] = f"libvirt there lists no {config.emulator}"
    return found or None, bool(found)


async def ask_hugepages(asking: Asking, config: DomainConfig) -> int | None:
    backing = config.memory_backing
    if not backing.hugepages:
        return None
    page_kib = (backing.hugepage_bytes or DEFAULT_HUGEPAGE_BYTES) // 1024

    def free(conn: Connection) -> int:
        cells = conn.getFreePages([page_kib], -1, 1)
        return sum(int(pages) for cell in cells.values() for pages in cell.values())

    pages = await asking.call("hugepages", asking.target, free, "count its huge pages")
    return None if pages is None else pages * page_kib * 1024


async def ask_networks(asking: Asking, config: DomainConfig) -> list[Network] | None:
    if not any(nic.kind == "network" for nic in config.nics):
        return None
    return await asking.call("network", asking.target, read_networks, "list its networks")


async def ask_attachments(
    asking: Asking,
    config: DomainConfig,
    networks: list[Network] | None,
    files: Mapping[str, FileFacts],
) -> dict[str, bool | None]:
    """Whether each source of a NIC is there, from what was asked already where that tells."""
    nics = {attachment(nic): nic for nic in config.nics}
    answers = await asyncio.gather(
        *(_attached(asking, nic, networks, files) for nic in nics.values())
    )
    return dict(zip(nics, answers, strict=True))


async def _attached(
    asking: Asking, nic: Nic, networks: list[Network] | None, files: Mapping[str, FileFacts]
) -> bool | None:
    if nic.kind == "network" and networks is not None:
        return any(one.name == nic.source and one.active for one in networks)
    found = files.get(device_path(nic) or "")
    if found is None or found.exists or nic.kind != "bridge":
        return found.exists if found else None
    # Not a Linux bridge: one of Open vSwitch is known to its own tool only.
    shell = asking.shell("network", asking.target)
    if shell is None:
        return None
    return await asking.ask("network", probes.probe_bridge(shell, nic.source), PROBE_LIMIT_S)


def device_path(nic: Nic) -> str | None:
    """What exists on a host that has the bridge or device a NIC is attached to."""
    if not nic.source or "/" in nic.source:
        return None
    below = {"bridge": "/bridge", "direct": ""}.get(nic.kind)
    return None if below is None else f"/sys/class/net/{nic.source}{below}"
