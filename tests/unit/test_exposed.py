"""Encrypted and checked unless the fleet file says otherwise; no password in any sentence."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.errors import BadInput, HypervisorError, from_libvirt, plain
from backend.fleet import config
from backend.fleet.uris import exposed, split_uri
from backend.hypervisor.migrate import MigrationOrder
from backend.model import Host, HostState, Mode, Severity, Vm, VmState
from backend.plan.facts import Survey
from backend.plan.preflight import preflight
from backend.remote.certificates import unverified
from backend.remote.shell import CommandResult, LocalShell
from backend.run.survey_exposed import exposures

SECRET = "hunter2"


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu://kvm-a/system",
        "qemu+tls://kvm-a/system",
        "qemu+tls://kvm-a/system?pkipath=/etc/pki&no_verify=0",
        "qemu+ssh://root@kvm-a/system?socket=/run/x",
        "qemu+libssh://kvm-a/system?known_hosts_verify=normal",
        "qemu+unix:///system?socket=/run/x",
        "test:///default",
    ],
)
def test_a_protected_connection_is_not_complained_of(uri: str) -> None:
    assert exposed(uri) == ""


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("qemu+tcp://kvm-a/system", "not encrypted"),
        ("qemu+tls://kvm-a/system?no_verify=1", "no_verify"),
        ("qemu+tls://kvm-a/system?pkipath=/x;NO_VERIFY=1", "no_verify"),
        ("qemu://kvm-a/system?no_verify=2", "no_verify"),
        ("qemu+ssh://kvm-a/session?no_verify=1", "no_verify"),
        ("qemu+libssh://kvm-a/system?known_hosts_verify=auto", "known_hosts_verify"),
        ("qemu+tls://kvm-a/system?tls_priority=NORMAL:%2BANON-ECDH", "tls_priority"),
        ("qemu+ext://kvm-a/system?command=/bin/nc", "not known here"),
    ],
)
def test_one_that_others_could_read_or_answer_is(uri: str, says: str) -> None:
    assert says in exposed(uri)


@dataclass(frozen=True)
class Access:
    """What is asked of a host here."""

    name: str
    source_uri: str = "qemu+ssh://a/system"
    migrate_uri: str = "qemu+tls://a/system"
    tls: bool = True


def survey(source: Access, target: Access, mode: Mode = Mode.LIVE) -> Survey:
    return Survey(
        vm=Vm(uuid="u", name="db-1", host=source.name, state=VmState.RUNNING),
        source=Host(source.name, HostState.UP, tls=source.tls),
        target=Host(target.name, HostState.UP, tls=target.tls),
        encrypted=source.tls and target.tls,
        mode=mode,
        exposures=exposures(source, target),  # type: ignore[arg-type]
    )


def complaints(of: Survey) -> list[tuple[Severity, str, str]]:
    return [(f.severity, f.sentence, f.remedy) for f in preflight(of) if f.code == "tls-exposed"]


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.COLD, Mode.RESTART])
@pytest.mark.parametrize(
    ("source", "target", "who"),
    [
        (Access("kvm-a", source_uri="qemu+tcp://kvm-a/system"), Access("kvm-b"), "kvm-a"),
        (Access("kvm-a"), Access("kvm-b", source_uri="qemu+tcp://b/system"), "kvm-b"),
        (Access("kvm-a"), Access("kvm-b", migrate_uri="qemu+tcp://b/system"), "kvm-b"),
        (Access("kvm-a"), Access("kvm-b", migrate_uri="qemu://b/system?no_verify=1"), "kvm-b"),
    ],
)
def test_an_exposed_connection_blocks_every_move(
    source: Access, target: Access, who: str, mode: Mode
) -> None:
    [(severity, sentence, remedy)] = complaints(survey(source, target, mode))
    assert severity is Severity.BLOCK
    assert who in sentence
    assert 'tls = "off"' in remedy


def test_it_blocks_a_move_between_pools_too() -> None:
    host = Access("kvm-a", source_uri="qemu+tcp://kvm-a/system")
    [(severity, _, _)] = complaints(survey(host, host, Mode.STORAGE))
    assert severity is Severity.BLOCK


def test_where_the_fleet_file_says_so_it_is_told_and_goes_on() -> None:
    target = Access("kvm-b", migrate_uri="qemu+tcp://b/system", tls=False)
    [(severity, sentence, _)] = complaints(survey(Access("kvm-a"), target))
    assert severity is Severity.WARN
    assert "not encrypted" in sentence


def test_the_other_hosts_word_does_not_count() -> None:
    """Who lets the data of one host travel in plaintext has not said so for another."""
    source = Access("kvm-a", tls=False)
    target = Access("kvm-b", migrate_uri="qemu+tcp://b/system")
    assert [one[0] for one in complaints(survey(source, target))] == [Severity.BLOCK]


def test_uris_without_a_file_are_held_to_it() -> None:
    fleet = config.from_uris(("qemu+tcp://kvm-a/system", "qemu+tls://kvm-b/system"))
    assert [host.tls for host in fleet.hosts] == [True, True]
    assert all(exposed(host.migrate_uri) == "" for host in fleet.hosts)


async def test_what_a_host_switched_off_is_found(tmp_path: Path) -> None:
    """The real script, on configuration files as hosts have them."""

    class Elsewhere(LocalShell):
        async def run(
            self, command: str, timeout_s: float = 10.0, input: str | None = None
        ) -> CommandResult:
            assert input is not None
            return await super().run(
                command, timeout_s, input.replace("/etc/libvirt/", f"{tmp_path}/")
            )

    assert await unverified(Elsewhere()) == ()
    qemu, daemon = tmp_path / "qemu.conf", tmp_path / "libvirtd.conf"
    qemu.write_text("#migrate_tls_x509_verify = 0\ndefault_tls_x509_verify = 1\n")
    daemon.write_text("tls_no_verify_certificate = 0\n")
    assert await unverified(Elsewhere()) == ()
    qemu.write_text("default_tls_x509_verify=0\n")
    assert await unverified(Elsewhere()) == (
        ("/etc/libvirt/qemu.conf", "default_tls_x509_verify = 0"),
    )
    qemu.write_text("default_tls_x509_verify = 0\nmigrate_tls_x509_verify = 1\n")
    daemon.write_text("  tls_no_verify_certificate =1\n")
    assert await unverified(Elsewhere()) == (
        ("/etc/libvirt/libvirtd.conf", "tls_no_verify_certificate = 1"),
    )
    qemu.write_text("migrate_tls_x509_verify = 0\n")
    assert len(await unverified(Elsewhere())) == 2


# -- passwords -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        f"qemu+tcp://user:{SECRET}@kvm-a/system",
        f"qemu+tcp://user:p@{SECRET}@kvm-a/system",
        f"qemu+tls://kvm-a/system?password={SECRET}",
        f"qemu+tls://kvm-a/system?pkipath=/x;Password={SECRET}",
        f"qemu+libssh2://kvm-a/system?passphrase={SECRET}",
        f"qemu+tcp://user:a/{SECRET}@kvm-a/system",
        f"QEMU+tcp://user:{SECRET}@kvm-a/system",
        f"qemu+tcp://user:{SECRET}@kvm-a:port/system",
    ],
)
def test_a_password_in_a_uri_is_refused_and_not_repeated(uri: str) -> None:
    for refuse in (
        lambda: split_uri(uri, "here"),
        lambda: config.from_uris((uri,)),
        lambda: config.parse(f'[hosts.a]\nuri = "{uri}"\n', Path("/f.toml")),
        lambda: config.parse(f'[hosts.a]\nssh="a"\nmigrate_uri = "{uri}"\n', Path("/f.toml")),
    ):
        with pytest.raises(BadInput) as caught:
            refuse()
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value)


def test_a_password_that_a_host_tells_is_masked() -> None:
    said = f"cannot open https://user:{SECRET}@mirror/x.img?token={SECRET}: 404"
    for text in (
        plain(said),
        str(from_libvirt("kvm-a", "start it", 1, said)),
        str(HypervisorError(said, f"See rbd://u:{SECRET}@ceph.")),
    ):
        assert SECRET not in text
        assert "mirror" in text


def test_documents_with_passwords_are_in_no_representation() -> None:
    xml = f"<domain><graphics passwd='{SECRET}'/></domain>"
    order = MigrationOrder("u", "db", "qemu+tls://b/system", dest_xml=xml, persist_xml=xml)
    assert SECRET not in repr(order)
    assert "qemu+tls" in repr(order)
