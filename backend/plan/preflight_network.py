"""Findings about the VM's networks: each bridge or network must be there at the target. Pure."""

from collections.abc import Iterator

from backend.model import Finding, Nic
from backend.plan.facts import Survey, attachment
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


def _attached(survey: Survey, nic: Nic) -> Finding:
    target = survey.target.name
    noun = {"bridge": "bridge", "network": "network", "direct": "network device"}[nic.kind]
    there = survey.attachments.get(attachment(nic))
    if there:
        up = "is active" if nic.kind == "network" else "exists"
        return ok(f"network-{nic.kind}-ok", "network", f"{noun} {nic.source} {up} on {target}")
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
