"""The fleet file: what is taken, and that every mistake is a sentence naming file and key."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.fleet import config

PATH = Path("/etc/fleet.toml")


def parse(text: str) -> config.FleetSettings:
    return config.parse(text, PATH)


def test_a_host_by_ssh_has_sensible_defaults() -> None:
    fleet = parse('name = "rack"\n[hosts.kvm-a]\nssh = "kvm-a"\n')
    assert fleet.name == "rack"
    assert fleet.hosts == (
        config.HostSettings("kvm-a", "qemu+tls://kvm-a/system", ssh="kvm-a", tls=True),
    )


def test_paths_are_relative_to_the_fleet_file() -> None:
    fleet = parse('ssh_config = "ssh_config"\n[hosts.a]\nssh = "a"\n')
    assert fleet.hosts[0].ssh_config == "/etc/ssh_config"


def test_hosts_keep_the_order_of_the_file() -> None:
    text = "".join(f'[hosts.{name}]\nssh = "{name}"\n' for name in ("z", "a", "m"))
    assert [host.name for host in parse(text).hosts] == ["z", "a", "m"]


def test_a_qemu_ssh_uri_becomes_our_own_ssh() -> None:
    fleet = config.from_uris(("qemu+ssh://root@kvm-a/system", "qemu+tls://kvm-b/system"))
    assert [(host.name, host.ssh, host.uri) for host in fleet.hosts] == [
        ("kvm-a", "root@kvm-a", None),
        ("kvm-b", None, "qemu+tls://kvm-b/system"),
    ]


def test_uris_of_one_host_get_different_names() -> None:
    fleet = config.from_uris(("test:///default", "test:///default"))
    assert [host.name for host in fleet.hosts] == ["test", "test-2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no hosts"),
        ("[hosts]\n", "names no hosts"),
        ("hosts = 3\n", "names no hosts"),
        ("[hosts.a\n", "line 1"),
        ('[hosts.a]\nssh = "a"\nsssh = "b"\n', "unknown key hosts.a.sssh"),
        ('port = 3\n[hosts.a]\nssh = "a"\n', "unknown key port"),
        ("[hosts.a]\n", "either ssh or uri"),
        ('[hosts.a]\nssh = "a"\nuri = "qemu:///system"\n', "either ssh or uri"),
        ('[hosts.a]\nssh = ""\n', "hosts.a.ssh must be a non-empty string"),
        ("[hosts.a]\nssh = 3\n", "hosts.a.ssh must be a non-empty string"),
        ('[hosts.a]\nssh = "-oProxyCommand=x"\n', "not a host to give to ssh"),
        ('[hosts.a]\nssh = "a"\ntls = "maybe"\n', "hosts.a.tls is 'maybe'"),
        ('[hosts.a]\nuri = "kvm-a"\n', "is not a libvirt URI"),
        ('[hosts.a]\nuri = "xen:///system"\n', "libvirt's driver 'xen'"),
        ('[hosts.a]\nssh = "a"\nmigrate_uri = "nonsense"\n', "is not a libvirt URI"),
        ('[hosts."a b"]\nssh = "a"\n', "is not a host name"),
        ('[hosts."[red]"]\nssh = "a"\n', "is not a host name"),
        ('name = "x\\u001b[2J"\n[hosts.a]\nssh = "a"\n', "name must be a non-empty string"),
    ],
)
def test_each_mistake_is_a_sentence(text: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert says in caught.value.sentence
    assert str(PATH) in caught.value.sentence
    assert "\x1b" not in str(caught.value)


def test_a_fleet_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('[hosts.a]\nssh = "a"\n')
    path.chmod(0o666)
    with pytest.raises(BadInput, match="can be written by other users"):
        config.load(path)
    path.chmod(0o600)
    assert config.load(path).hosts[0].name == "a"


def test_a_missing_file_and_a_directory_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no fleet file"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(BadInput, match="is not a file"):
        config.load(tmp_path)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(BadInput):
        parse(text)


@given(st.text())
def test_no_uri_raises_anything_else(uri: str) -> None:
    with suppress(BadInput):
        assert config.from_uris((uri,)).hosts
