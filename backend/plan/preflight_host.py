"""Findings about the pair of hosts: identity, reach, encryption, CPU, memory, machine. Pure."""

from collections.abc import Iterator

from backend.errors import word
from backend.model import Finding
from backend.plan.facts import Held, ReachProblem, Survey
from backend.plan.found import block, ok, warn
from backend.plan.wording import memory as sized

TIGHT_PART = 0.05
"""A target left with less than this part of its memory is told."""


def same_host(survey: Survey) -> Iterator[Finding]:
    """A VM cannot be moved to where it is."""
    if survey.same_host:
        name = survey.target.name
        yield block(
            "host-same", "host", f"{survey.vm.name} is on {name} already", "Pick another target."
        )


def target_up(survey: Survey) -> Iterator[Finding]:
    """The target must answer us."""
    target = survey.target
    if survey.target_up:
        yield ok("host-up", "host", f"{target.name} is up")
        return
    if target.daemon_stopped:
        yield block(
            "host-daemon-stopped",
            "host",
            f"libvirt's daemon does not run on {target.name}, which itself can be reached",
            f"Start it on {target.name}: systemctl start libvirtd (or virtqemud.socket); it is"
            " tried again by itself.",
        )
        return
    because = f": {target.reason.rstrip('.')}" if target.reason else ""
    yield block(
        "host-unreachable",
        "host",
        f"{target.name} is {target.state}{because}",
        target.remedy or "Bring it back or pick another target; it is tried again by itself.",
    )


def maintenance(survey: Survey) -> Iterator[Finding]:
    """A host in maintenance takes nothing."""
    if survey.target.maintenance_since is not None:
        name = survey.target.name
        yield block(
            "host-maintenance",
            "host",
            f"{name} is in maintenance",
            f"Pick another target, or end it: virt-ferry maintenance {name} off",
        )


def held(survey: Survey) -> Iterator[Finding]:
    """Neither the name nor the UUID may be taken at the target."""
    name, uuid, target = survey.vm.name, survey.vm.uuid, survey.target.name
    if survey.held is None:
        yield warn("name-unknown", "name", f"not known what {target} holds{survey.why('held')}")
    elif survey.held is Held.RUNNING:
        yield block(
            "name-running-there",
            "name",
            f"{name} runs on {target} too: the same UUID is active on both hosts",
            f"Find out which copy is right before anything else; `virsh destroy {uuid}` ends one.",
        )
    elif survey.held is Held.STALE:
        yield block(
            "name-stale-definition",
            "name",
            f"{target} holds a stale definition of {name} (same UUID, not running)",
            f"On {target}: virsh undefine {uuid} --keep-nvram",
        )
    elif survey.held is Held.OTHER_NAMED_SO:
        other = f" ({survey.held_uuid})" if survey.held_uuid else ""
        yield block(
            "name-taken",
            "name",
            f"another VM called {name} exists on {target}{other}",
            f"Rename one of them: virsh domrename {survey.shell_name} NEWNAME (shut off).",
        )
    else:
        yield ok("name-free", "name", f"name and UUID are free on {target}")


def reach(survey: Survey) -> Iterator[Finding]:
    """The source host itself opens the connection, so it is tried from there."""
    source, target, uri = survey.source.name, survey.target.name, survey.migrate_uri
    if survey.reach is None:
        yield warn(
            "reach-unknown",
            "reach",
            f"not tried whether {source} reaches {uri}{survey.why('reach')}",
            f"On {source}: virsh -c {word(uri)} uri",
        )
        return
    problem, detail = survey.reach.problem, survey.reach.detail
    because = f": {detail.rstrip('.')}" if detail else ""
    if problem is ReachProblem.NONE:
        yield ok("reach-ok", "reach", f"{source} reaches {uri}")
    elif problem is ReachProblem.NAME:
        yield block(
            "reach-name",
            "reach",
            f"{source} cannot resolve the name in {uri}{because}",
            f"Add {target} to DNS or to /etc/hosts on {source}, or set migrate_uri in the"
            " fleet file.",
        )
    elif problem is ReachProblem.PORT:
        yield block(
            "reach-port",
            "reach",
            f"{source} cannot connect to {uri}{because}",
            f"Start libvirt's listener on {target} (virtproxyd-tls.socket, or libvirtd --listen)"
            " and open its port in the firewall.",
        )
    elif problem is ReachProblem.SILENT:
        yield block(
            "reach-silent",
            "reach",
            f"{source} gets no answer from {uri}{because}",
            f"Look at the network between them, and at a firewall on {target} that drops"
            " connections to that port.",
        )
    elif problem is ReachProblem.URI:
        yield block(
            "reach-uri",
            "reach",
            f"{uri} is no address that libvirt on {source} can use{because}",
            f"Correct migrate_uri of {target} in the fleet file: qemu+tls://{target}/system.",
        )
    elif problem is ReachProblem.OTHER_HOST:
        yield block(
            "reach-other-host",
            "reach",
            f"{uri} does not lead from {source} to {target}{because}",
            f"Correct migrate_uri of {target} in the fleet file, or what that name resolves to on"
            f" {source}.",
        )
    elif problem is ReachProblem.CREDENTIALS:
        yield block(
            "reach-credentials",
            "reach",
            f"{source} has no certificate of its own that {target} takes{because}",
            f"Install /etc/pki/libvirt/clientcert.pem and private/clientkey.pem on {source}, signed"
            f" by the CA that {target} trusts.",
        )
    elif problem is ReachProblem.TRUST:
        yield block(
            "reach-certificate",
            "reach",
            f"{source} and {target} do not trust each other's certificates{because}",
            "Install the same CA in /etc/pki/CA/cacert.pem on both, and certificates signed by it.",
        )
    elif problem is ReachProblem.NAME_MISMATCH:
        yield block(
            "reach-certificate-name",
            "reach",
            f"the certificate of {target} is not for the name in {uri}{because}",
            "Issue one with that name, or set migrate_uri to the name it carries.",
        )
    else:
        yield block(
            "reach-failed",
            "reach",
            f"{source} cannot use {uri}{because}",
            f"On {source}: virsh -c {word(uri)} uri",
        )


def encryption(survey: Survey) -> Iterator[Finding]:
    """Plaintext only where the fleet file says so, and then loudly."""
    yield from exposed(survey)
    idle = survey.idle
    what = "the VM's images travel" if idle else "the VM's memory travels"
    if survey.encrypted:
        yield ok("tls-on", "encryption", f"{what} encrypted (TLS)")
        return
    off = [host.name for host in (survey.source, survey.target) if not host.tls]
    who = " and ".join(off) or "the fleet file"
    yield warn(
        "tls-off",
        "encryption",
        f"NOT ENCRYPTED: {what} in plaintext (tls is off for {who})",
        'Set tls = "require" in the fleet file.',
    )


def exposed(survey: Survey) -> Iterator[Finding]:
    """Connections that others could read, or answer in a host's place."""
    for one in survey.exposures:
        say = warn if one.allowed else block
        yield say("tls-exposed", "encryption", one.sentence, one.remedy)


def cpu(survey: Survey) -> Iterator[Finding]:
    """The target must have the CPU that the guest sees."""
    target, answer = survey.target.name, survey.cpu
    if answer is None:
        sentence = f"not known whether {target} has its CPU{survey.why('cpu')}"
        yield warn("cpu-unknown", "cpu", sentence)
        return
    which = "the running CPU model" if answer.running else "its CPU model"
    remedy = "Pick another target, or give it a CPU model that all hosts have and restart it."
    if answer.fits:
        yield ok("cpu-ok", "cpu", f"{which} exists there")
    elif answer.missing:
        features = ", ".join(answer.missing)
        yield block("cpu-missing-features", "cpu", f"{target} lacks {features}", remedy)
    else:
        because = f": {answer.detail.rstrip('.')}" if answer.detail else ""
        yield block("cpu-incompatible", "cpu", f"{target} cannot provide {which}{because}", remedy)


def memory(survey: Survey) -> Iterator[Finding]:
    """The VM must fit into what the target has free."""
    target, needed, free = survey.target, survey.needed_bytes, survey.target_free_bytes
    if free is None or target.memory_bytes is None:
        yield warn(
            "memory-unknown",
            "memory",
            f"{sized(needed)} needed; what {target.name} has free is not known"
            f"{survey.why('memory')}",
        )
    elif free < needed:
        yield block(
            "memory-short",
            "memory",
            f"{sized(needed)} needed, only {sized(free)} free on {target.name}",
            "Free memory there, or pick another target.",
        )
    elif free - needed < TIGHT_PART * target.memory_bytes:
        yield warn(
            "memory-tight",
            "memory",
            f"{sized(needed)} needed, {sized(free)} free: leaves only {sized(free - needed)}",
        )
    else:
        yield ok("memory-ok", "memory", f"{sized(needed)} needed, {sized(free)} free")
    yield from _hugepages(survey)


def _hugepages(survey: Survey) -> Iterator[Finding]:
    definition, free = survey.definition, survey.free_hugepage_bytes
    if definition is None or definition.hugepage_bytes is None:
        return
    need = f"{sized(definition.memory_bytes)} in huge pages of {sized(definition.hugepage_bytes)}"
    if free is None:
        why = survey.why("hugepages")
        yield warn("memory-hugepages-unknown", "memory", f"{need} needed; not checked there{why}")
    elif free < definition.memory_bytes:
        yield block(
            "memory-hugepages-short",
            "memory",
            f"{need} needed, only {sized(free)} of them free on {survey.target.name}",
            "Reserve more there: sysctl vm.nr_hugepages.",
        )
    else:
        yield ok("memory-hugepages-ok", "memory", f"{need} needed, {sized(free)} free")


def machine(survey: Survey) -> Iterator[Finding]:
    """The emulator and the machine type must exist at the target."""
    definition, target = survey.definition, survey.target.name
    if definition is None:
        yield warn(
            "machine-unknown",
            "machine",
            f"its machine type is not known{survey.why('definition')}",
        )
        return
    if survey.emulator_there is False:
        yield block(
            "machine-emulator-missing",
            "machine",
            f"the emulator {definition.emulator} is missing on {target}",
            "Install the same QEMU there, at the same path.",
        )
    elif survey.machines is None:
        why = survey.why("machines")
        yield warn("machine-unknown", "machine", f"machine types of {target} not known{why}")
    elif definition.machine not in survey.machines:
        yield block(
            "machine-missing",
            "machine",
            f"{target} has no machine type {definition.machine} for {definition.virt_type} VMs",
            "Install the same or a newer QEMU there.",
        )
    else:
        yield ok("machine-ok", "machine", f"{definition.machine} and its emulator exist there")
    for path in survey.files_missing or ():
        yield block(
            "machine-file-missing",
            "machine",
            f"{path} is missing on {target}; the VM is defined with it",
            f"Copy it to {target}, at the same path.",
        )


def versions(survey: Survey) -> Iterator[Finding]:
    """Moving to an older libvirt or QEMU may fail, or work one way only."""
    source, target = survey.source_versions, survey.target_versions
    if source is None or target is None:
        why = survey.why("versions")
        yield warn("version-unknown", "version", f"versions of libvirt and QEMU not known{why}")
        return
    older = [
        f"{what} {dotted(there)} is older than {dotted(here)}"
        for what, here, there in (
            ("libvirt", source.libvirt, target.libvirt),
            ("QEMU", source.qemu, target.qemu),
        )
        if there < here
    ]
    if older:
        yield warn(
            "version-older",
            "version",
            f"{survey.target.name} is behind {survey.source.name}: {', '.join(older)}",
            "Such moves often fail half-way; upgrade the target first if it does.",
        )
    else:
        yield ok(
            "version-ok",
            "version",
            f"libvirt {dotted(target.libvirt)}, QEMU {dotted(target.qemu)}: none older there",
        )


def dotted(number: int) -> str:
    """9000000 -> 9.0.0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
