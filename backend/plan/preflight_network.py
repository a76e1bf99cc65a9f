"""Findings about the VM's networks: each bridge or network must be there at the target. Pure."""

from collections.abc import Iterator

from backend.errors import word
from backend.model import Finding, Nic
from backend.plan.facts import Survey, attachment, renamed
from backend.plan.found import block, ok, warn
from backend.plan.preparing import lacking, offered

_NAMED = ("bridge", "network", "direct")


def network(survey: Survey) -> Iterator[Finding]:
    """Every network interface, those on one bridge or network together."""
    nics = survey.definition.nics if survey.definition else survey.vm.nics
    if survey.definition is None and not nics:
        why = survey.why("definition")
        yield warn("network-unknown", "network", f"its networks are not known{why}")
        return
    if not nics:
        yield ok("network-none", "network", "it has no network interface")
    for nic in {attachment(nic): nic for nic in nics}.values():
        yield _attached(survey, nic) if nic.kind in _NAMED else _other(nic)
    known = {nic.source for nic in nics if nic.kind in ("bridge", "network")}
    for name in survey.networks:
        if name not in known:
            sentence = f"no interface is on {name}: that --network changes nothing here"
            yield warn("network-map-unused", "network", sentence)


def _attached(survey: Survey, was: Nic) -> Finding:
    target, nic = survey.target.name, renamed(was, survey.networks)
    instead = "" if nic == was else f", instead of {was.source}"
    noun = {"bridge": "bridge", "network": "network", "direct": "network device"}[nic.kind]
    there = survey.attachments.get(attachment(nic))
    if there:
        up = "is active" if nic.kind == "network" else "exists"
        sentence = f"{noun} {nic.source} {up} on {target}{instead}"
        return ok(f"network-{nic.kind}-ok", "network", sentence)
    if there is None:
        why = survey.why(attachment(nic)) or survey.why("network")
        sentence = f"{noun} {nic.source}: not checked on {target}{why}"
        return warn(f"network-{nic.kind}-unknown", "network", sentence)
    if nic.kind == "network":
        return _network_missing(survey, nic.source, was.source)
    remedy = {
        "bridge": f"Create it there: ip link add {word(nic.source)} type bridge, or use another:"
        f" --network {word(was.source)}=NAME",
        "direct": "Give the target a device of that name, or change the VM's interface.",
    }[nic.kind]
    sentence = f"{noun} {nic.source} is missing on {target}"
    return block(f"network-{nic.kind}-missing", "network", sentence, remedy)


def _network_missing(survey: Survey, name: str, was: str) -> Finding:
    target, known = survey.target.name, survey.preparing.target_networks
    instead = f", or use another: --network {word(was)}=NAME"
    ready = offered(survey, name, pool=False)
    if name in known:
        sentence = f"network {name} is not active on {target}"
        remedy = f"{ready}Start it there: virsh net-start {word(name)}{instead}"
        return block("network-network-inactive", "network", sentence, remedy)
    sentence, own = (
        f"network {name} is missing on {target}",
        survey.preparing.own_networks.get(name),
    )
    if own is not None and (why := lacking(survey, own)):
        sentence += f", and it cannot be made as {survey.source.name} has it: {why}"
    remedy = (
        f"{ready}Define and start it there: virsh net-define, virsh net-start {word(name)}{instead}"
    )
    return block("network-network-missing", "network", sentence, remedy)


def _other(nic: Nic) -> Finding:
    if nic.kind == "user":
        return warn(
            "network-user",
            "network",
            f"interface {nic.mac} uses QEMU's own network: its connections break at the switchover",
        )
    if nic.kind in ("hostdev", "vdpa"):
        return block(
            "network-host-device",
            "network",
            f"interface {nic.mac} is the host's device {nic.source}",
            "Detach it before the move.",
        )
    return warn(
        "network-unchecked",
        "network",
        f"interface {nic.mac} ({nic.kind} {nic.source}) is not checked at the target",
    )
