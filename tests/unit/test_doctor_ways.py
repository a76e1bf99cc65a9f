"""What an examination says of hosts, certificates, clocks, versions, and the ways between hosts."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from backend.model import FleetFinding, Grade, Host, HostState
from backend.plan.doctor import examined
from backend.plan.doctor_certificates import certificates, is_for
from backend.plan.doctor_facts import Checkup, FleetFacts, Paper, PortWord
from backend.plan.doctor_hosts import clocks, hosts, versions
from backend.plan.doctor_ways import names, ports, reach
from backend.plan.facts import Reach, ReachProblem, Versions

DAY = 86400.0
NOW = 1_790_000_000.0
NAMES = ("kvm-a", "kvm-b", "kvm-c")
ROLES = ("libvirt-ca", "libvirt-server", "libvirt-client", "qemu-ca", "qemu-server", "qemu-client")


def host(name: str) -> Checkup:
    others = [one for one in NAMES if one != name]
    papers = (
        Paper(role, f"/pki/{role}.pem", names=(name,), starts=NOW - DAY, ends=NOW + 400 * DAY)
        for role in ROLES
    )
    return Checkup(
        Host(name, HostState.UP, hostname=name),
        f"qemu+tls://{name}/system",
        host_uuid=f"uuid-{name}",
        versions=Versions(9_000_000, 7_002_000),
        copies=(),
        volumes=(),
        papers=tuple(papers),
        clock_offset_s=0.01,
        clock_error_s=0.05,
        names={one: frozenset({"10.0.0.1"}) for one in others},
        reach={one: Reach(ReachProblem.NONE) for one in others},
        ports={(one, port): PortWord.OPEN for one in others for port in (49152, 49215)},
    )


GOOD = FleetFacts(tuple(host(name) for name in NAMES), NOW)


def but(name: str, **changes: object) -> FleetFacts:
    changed = (
        replace(one, **changes) if one.name == name else one  # type: ignore[arg-type]
        for one in GOOD.hosts
    )
    return replace(GOOD, hosts=tuple(changed))


def only(check: Callable[[FleetFacts], Iterable[FleetFinding]], facts: FleetFacts) -> FleetFinding:
    (found,) = check(facts)
    return found


def test_a_fleet_in_good_health_has_one_line_for_each_kind_of_check() -> None:
    found = examined(GOOD)
    assert {one.grade for one in found} == {Grade.OK}
    assert [one.check for one in found] == [
        "vms", "jobs", "hosts", "limits", "volumes", "certificates", "names", "reach", "ports",
        "clocks", "versions",
    ]  # fmt: skip


# -- hosts -----------------------------------------------------------------------------------


def test_a_host_that_does_not_answer() -> None:
    down = Host("kvm-c", HostState.UNREACHABLE, reason="No route to kvm-c.", remedy="Look at it.")
    found = only(hosts, but("kvm-c", host=down))
    assert (found.code, found.grade) == ("host-unreachable", Grade.MEND)
    assert found.sentence.startswith("kvm-c is unreachable: No route to kvm-c.")
    stopped = only(hosts, but("kvm-c", host=replace(down, daemon_stopped=True)))
    assert "systemctl start libvirtd" in stopped.remedy


def test_a_daemon_that_is_stuck() -> None:
    facts = but("kvm-b", copies=None, unknown={"vms": "no answer within 6 s"})
    found = only(hosts, facts)
    assert (found.code, found.grade) == ("host-stuck", Grade.MEND)
    assert "kvm-b does not tell its VMs: no answer within 6 s" in found.sentence


def test_hosts_that_libvirt_takes_for_one() -> None:
    assert only(hosts, but("kvm-b", host_uuid="uuid-kvm-a")).hosts == ("kvm-a", "kvm-b")
    twin = replace(GOOD.hosts[1].host, hostname="kvm-a")
    assert only(hosts, but("kvm-b", host=twin)).code == "host-same-hostname"


def test_a_host_without_ssh_is_a_remark() -> None:
    assert only(hosts, but("kvm-b", has_shell=False)).grade is Grade.REMARK


def test_versions() -> None:
    found = only(versions, but("kvm-c", versions=Versions(10_001_002, 8_000_000)))
    assert "libvirt 9.0.0, QEMU 7.2.0 on kvm-a and kvm-b; libvirt 10.1.2, QEMU 8.0.0 on kvm-c" in (
        found.sentence
    )
    assert found.grade is Grade.REMARK


@pytest.mark.parametrize(
    ("offset_s", "error_s", "grade"),
    [
        (0.9, 0.0, None),
        (-3.0, 0.1, Grade.REMARK),
        (3.0, 2.5, None),
        (70.0, 0.2, Grade.MEND),
        (-7200.0, 3.0, Grade.MEND),
    ],
)
def test_a_clock_is_judged_by_the_others_and_what_is_sure(
    offset_s: float, error_s: float, grade: Grade | None
) -> None:
    found = list(clocks(but("kvm-b", clock_offset_s=offset_s, clock_error_s=error_s)))
    assert [(one.hosts, one.grade) for one in found] == ([(("kvm-b",), grade)] if grade else [])
    assert all(("ahead" in one.sentence) is (offset_s > 0) for one in found)


def test_when_all_hosts_agree_it_is_this_machine_that_is_off() -> None:
    late = tuple(replace(one, clock_offset_s=30.0) for one in GOOD.hosts)
    found = only(clocks, replace(GOOD, hosts=late))
    assert (found.code, found.grade) == ("clock-here", Grade.REMARK)
    assert "30.0 s behind the hosts'" in found.sentence


# -- certificates ----------------------------------------------------------------------------


def paper(role: str, **changes: object) -> FleetFacts:
    """GOOD with one file of kvm-b changed."""
    papers = GOOD.hosts[1].papers or ()
    changed = tuple(
        replace(one, **changes) if one.role == role else one  # type: ignore[arg-type]
        for one in papers
    )
    return but("kvm-b", papers=changed)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"ends": NOW - 3 * DAY}, "certificate-expired", "expired 3 days ago"),
        ({"starts": NOW + 3600}, "certificate-early", "is not valid before 1 h from now"),
        ({"ends": NOW + 12 * DAY}, "certificate-ends-soon", "expires in 12 days"),
        ({"there": False, "readable": False}, "certificate-missing", "is missing"),
        ({"readable": False}, "certificate-unreadable", "may not read it"),
        ({"fault": "It holds no certificate."}, "certificate-broken", "holds no certificate"),
    ],
)
@pytest.mark.parametrize("role", ["libvirt-ca", "qemu-server"])
def test_the_state_of_a_certificate(
    role: str, changes: dict[str, object], code: str, said: str
) -> None:
    found = only(certificates, paper(role, **changes))
    assert found.code == code
    assert said in found.sentence
    assert f"/pki/{role}.pem" in found.sentence + found.remedy
    remark = code in ("certificate-ends-soon", "certificate-unreadable")
    assert found.grade is (Grade.REMARK if remark else Grade.MEND)


def test_names_that_a_certificate_must_carry() -> None:
    libvirt = only(certificates, paper("libvirt-server", names=("kvm-x",)))
    assert "is for kvm-x, not for kvm-b, which its migrate_uri has" in libvirt.sentence
    qemu = only(certificates, paper("qemu-server", names=()))
    assert "no name, not for kvm-b, which the others' QEMUs ask for" in qemu.sentence
    assert not list(certificates(paper("qemu-client", names=("anybody",))))


def test_the_name_qemu_conf_gives_is_the_one_that_counts() -> None:
    assert only(certificates, but("kvm-b", address="kvm-b.move")).code == "certificate-wrong-name"


@pytest.mark.parametrize(
    ("has", "wanted", "fits"),
    [
        ("KVM-a.lan", "kvm-A.lan.", True),
        ("*.lan", "kvm-a.lan", True),
        ("*.lan", "a.b.lan", False),
        ("*.", "kvm-a", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("kvm-a", "kvm-a.lan", False),
    ],
)
def test_which_name_a_certificate_is_for(has: str, wanted: str, fits: bool) -> None:
    assert is_for((has,), wanted) is fits


def test_what_is_not_used_needs_no_certificates() -> None:
    plain = Host("kvm-b", HostState.UP, hostname="kvm-b", tls=False)
    facts = but("kvm-b", host=plain, migrate_uri="qemu+ssh://kvm-b/system", papers=None)
    assert not list(certificates(facts))


def test_one_foreign_authority_is_told_once_for_each_direction() -> None:
    trust = {
        ("qemu", role, owner, by): "kvm-b" not in (owner, by)
        for role in ("server", "client")
        for owner in NAMES
        for by in NAMES
        if owner != by
    }
    found = list(certificates(replace(GOOD, trust=trust)))
    assert [one.sentence for one in found] == [
        "kvm-b does not trust QEMU's server and client certificate of kvm-a and kvm-c: no"
        " authority there has signed it",
        "kvm-a and kvm-c do not trust QEMU's server and client certificate of kvm-b: no"
        " authority there has signed it",
    ]


# -- ways ------------------------------------------------------------------------------------


def test_a_name_that_one_host_does_not_know_or_has_wrong() -> None:
    others = {"kvm-b": frozenset({"10.0.0.1"})}
    lost = only(names, but("kvm-c", names={**others, "kvm-a": frozenset()}))
    assert (lost.code, lost.hosts) == ("name-unknown", ("kvm-c", "kvm-a"))
    looped = only(names, but("kvm-c", names={**others, "kvm-a": frozenset({"127.0.1.1"})}))
    assert looped.code == "name-loops"
    differs = only(names, but("kvm-c", names={**others, "kvm-a": frozenset({"10.9.0.1"})}))
    assert (differs.code, differs.grade) == ("name-differs", Grade.REMARK)


def test_the_name_a_host_gives_itself_must_be_known_too() -> None:
    called = Host("kvm-b", HostState.UP, hostname="node-7")
    facts = but("kvm-b", host=called)
    asked = tuple(
        replace(one, names={**(one.names or {}), "node-7": frozenset[str]()}) for one in facts.hosts
    )
    found = only(names, replace(facts, hosts=asked))
    assert found.hosts == ("kvm-a", "kvm-c", "kvm-b")
    assert "that its QEMU is reached by" in found.sentence


@pytest.mark.parametrize("problem", [one for one in ReachProblem if one is not ReachProblem.NONE])
def test_each_way_of_not_reaching_has_its_remedy(problem: ReachProblem) -> None:
    met = {"kvm-b": Reach(problem, "words of virsh")}
    facts = replace(
        GOOD,
        hosts=tuple(replace(one, reach=met) if one.name != "kvm-b" else one for one in GOOD.hosts),
    )
    found = only(reach, facts)
    assert found.code == f"reach-{problem}"
    assert found.hosts == ("kvm-a", "kvm-c", "kvm-b")
    assert "kvm-a and kvm-c cannot use qemu+tls://kvm-b/system: words of virsh" in found.sentence
    assert found.remedy
    assert found.grade is Grade.MEND


def test_a_firewall_on_the_ports_of_migrations() -> None:
    shut = {("kvm-b", 49152): PortWord.SILENT, ("kvm-b", 49215): PortWord.SILENT}
    found = only(ports, but("kvm-a", ports=shut))
    assert "kvm-a gets no answer from kvm-b on port 49152 and 49215" in found.sentence
    turned = only(ports, but("kvm-a", ports={("kvm-b", 49152): PortWord.REJECTED}))
    assert "is turned away" in turned.sentence
    assert not list(ports(but("kvm-a", ports={("kvm-b", 49152): PortWord.UNKNOWN})))


def test_a_way_on_which_nothing_goes_is_told_once() -> None:
    silent = {"kvm-b": Reach(ReachProblem.SILENT)}
    shut = {("kvm-b", 49152): PortWord.SILENT}
    facts = but("kvm-a", reach=silent, ports=shut)
    assert [one.check for one in examined(facts) if one.grade is Grade.MEND] == ["reach"]


def test_what_could_not_be_tried_is_a_remark() -> None:
    facts = but("kvm-a", ports=None, unknown={"ports": "it has no bash, or no timeout"})
    found = only(ports, facts)
    assert (found.grade, found.hosts) == (Grade.REMARK, ("kvm-a",))
