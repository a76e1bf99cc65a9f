"""Findings about the ways between hosts: names, libvirt's port, the ports of migrations. Pure.

Each fault is told once for each target, with all sources that meet it.
"""

import ipaddress
from collections.abc import Iterator

from backend.model import FleetFinding, Grade
from backend.plan.doctor_facts import Checkup, FleetFacts, PortWord, finding, listed
from backend.plan.facts import ReachProblem

_PORT_FAULTS = {
    PortWord.SILENT: "gets no answer",
    PortWord.REJECTED: "is turned away",
}


def names(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Each host knows the names of all others, and means the same host by them."""
    for target in facts.up:
        for name in dict.fromkeys(wanted_names(target)):
            yield from _one_name(facts, target, name)


def wanted_names(target: Checkup) -> tuple[str, ...]:
    """What other hosts must be able to resolve: where libvirt is, and where its QEMU will be."""
    both = (target.migrate_name, target.address or target.host.hostname)
    return tuple(name for name in both if name and not is_address(name))


def _one_name(facts: FleetFacts, target: Checkup, name: str) -> Iterator[FleetFinding]:
    lost, looped, found = [], [], dict[frozenset[str], list[str]]()
    for source in facts.up:
        if source is target or source.names is None or name not in source.names:
            continue
        addresses = source.names[name]
        if not addresses:
            lost.append(source.name)
        elif all(_is_loopback(one) for one in addresses):
            looped.append(source.name)
        else:
            found.setdefault(addresses, []).append(source.name)
    if lost:
        yield finding(
            "name-unknown",
            Grade.MEND,
            (*lost, target.name),
            f"{listed(lost)} cannot resolve {name}, the name of"
            f" {target.name}{_what_for(target, name)}",
            f"Add {name} to DNS, or to /etc/hosts on {listed(lost)}.",
        )
    if looped:
        yield finding(
            "name-loops",
            Grade.MEND,
            (*looped, target.name),
            f"on {listed(looped)} the name {name} of {target.name} leads back to the host itself",
            f"Correct {name} in /etc/hosts on {listed(looped)}.",
        )
    if len(found) > 1:
        said = [f"{', '.join(sorted(ips))} on {listed(who)}" for ips, who in found.items()]
        yield finding(
            "name-differs",
            Grade.REMARK,
            (target.name,),
            f"the name {name} of {target.name} is {'; '.join(said)}",
            "Well where these are several networks of that host; else correct it.",
        )


def _what_for(target: Checkup, name: str) -> str:
    return "" if name == target.migrate_name else " that its QEMU is reached by"


def is_address(name: str) -> bool:
    """An IP address, which nobody has to resolve."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


# -- libvirt's port --------------------------------------------------------------------------


def reach(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Each host's libvirt from each other: name, port, certificate and trust at once."""
    for target in facts.up:
        met: dict[ReachProblem, list[tuple[str, str]]] = {}
        for source in facts.up:
            answer = source.reach.get(target.name)
            if answer is not None and answer.problem is not ReachProblem.NONE:
                met.setdefault(answer.problem, []).append((source.name, answer.detail))
        for problem, pairs in met.items():
            yield _unreached(target, problem, [name for name, _ in pairs], pairs[0][1])
    yield from _untried(facts, "reach", "whether it reaches the others was not tried")


def _unreached(
    target: Checkup, problem: ReachProblem, sources: list[str], detail: str
) -> FleetFinding:
    who, uri = listed(sources), target.migrate_uri
    because = f": {detail.rstrip('.')}" if detail else ""
    return finding(
        f"reach-{problem}",
        Grade.MEND,
        (*sources, target.name),
        f"{who} cannot use {uri}{because}",
        _remedy(target, problem, who),
    )


def _remedy(target: Checkup, problem: ReachProblem, sources: str) -> str:
    name, uri = target.name, target.migrate_uri
    match problem:
        case ReachProblem.NAME:
            return f"Add its name to DNS, or to /etc/hosts on {sources}."
        case ReachProblem.PORT:
            return (
                f"On {name}: systemctl enable --now virtproxyd-tls.socket (or libvirtd --listen),"
                " and open port 16514 in its firewall."
            )
        case ReachProblem.SILENT:
            return f"Look at the network between them, and at a firewall on {name} that drops."
        case ReachProblem.URI | ReachProblem.OTHER_HOST:
            return f"Correct migrate_uri of {name} in the fleet file: qemu+tls://{name}/system"
        case ReachProblem.CREDENTIALS:
            return (
                f"Install /etc/pki/libvirt/clientcert.pem and private/clientkey.pem on {sources},"
                f" signed by the CA that {name} trusts."
            )
        case ReachProblem.TRUST:
            return "Install the same CA in /etc/pki/CA/cacert.pem on all; see the certificates."
        case ReachProblem.NAME_MISMATCH:
            return "Issue a certificate with that name, or set migrate_uri to one it carries."
        case _:
            return f"On {sources}: virsh -c {uri} uri"


# -- ports of migrations ---------------------------------------------------------------------


def ports(facts: FleetFacts) -> Iterator[FleetFinding]:
    """The ends and the middle of each host's migration range, from each other host: a closed port
    that refuses is well, one that a firewall drops or turns away is not."""
    for target in facts.up:
        met: dict[tuple[PortWord, tuple[int, ...]], list[str]] = {}
        for source in facts.up:
            for word in _PORT_FAULTS:
                shut = sorted(
                    port
                    for (to, port), said in (source.ports or {}).items()
                    if to == target.name and said is word
                )
                if shut and not _dead_way(source, target):
                    met.setdefault((word, tuple(shut)), []).append(source.name)
        for (word, closed), sources in met.items():
            which = listed([str(port) for port in closed])
            yield finding(
                "port-closed",
                Grade.MEND,
                (*sources, target.name),
                f"{listed(sources)} {_PORT_FAULTS[word]} from {target.name} on port {which}, where"
                " migrations and copies of disks come in",
                f"Open them on {target.name}: firewall-cmd --permanent --add-port=49152-49215/tcp"
                " && firewall-cmd --reload (or as its firewall wants it).",
            )
    yield from _untried(facts, "ports", "its ways to the others' ports were not tried")


def _dead_way(source: Checkup, target: Checkup) -> bool:
    """Nothing goes that way at all: told by `reach` already."""
    answer = source.reach.get(target.name)
    return answer is not None and answer.problem in (ReachProblem.SILENT, ReachProblem.NAME)


def _untried(facts: FleetFacts, fact: str, what: str) -> Iterator[FleetFinding]:
    for source in facts.up:
        if fact in source.unknown and source.has_shell:
            yield finding(
                f"{fact}-untried",
                Grade.REMARK,
                (source.name,),
                f"{source.name}: {what} ({source.unknown[fact].rstrip('.')})",
            )
