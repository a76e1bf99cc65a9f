"""Strict host keys, against a real SSH server on the loopback: nobody logs in before the key is
known, and the sentence shows the fingerprint that was refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from backend.errors import HostUnreachable
from backend.remote.ssh import SshHost

USER = "operator"


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but a test's own."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


class Seen:
    """What the server was told by its clients."""

    def __init__(self) -> None:
        self.connections = 0
        self.logins: list[str] = []


class Door(asyncssh.SSHServer):
    """Lets our key in; remembers every attempt at a login."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._seen.connections += 1

    def begin_auth(self, username: str) -> bool:
        self._seen.logins.append(username)
        return True

    def connection_requested(self, *_: object) -> bool:
        return True  # to jump over


@asynccontextmanager
async def serving(
    tmp_path: Path, seen: Seen, *keys: asyncssh.SSHKey
) -> AsyncIterator[tuple[int, Path]]:
    """A server with these host keys: its port, and the home directory of its client."""
    ours = asyncssh.generate_private_key("ssh-ed25519")
    ours.write_private_key(tmp_path / "id")
    ours.write_public_key(tmp_path / "authorized")
    server = await asyncssh.create_server(
        lambda: Door(seen),
        "127.0.0.1",
        0,
        server_host_keys=list(keys),
        authorized_client_keys=str(tmp_path / "authorized"),
        process_factory=_told,
    )
    try:
        yield server.get_port(), tmp_path
    finally:
        server.close()
        await server.wait_closed()


def _told(process: "asyncssh.SSHServerProcess[str]") -> None:
    process.stdout.write(f"agent {process.channel.get_agent_path()}\n")
    process.exit(0)


async def _no_keys(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An agent that has none."""
    while size := await reader.read(4):
        await reader.readexactly(int.from_bytes(size, "big"))
        writer.write(b"\0\0\0\5\x0c\0\0\0\0")


def client(home: Path, port: int, known: str, *more: str) -> SshHost:
    """Of the operator, whose known_hosts has these lines."""
    (home / "known_hosts").write_text(known)
    (home / "ssh_config").write_text(
        "\n".join(
            [
                *more,
                "Host *",
                "  HostName 127.0.0.1",
                f"  Port {port}",
                f"  User {USER}",
                f"  IdentityFile {home}/id",
                f"  UserKnownHostsFile {home}/known_hosts",
            ]
        )
    )
    return SshHost("kvm-a", str(home / "ssh_config"))


def line(port: int, key: asyncssh.SSHKey, mark: str = "") -> str:
    public = key.export_public_key().decode().strip()
    return f"{mark} [127.0.0.1]:{port} {public}\n".lstrip()


async def refusal(host: SshHost) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as caught:
        await host.connect()
    assert not host.alive
    return caught.value


ED25519 = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")
ECDSA = asyncssh.generate_private_key("ecdsa-sha2-nistp256")


JUMP = ("Host kvm-a", "  ProxyJump gate", "Host gate", "  HostKeyAlias gate")
"""Both are the same server; the second is known by a name of its own."""


async def test_a_known_key_lets_us_log_in(tmp_path: Path) -> None:
    """Without this the tests below could not fail."""
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        host = client(home, port, line(port, ED25519))
        await host.connect()
        assert seen.logins == [USER]
        await host.close()


@pytest.mark.parametrize(
    "lax", ["", "StrictHostKeyChecking no", "StrictHostKeyChecking accept-new"]
)
async def test_an_unknown_key_is_shown_and_nothing_is_sent(tmp_path: Path, lax: str) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        error = await refusal(client(home, port, "", lax))
        assert ED25519.get_fingerprint() in error.sentence
        assert error.sentence.startswith("kvm-a offered a host key that is not known")
        assert "nothing was sent" in error.sentence
        assert (home / "known_hosts").read_text() == ""
    assert (seen.connections, seen.logins) == (1, [])


async def test_a_changed_key_is_shown_and_nothing_is_sent(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        error = await refusal(client(home, port, line(port, OTHER)))
        assert ED25519.get_fingerprint() in error.sentence
        assert "another host key than the known one" in error.sentence
        assert "ssh-keygen -R" in error.remedy
    assert seen.logins == []


async def test_a_key_of_another_type_is_a_changed_one(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        error = await refusal(client(home, port, line(port, ECDSA)))
        assert "another host key than the known one" in error.sentence
        assert ED25519.get_fingerprint() in error.sentence
    assert seen.logins == []


async def test_a_second_key_of_a_known_host_does_no_harm(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519, ECDSA) as (port, home):
        host = client(home, port, line(port, ECDSA))
        await host.connect()
        await host.close()
    assert seen.logins == [USER]


async def test_a_revoked_key_is_refused(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        known = line(port, ED25519) + line(port, ED25519, "@revoked")
        error = await refusal(client(home, port, known))
        assert "revoked" in error.sentence
    assert seen.logins == []


@pytest.mark.parametrize(
    "more",
    [
        ("Host kvm-a", "  UserKnownHostsFile none"),
        ("Host kvm-a", "  ProxyJump gate", "Host gate", "  UserKnownHostsFile none"),
    ],
)
async def test_to_check_no_key_at_all_is_refused(tmp_path: Path, more: tuple[str, ...]) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        error = await refusal(client(home, port, line(port, ED25519), *more))
        assert "UserKnownHostsFile is none" in error.sentence
    assert seen.connections == 0


async def test_an_unknown_key_of_a_jump_host_is_refused_too(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        error = await refusal(client(home, port, "", *JUMP))
        assert error.sentence.startswith("gate offered a host key that is not known")
        assert ED25519.get_fingerprint() in error.sentence
        assert "a jump host on the way to kvm-a" in error.sentence
        assert "`ssh gate`" in error.remedy
    assert seen.logins == []


async def test_a_changed_key_of_a_jump_host_is_told_with_its_fingerprint(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        for known in (OTHER, ECDSA):
            line_of_gate = line(port, known).replace("127.0.0.1", "gate")
            error = await refusal(client(home, port, line_of_gate, *JUMP))
            assert error.sentence.startswith("gate offered another host key than the known one")
            assert ED25519.get_fingerprint() in error.sentence
    assert seen.logins == []


async def test_behind_a_jump_host_the_host_itself_is_checked_too(tmp_path: Path) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        gate = line(port, ED25519).replace("127.0.0.1", "gate")
        alone = ("Host kvm-a", "  HostKeyAlias kvm-a", *JUMP)
        error = await refusal(client(home, port, gate, *alone))
        assert error.sentence.startswith("kvm-a offered a host key that is not known")
        assert ED25519.get_fingerprint() in error.sentence
        assert seen.logins == [USER]
        both = gate + line(port, ED25519).replace("127.0.0.1", "kvm-a")
        host = client(home, port, both, *alone)
        await host.connect()
        assert seen.logins == [USER] * 3
        assert (await host.run("anything")).exit_status == 0
        await host.close()
        assert seen.connections == 4


async def test_a_jump_host_is_logged_in_to_with_the_agent_that_was_given(tmp_path: Path) -> None:
    """The newest client's, not the one of whoever began the engine."""
    seen, asked = Seen(), asyncio.Event()

    async def agent_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await _no_keys(reader, writer)

    async with serving(tmp_path, seen, ED25519) as (port, home):
        agent = await asyncio.start_unix_server(agent_of, str(home / "agent"))
        gate = line(port, ED25519).replace("127.0.0.1", "gate")
        config = client(home, port, gate, *JUMP)._config_path
        await refusal(SshHost("kvm-a", config, str(home / "agent")))
        assert asked.is_set()
        agent.close()


async def test_a_key_known_for_another_name_of_that_address_does_not_count(tmp_path: Path) -> None:
    """As OpenSSH has it: else one host's key and our DNS were enough to pass for any host."""
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        alias = ("Host kvm-a", "  HostKeyAlias kvm-a")
        error = await refusal(client(home, port, line(port, ED25519), *alias))
        assert "not known" in error.sentence
        assert seen.logins == []
        known = line(port, ED25519).replace("127.0.0.1", "kvm-a")
        host = client(home, port, known, *alias)
        await host.connect()
        await host.close()


async def test_our_agent_is_never_lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    async with serving(tmp_path, seen, ED25519) as (port, home):
        agent = await asyncio.start_unix_server(_no_keys, str(home / "agent"))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        lent = ("Host kvm-a", "  ForwardAgent yes")
        host = client(home, port, line(port, ED25519), *lent)
        await host.connect()
        done = await host.run("anything")
        assert done.stdout == "agent None\n"
        await host.close()
        agent.close()
