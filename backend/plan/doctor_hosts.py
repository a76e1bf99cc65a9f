"""Findings about each host by itself, and about how they differ: reach, identity, versions, clocks.
Pure."""

from collections.abc import Iterator
from statistics import median

from backend.model import FleetFinding, Grade
from backend.plan.doctor_facts import Checkup, FleetFacts, finding, listed
from backend.plan.facts import Versions

SKEW_TOLD_S = 1.0
SKEW_HARMS_S = 5.0
"""Certificates, logs and times of moves disagree; a guest that takes its host's clock jumps."""
OLDEST = Versions(6_000_000, 4_002_000)
"""Below it virt-ferry was never tried."""


def hosts(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Each answers, by libvirt and by SSH, and none is taken for another."""
    for one in facts.hosts:
        if not one.up:
            yield _down(one)
        elif "vms" in one.unknown:
            yield finding(
                "host-stuck",
                Grade.MEND,
                (one.name,),
                f"libvirt on {one.name} does not tell its VMs: {one.unknown['vms'].rstrip('.')}",
                f"Look at its load and at the daemon's log; on {one.name}: systemctl restart"
                " libvirtd (or virtqemud): its VMs go on",
            )
        elif not one.has_shell:
            yield finding(
                "host-no-ssh",
                Grade.REMARK,
                (one.name,),
                f"there is no SSH to {one.name}: its clock, certificates, names, ports and images"
                " are not examined",
                "Give it `ssh` instead of `uri` in the fleet file.",
            )
    yield from _twins(facts)


def _down(one: Checkup) -> FleetFinding:
    if one.host.daemon_stopped:
        return finding(
            "host-daemon-stopped",
            Grade.MEND,
            (one.name,),
            f"libvirt's daemon does not run on {one.name}, which itself can be reached: its VMs"
            " go on, and cannot be seen or moved",
            f"On {one.name}: systemctl start libvirtd (or virtqemud.socket)",
        )
    because = f": {one.host.reason.rstrip('.')}" if one.host.reason else ""
    return finding(
        "host-unreachable",
        Grade.MEND,
        (one.name,),
        f"{one.name} is {one.host.state}{because}. What its VMs do is not known",
        one.host.remedy or "Bring it back; it is tried again by itself.",
    )


def _twins(facts: FleetFacts) -> Iterator[FleetFinding]:
    up = facts.up
    for what, of in (("UUID", _uuid), ("hostname", _hostname)):
        seen: dict[str, list[str]] = {}
        for one in up:
            if value := of(one):
                seen.setdefault(value, []).append(one.name)
        for value, names in seen.items():
            if len(names) > 1:
                yield finding(
                    f"host-same-{what.lower()}",
                    Grade.MEND,
                    tuple(names),
                    f"{listed(names)} have the same {what} ({value}): libvirt refuses to migrate"
                    " between them, or they are one host under several names",
                    "Give each its own host_uuid in libvirtd.conf (virtqemud.conf)."
                    if what == "UUID"
                    else "Give each its own: hostnamectl set-hostname NAME.",
                )


def _uuid(one: Checkup) -> str:
    return one.host_uuid


def _hostname(one: Checkup) -> str:
    return one.host.hostname


def versions(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Whether all have the same libvirt and QEMU."""
    found: dict[Versions, list[str]] = {}
    for one in facts.up:
        if one.versions is not None:
            found.setdefault(one.versions, []).append(one.name)
            if one.versions.libvirt < OLDEST.libvirt or one.versions.qemu < OLDEST.qemu:
                yield finding(
                    "versions-old",
                    Grade.REMARK,
                    (one.name,),
                    f"{one.name} has {_words(one.versions)}: older than what virt-ferry is tried"
                    f" with ({_words(OLDEST)})",
                    "Move by plan and look at its findings; better, upgrade it.",
                )
    if len(found) > 1:
        groups = [f"{_words(version)} on {listed(names)}" for version, names in found.items()]
        yield finding(
            "versions-differ",
            Grade.REMARK,
            tuple(name for names in found.values() for name in names),
            f"the hosts' versions differ: {'; '.join(groups)}. A VM with a machine type or CPU of"
            " the newer cannot move to the older",
            "A plan checks each move; in the end upgrade the older hosts.",
        )


def _words(of: Versions) -> str:
    return f"libvirt {dotted(of.libvirt)}, QEMU {dotted(of.qemu)}"


def dotted(version: int) -> str:
    """9000000 as 9.0.0."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def clocks(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Each clock against the middle of all, this machine's among them."""
    known = [(one, one.clock_offset_s) for one in facts.hosts if one.clock_offset_s is not None]
    middle = median([0.0, *(offset for _, offset in known)])
    for one, offset in known:
        off = offset - middle
        sure = abs(off) - one.clock_error_s
        if sure > SKEW_TOLD_S:
            harms = sure > SKEW_HARMS_S
            yield finding(
                "clock-skew",
                Grade.MEND if harms else Grade.REMARK,
                (one.name,),
                f"the clock of {one.name} is {_span(abs(off))} {'ahead' if off > 0 else 'behind'}"
                " of the others"
                + (": certificates may count as expired or not yet valid" if harms else ""),
                f"On {one.name}: chronyc makestep (or timedatectl set-ntp true)",
            )
    away = abs(middle)
    if known and away - max(one.clock_error_s for one, _ in known) > SKEW_TOLD_S:
        yield finding(
            "clock-here",
            Grade.REMARK,
            (),
            f"this machine's clock is {_span(away)} {'behind' if middle > 0 else 'ahead of'} the"
            " hosts': times in reports are this machine's",
            "Here: chronyc makestep (or timedatectl set-ntp true)",
        )


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
