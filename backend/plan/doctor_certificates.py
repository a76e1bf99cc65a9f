"""Findings about the certificates of libvirt and QEMU on each host: there, valid, for the right
name, signed by an authority that the others trust. Pure."""

from collections.abc import Iterator

from backend.model import FleetFinding, Grade
from backend.plan.doctor_facts import Checkup, FleetFacts, Paper, finding, listed

SOON_S = 30 * 86400.0
_PLANES = {"libvirt": "libvirt", "qemu": "QEMU"}
_TLS_HELP = "libvirt.org/kbase/tlscerts.html"


def certificates(facts: FleetFacts) -> Iterator[FleetFinding]:
    """All of them."""
    for one in facts.up:
        if one.papers is None:
            if one.has_shell and one.needs_papers:
                why = one.unknown.get("papers", "").rstrip(".")
                yield finding(
                    "certificate-unknown",
                    Grade.REMARK,
                    (one.name,),
                    f"the certificates of {one.name} could not be looked at ({why})",
                )
            continue
        for paper in one.papers:
            if _needed(one, paper):
                yield from _validity(one, paper, facts.now)
                yield from _names(one, paper)
    yield from _trust(facts)


def _needed(one: Checkup, paper: Paper) -> bool:
    """QEMU's where its migrations are encrypted, libvirt's where the others come by TLS."""
    if paper.role.startswith("qemu"):
        return one.host.tls
    return one.by_tls


def title(paper: Paper) -> str:
    """`QEMU's server certificate`."""
    plane, _, role = paper.role.partition("-")
    whose = _PLANES[plane]
    return f"{whose}'s CA certificate" if role == "ca" else f"{whose}'s {role} certificate"


def _validity(one: Checkup, paper: Paper, now: float) -> Iterator[FleetFinding]:
    what = f"{title(paper)} on {one.name}"
    at = f" ({paper.path})"
    new = f"Issue a new one and put it at {paper.path}, with its key; see {_TLS_HELP}"
    if not paper.there:
        yield _of(one, "certificate-missing", Grade.MEND, f"{what} is missing{at}", new)
    elif not paper.readable:
        sentence = f"{what} could not be looked at{at}: this login may not read it"
        remedy = f"On {one.name}: chmod a+r {paper.path} (a certificate is no secret; keys are)"
        yield _of(one, "certificate-unreadable", Grade.REMARK, sentence, remedy)
    elif paper.fault:
        sentence = f"{what}{at} cannot be used: {paper.fault.rstrip('.')}"
        yield _of(one, "certificate-broken", Grade.MEND, sentence, new)
    elif paper.ends <= now:
        sentence = f"{what} expired {days(now - paper.ends)} ago{at}"
        yield _of(one, "certificate-expired", Grade.MEND, sentence, new)
    elif paper.starts > now:
        sentence = f"{what} is not valid before {days(paper.starts - now)} from now{at}"
        remedy = f"Check the clocks; else {new[0].lower()}{new[1:]}"
        yield _of(one, "certificate-early", Grade.MEND, sentence, remedy)
    elif paper.ends - now < SOON_S:
        sentence = f"{what} expires in {days(paper.ends - now)}{at}"
        yield _of(one, "certificate-ends-soon", Grade.REMARK, sentence, new)


def days(seconds: float) -> str:
    """`3 days`, `5 h`."""
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:,.0f} days"


def _of(one: Checkup, code: str, grade: Grade, sentence: str, remedy: str) -> FleetFinding:
    return finding(code, grade, (one.name,), sentence, remedy)


# -- names -----------------------------------------------------------------------------------


def _names(one: Checkup, paper: Paper) -> Iterator[FleetFinding]:
    if not paper.there or not paper.readable or paper.fault:
        return
    if paper.role == "libvirt-server":
        wanted, who = one.migrate_name, "its migrate_uri has"
    elif paper.role == "qemu-server":
        wanted, who = one.address or one.host.hostname, "the others' QEMUs ask for"
    else:
        return
    if wanted and not is_for(paper.names, wanted):
        yield _of(
            one,
            "certificate-wrong-name",
            Grade.MEND,
            f"{title(paper)} on {one.name} is for {listed(paper.names) or 'no name'}, not for"
            f" {wanted}, which {who} ({paper.path})",
            f"Issue one with the name {wanted}"
            + (
                ", or set migrate_uri to a name it carries."
                if paper.role == "libvirt-server"
                else ", or set migration_host in qemu.conf to a name it carries."
            ),
        )


def is_for(names: tuple[str, ...], wanted: str) -> bool:
    """Whether a certificate for these names may stand for `wanted`; `*.` is any one label."""
    wanted = wanted.lower().rstrip(".").strip("[]")
    rest = wanted.partition(".")[2]
    for name in (one.lower().rstrip(".") for one in names):
        if name == wanted or (rest and name == f"*.{rest}"):
            return True
    return False


# -- who trusts whom -------------------------------------------------------------------------


def _trust(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Grouped: whose certificates of a plane the same hosts do not trust."""
    doubted: dict[tuple[str, str, str], list[str]] = {}
    for (plane, role, owner, truster), trusted in facts.trust.items():
        if not trusted:
            doubted.setdefault((plane, role, owner), []).append(truster)
    groups: dict[tuple[str, tuple[str, ...]], dict[str, list[str]]] = {}
    for (plane, role, owner), trusters in doubted.items():
        owners = groups.setdefault((plane, tuple(trusters)), {})
        owners.setdefault(owner, []).append(role)
    for (plane, by), owners in groups.items():
        whose = listed(list(owners))
        roles = list(dict.fromkeys(role for some in owners.values() for role in some))
        where = "/etc/pki/CA/cacert.pem" if plane == "libvirt" else "ca-cert.pem of QEMU"
        yield finding(
            "certificate-not-trusted",
            Grade.MEND,
            tuple(dict.fromkeys((*owners, *by))),
            f"{listed(by)} {'do' if len(by) > 1 else 'does'} not trust {_PLANES[plane]}'s"
            f" {' and '.join(roles)} certificate of {whose}: no authority there has signed it",
            f"Put the CA that signed the certificates of {whose} into {where} on {listed(by)}, or"
            " issue new ones by theirs.",
        )
