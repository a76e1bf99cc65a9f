"""What is wrong with a fleet, and how to mend it. Pure: facts in, findings out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from backend.model import FleetFinding, Grade
from backend.plan import (
    doctor_certificates,
    doctor_hosts,
    doctor_leftovers,
    doctor_vms,
    doctor_ways,
)
from backend.plan.doctor_facts import Checkup, FleetFacts, listed

Check = Callable[[FleetFacts], Iterable[FleetFinding]]


def _told_vms(one: Checkup) -> bool:
    return one.copies is not None


Key = tuple[str, str, tuple[str, ...]]
"""Code, VM and hosts: what makes two findings the same."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of check, what is said where it finds nothing, and whom it could ask."""

    name: str
    check: Check
    well: str
    told: Callable[[Checkup], bool]


_KINDS = (
    _Kind("vms", doctor_vms.vms_once, "every VM is on one host, {vms} in all", _told_vms),
    _Kind("jobs", doctor_vms.jobs, "every migration has both its ends", _told_vms),
    _Kind("hosts", doctor_hosts.hosts, "{hosts}: all answer", lambda _: True),
    _Kind(
        "limits",
        doctor_leftovers.limits,
        "no VM at rest has a limit or a suspension left",
        lambda one: one.copies is not None and "limits" not in one.unknown,
    ),
    _Kind(
        "volumes",
        doctor_leftovers.volumes,
        "every image in a pool is named by a VM",
        lambda one: one.volumes is not None,
    ),
    _Kind(
        "certificates",
        doctor_certificates.certificates,
        "valid, for the right names, and trusted by every other host",
        lambda one: one.papers is not None or not one.needs_papers,
    ),
    _Kind(
        "names",
        doctor_ways.names,
        "every host resolves the names of all others",
        lambda one: one.names is not None,
    ),
    _Kind(
        "reach",
        doctor_ways.reach,
        "every host reaches the libvirt of all others",
        lambda one: one.up and one.has_shell and "reach" not in one.unknown,
    ),
    _Kind(
        "ports",
        doctor_ways.ports,
        "the ports of migrations and copies are open between all",
        lambda one: one.ports is not None,
    ),
    _Kind(
        "clocks",
        doctor_hosts.clocks,
        "all within a second",
        lambda one: one.clock_offset_s is not None,
    ),
    _Kind(
        "versions",
        doctor_hosts.versions,
        "the same libvirt and QEMU on all",
        lambda one: one.versions is not None,
    ),
)
UNSTEADY = ("vms", "jobs")
"""Checks of what changes while it is asked: they are believed when a second look agrees."""


def examined(facts: FleetFacts, again: frozenset[Key] | None = None) -> tuple[FleetFinding, ...]:
    """Every kind of check in a fixed order, the worst finding of each first; a kind that found
    nothing has one line that says so. `again`: what a second look found of the unsteady ones.
    """
    return tuple(one for kind in _KINDS for one in _of(kind, facts, again))


def doubtful(facts: FleetFacts) -> frozenset[Key]:
    """What the unsteady checks find: a second look must find the same."""
    kinds = (kind for kind in _KINDS if kind.name in UNSTEADY)
    return frozenset(_key(one) for kind in kinds for one in kind.check(facts) if _is_bad(one))


def _of(kind: _Kind, facts: FleetFacts, again: frozenset[Key] | None) -> list[FleetFinding]:
    found = list(kind.check(facts))
    if again is not None and kind.name in UNSTEADY:
        found = [one for one in found if not _is_bad(one) or _key(one) in again]
    found = [replace(one, check=kind.name) for one in found]
    return sorted(found, key=lambda one: -one.grade.rank) or [_well(kind, facts)]


def _well(kind: _Kind, facts: FleetFacts) -> FleetFinding:
    unasked = tuple(one.name for one in facts.hosts if not kind.told(one))
    if len(unasked) == len(facts.hosts):
        sentence = "not examined: no host tells"
        return FleetFinding(f"{kind.name}-unknown", kind.name, Grade.REMARK, unasked, sentence)
    vms, hosts = len({copy.uuid for copy in facts.copies()}), len(facts.hosts)
    sentence = kind.well.format(vms=vms, hosts=f"{hosts} host{'s' * (hosts != 1)}")
    if unasked:
        sentence += f", as far as could be asked (not {listed(unasked)})"
    return FleetFinding(f"{kind.name}-ok", kind.name, Grade.OK, (), sentence)


def _is_bad(one: FleetFinding) -> bool:
    return one.grade.rank > Grade.REMARK.rank


def _key(one: FleetFinding) -> Key:
    return one.code, one.vm, tuple(sorted(one.hosts))
