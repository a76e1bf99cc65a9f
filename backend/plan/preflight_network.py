"""Findings about the VM's networks: each bridge or network must be there at the target. Pure."""

from collections.abc import Iterator

from backend.model import Finding, Nic
from backend.plan.facts import Survey, attachment, renamed
from backend.plan.found import block, ok, warn

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
    state = "missing or not active" if nic.kind == "network" else "missing"
    remedy = {
        "bridge": f"Create it there: ip link add {nic.source} type bridge",
        "network": f"Define and start it there: virsh net-start {nic.source}",
        "direct": "Give the target a device of that name, or change the VM's interface.",
    }[nic.kind]
    if nic.kind != "direct":
        remedy += f", or use another: --network {was.source}=NAME"
    sentence = f"{noun} {nic.source} is {state} on {target}"
    return block(f"network-{nic.kind}-missing", "network", sentence, remedy)


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
