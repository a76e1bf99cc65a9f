"""Foreign errors become one sentence with the host, and a remedy; nothing hostile in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import (
    HostUnreachable,
    HypervisorError,
    SshFault,
    VmGone,
    from_libvirt,
    from_ssh,
    plain,
)


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        (38, "Unable to resolve address 'b' service '16514': Temporary failure in name resolution",
         "resolve"),
        (38, "unable to connect to server at 'kvm-b:16514': Connection refused", "listener"),
        (91, "the CPU is incompatible with host CPU: missing features: vmx", "CPU"),
        (81, "Unsafe migration: Migration without shared storage is unsafe", "shared storage"),
        (68, "Timed out during operation: cannot acquire state change lock (held by "
             "monitor=remoteDispatchDomainMigratePerform3Params)", "Another job"),
        (9, "operation failed: domain 'db-1' already exists with uuid x", "both hosts"),
        (1, "internal error: Attempt to migrate guest to the same host a08", "host_uuid"),
        (38, "Cannot get interface MTU on 'br-x': No such device", "bridge"),
        (42, "Domain not found: no domain with matching uuid", ""),
        (78, "operation aborted: job 'migration out' canceled by client", ""),
        (1, "internal error: client socket is closed", "link"),
        (9, "The server certificate owner does not match the hostname b", "certificate carries"),
        (55, "Requested operation is not valid: domain is not running", "stopped or moved"),
    ],
)  # fmt: skip
def test_libvirts_errors_get_a_remedy(code: int, message: str, remedy: str) -> None:
    error = from_libvirt("kvm-a", "migrate db-1", code, message)
    assert isinstance(error, HypervisorError)
    assert "kvm-a" in error.sentence
    assert "migrate db-1" in error.sentence
    assert error.code == code
    assert (remedy in error.remedy) if remedy else (error.remedy == "")


def test_a_vm_that_is_not_there() -> None:
    error = from_libvirt("kvm-a", "read its XML", 42, "Domain not found")
    assert isinstance(error, VmGone)
    assert error.exit_code == 1


def test_a_dead_connection_says_nothing_of_the_vm() -> None:
    error = from_libvirt("kvm-a", "migrate db-1", 38, "End of file while", connected=False)
    assert isinstance(error, HostUnreachable)
    assert "may or may not have happened" in error.remedy
    assert error.exit_code == 3


def test_a_forward_that_is_gone_says_nothing_of_libvirt() -> None:
    message = "Failed to connect socket to '/tmp/virt-ferry-x1/kvm-b.sock': Connection refused"
    error = from_libvirt("kvm-b", "", 38, message, opening=True)
    assert type(error) is HostUnreachable
    assert "SSH" in error.remedy
    assert "systemctl" not in error.remedy


def test_a_daemon_that_is_not_there() -> None:
    message = "Failed to connect socket to '/run/libvirt/libvirt-sock': No such file or directory"
    error = from_libvirt("kvm-a", "", 38, message, opening=True)
    assert isinstance(error, HostUnreachable)
    assert "Start libvirt" in error.remedy


@pytest.mark.parametrize("fault", SshFault)
def test_every_ssh_fault_is_a_sentence_with_a_remedy(fault: SshFault) -> None:
    for detail in ("", "SHA256:abc"):
        error = from_ssh("kvm-a", fault, detail)
        assert "kvm-a" in error.sentence
        assert error.sentence.endswith(".")
        assert detail in error.sentence
        assert error.remedy
        assert "{" not in error.sentence + error.remedy


def test_an_unknown_key_is_shown_and_nothing_was_sent() -> None:
    sentence = from_ssh("kvm-a", SshFault.UNKNOWN_KEY, "ssh-ed25519 SHA256:abc").sentence
    assert "ssh-ed25519 SHA256:abc" in sentence
    assert "nothing was sent" in sentence


@given(st.text(), st.integers(-5, 200), st.text(max_size=40))
def test_no_message_breaks_it_or_brings_control_characters(
    message: str, code: int, what: str
) -> None:
    for error in (
        from_libvirt("kvm-a", what, code, message),
        from_libvirt("kvm-a", what, code, message, opening=True),
        from_libvirt("kvm-a", what, code, message, connected=False),
        from_ssh("kvm-a", SshFault.OTHER, message),
    ):
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in error.sentence)
        assert "\u202e" not in error.sentence
        assert len(error.sentence) < 1000


def test_long_text_is_cut() -> None:
    assert plain("a" * 500, 10) == "a" * 9 + "…"
    assert plain("a\x1b[2J\n\tb") == "a [2J b"
