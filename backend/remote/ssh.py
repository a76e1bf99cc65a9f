"""SSH: one connection per host for commands, the facts stream and libvirt's socket.

Host keys are checked strictly and nothing is ever asked on a terminal: a key that is not known
is an error that shows its fingerprint, and nothing but the key exchange has been sent.
"""

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.constants import OPEN_CONNECT_FAILED

from backend.errors import (
    BadDocument,
    BadInput,
    DaemonStopped,
    HostUnreachable,
    SshFault,
    from_ssh,
    plain,
)
from backend.remote.host_keys import StrictClient, fingerprint, known_by_name, require_checked
from backend.remote.shell import OUTPUT_LIMIT_BYTES, CommandResult, result, timed_out
from backend.remote.ssh_faults import classify

KEEPALIVE_S = 2
KEEPALIVE_COUNT = 3
"""A cut link shows within 8 s."""
SOCKET_PATH_LIMIT = 107
"""Bytes of a UNIX socket's path, without the closing zero."""
LINE_LIMIT_BYTES = 64 * 1024
_ADDRESS = re.compile(r"(?:([^@]*)@)?(.*?)(?::(\d{1,5}))?", re.DOTALL)


class SshHost:
    """One SSH connection, by the alias an OpenSSH configuration gives the host."""

    def __init__(
        self,
        alias: str,
        config_path: str | None = None,
        agent_path: str | None = None,
        via: asyncssh.SSHClientConnection | None = None,
    ) -> None:
        """Without paths: the user's own config; the agent of the config or the environment. `via`:
        the jump host it is reached over, in place of those of the config."""
        self.alias = alias
        self._host, self._login = _address(alias)
        self.on_lost: Callable[[str], None] | None = None
        """Called once, with a reason, when an open connection is lost (not when closed here)."""
        self._config_path = config_path
        self._agent_path = agent_path
        self._via = via
        self._conn: asyncssh.SSHClientConnection | None = None
        self._listeners: list[asyncssh.SSHListener] = []
        self._closing = False

    @property
    def name(self) -> str:
        """The host, for sentences."""
        return self.alias

    @property
    def alive(self) -> bool:
        """Connected, as far as is known."""
        return self._conn is not None and not self._conn.is_closed()

    async def connect(self, timeout_s: float = 10.0) -> None:
        """Connect and log in.

        Raises:
            HostUnreachable: With the reason and a remedy; nothing secret was sent.
        """
        client = StrictClient(self._on_lost)
        try:
            async with asyncio.timeout(timeout_s):
                options = await self._options()
                client.known_hosts = options.known_hosts
                self._conn = await self._open(options, client, timeout_s)
        except TimeoutError:
            raise from_ssh(self.alias, SshFault.TIMED_OUT, f"{timeout_s:g} s") from None
        except (asyncssh.Error, OSError, ValueError) as error:
            fault, detail = classify(error, client.refused)
            if fault is SshFault.UNKNOWN_KEY and client.another_known:
                fault = SshFault.CHANGED_KEY
            if isinstance(error, asyncssh.KeyExchangeFailed) and fault is SshFault.CHANGED_KEY:
                detail = f"{detail}: {await self._offered_key(timeout_s)}"
            raise from_ssh(self.alias, fault, detail) from None

    def another(self) -> "SshHost":
        """A connection of its own to the same host, not connected yet.

        sshd allows ten sessions on one (MaxSessions), and bulk data would hold up libvirt's calls.
        """
        return SshHost(self.alias, self._config_path, self._agent_path)

    @property
    def connection(self) -> asyncssh.SSHClientConnection:
        """For this room alone. Raises HostUnreachable when it is lost."""
        return self._connected()

    async def run(
        self, command: str, timeout_s: float = 10.0, input: str | None = None
    ) -> CommandResult:
        """Run a command under the login shell; its output is bounded.

        Raises:
            CallTimedOut: It did not end in time. It may go on there.
            HostUnreachable: The connection is lost.
            BadDocument: It printed more than the limit.
        """
        conn = self._connected()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._run(conn, command, input)
        except TimeoutError:
            raise timed_out(self.alias, timeout_s) from None
        except (asyncssh.Error, OSError) as error:
            raise from_ssh(self.alias, SshFault.LOST, str(error)) from None

    async def stream(self, command: str, input: str | None = None) -> AsyncIterator[str]:
        """The lines a command prints, as they come, until it ends. Closing ends the command.

        Raises:
            HostUnreachable: The connection is lost.
            BadDocument: A line is longer than 64 KiB.
        """
        conn = self._connected()
        try:
            process = await conn.create_process(command, encoding=None)
        except (asyncssh.Error, OSError) as error:
            raise from_ssh(self.alias, SshFault.LOST, str(error)) from None
        try:
            if input is not None:
                process.stdin.write(input.encode())
                process.stdin.write_eof()
            async for line in _lines(self.alias, process.stdout):
                yield line
            if conn.is_closed():
                raise from_ssh(self.alias, SshFault.LOST)
        except (asyncssh.Error, OSError) as error:
            raise from_ssh(self.alias, SshFault.LOST, str(error)) from None
        finally:
            process.close()

    async def forward_libvirt(
        self, local_path: str, remote_path: str = "/run/libvirt/libvirt-sock"
    ) -> None:
        """Make the host's libvirt socket appear at `local_path`, mode 0600 in a 0700 directory.

        Raises:
            BadInput: The path is too long for a socket, or the directory is not ours alone.
            HostUnreachable: Nothing listens at `remote_path`, or the connection is lost.
        """
        _make_way(local_path)
        conn = self._connected()
        await self._try_socket(conn, remote_path)
        try:
            listener = await conn.forward_local_path(local_path, remote_path)
        except (asyncssh.Error, OSError) as error:
            raise from_ssh(self.alias, SshFault.OTHER, str(error)) from None
        os.chmod(local_path, 0o600)
        self._listeners.append(listener)

    async def try_libvirt(self, remote_path: str = "/run/libvirt/libvirt-sock") -> None:
        """Whether something listens there still: through a forward it would be an end of file.

        Raises:
            HostUnreachable: Nothing does (then a DaemonStopped), or the connection is lost.
        """
        await self._try_socket(self._connected(), remote_path)

    async def close(self, timeout_s: float = 2.0) -> None:
        """Close forwards and connection; libvirt lanes over them must be closed before."""
        self._closing = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        conn, self._conn = self._conn, None
        if conn is None:
            return
        conn.close()
        try:
            async with asyncio.timeout(timeout_s):
                await conn.wait_closed()
        except (TimeoutError, asyncssh.Error, OSError):
            conn.abort()

    # -- inside --------------------------------------------------------------------------------

    async def _open(
        self, options: asyncssh.SSHClientConnectionOptions, client: StrictClient, timeout_s: float
    ) -> asyncssh.SSHClientConnection:
        via = self._via or await self._over_jumps(options, timeout_s)
        try:
            conn = await asyncssh.connect(
                self._host,
                options=options,
                config=self._config(),
                client_factory=lambda: client,
                tunnel=via,
            )
        except BaseException:
            if via is not None:
                via.close()
            raise
        conn.set_tunnel(via)  # it ends with this one
        return conn

    async def _over_jumps(
        self, options: asyncssh.SSHClientConnectionOptions, timeout_s: float
    ) -> asyncssh.SSHClientConnection | None:
        """The last of the hosts to jump over, each as strictly known as any other. asyncssh would
        open them by itself, without our agent, and could not tell which key it has refused."""
        via: asyncssh.SSHClientConnection | None = None
        for alias in _jumps(options):
            jump = SshHost(alias, self._config_path, self._agent_path, via)
            try:
                await jump.connect(timeout_s)
            except HostUnreachable as error:
                way = f"{error.sentence} It is a jump host on the way to {self.alias}."
                raise HostUnreachable(way, error.remedy) from None
            via = jump.connection
        return via

    def _config(self) -> Any:
        return [self._config_path] if self._config_path is not None else ()

    async def _options(self) -> asyncssh.SSHClientConnectionOptions:
        agent: dict[str, Any] = {"agent_path": self._agent_path} if self._agent_path else {}
        options: asyncssh.SSHClientConnectionOptions
        options = await asyncssh.SSHClientConnectionOptions.construct(
            host=self._host,
            config=self._config(),
            **self._login,
            password=None,
            preferred_auth="gssapi-with-mic,hostbased,publickey",
            # Whatever the configuration says: a host has no use for our agent, and is known by its
            # key (Kerberos could vouch for it in place of that).
            agent_forwarding=False,
            gss_kex=False,
            gss_delegate_creds=False,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVE_COUNT,
            **agent,
        )
        require_checked(options)
        for jump in () if self._via is not None else _jumps(options):
            host, login = _address(jump)
            require_checked(
                await asyncssh.SSHClientConnectionOptions.construct(
                    host=host, config=self._config(), **login
                )
            )
        known_by_name(options)
        return options

    async def _offered_key(self, timeout_s: float) -> str:
        """Type and fingerprint of the key that the host has in place of the known one; nothing is
        sent but the key exchange."""
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError, ValueError):
            async with asyncio.timeout(timeout_s):
                key = await asyncssh.get_server_host_key(
                    self._host, options=await self._options(), config=self._config()
                )
                return fingerprint(key) if key is not None else ""
        return "its fingerprint could not be had"

    def _connected(self) -> asyncssh.SSHClientConnection:
        if self._conn is None or self._conn.is_closed():
            raise from_ssh(self.alias, SshFault.LOST)
        return self._conn

    async def _run(
        self, conn: asyncssh.SSHClientConnection, command: str, input: str | None
    ) -> CommandResult:
        process = await conn.create_process(command, encoding=None)
        try:
            # One that ends at once has closed its input; what it said still counts.
            with contextlib.suppress(BrokenPipeError):
                if input is not None:
                    process.stdin.write(input.encode())
                process.stdin.write_eof()
            out, err = await asyncio.gather(_read(process.stdout), _read(process.stderr))
            if len(out) <= OUTPUT_LIMIT_BYTES and len(err) <= OUTPUT_LIMIT_BYTES:
                await process.wait_closed()
            if conn.is_closed():
                raise asyncssh.ConnectionLost("while a command ran")
            return result(self.alias, process.exit_status, out, err)
        finally:
            process.close()

    async def _try_socket(self, conn: asyncssh.SSHClientConnection, path: str) -> None:
        """Fail here, in words, rather than later as an end of file inside libvirt."""
        try:
            async with asyncio.timeout(5.0):
                _reader, writer = await conn.open_unix_connection(path)
                writer.close()
        except TimeoutError:
            raise from_ssh(self.alias, SshFault.TIMED_OUT, path) from None
        except asyncssh.ChannelOpenError as error:
            nobody = error.code == OPEN_CONNECT_FAILED
            kind = DaemonStopped if nobody else HostUnreachable
            raise kind(
                f"{self.alias}: nothing answers at libvirt's socket {path} "
                f"({plain(error.reason)}).",
                "Start libvirt there (`systemctl start libvirtd`), log in as a user who may use "
                "it, and let sshd forward sockets (AllowStreamLocalForwarding).",
            ) from None
        except (asyncssh.Error, OSError) as error:
            raise from_ssh(self.alias, SshFault.LOST, str(error)) from None

    def _on_lost(self, error: Exception | None) -> None:
        if self._closing or self._conn is None:
            return
        if self.on_lost is not None:
            self.on_lost(plain(str(error)) if error else "the host closed it")


def _jumps(options: asyncssh.SSHClientConnectionOptions) -> tuple[str, ...]:
    """The hosts to jump over, the nearest first."""
    jumps = options.tunnel.split(",") if isinstance(options.tunnel, str) else []
    return tuple(jump for jump in jumps if jump and jump.lower() != "none")


def _address(alias: str) -> tuple[str, dict[str, Any]]:
    """The host of `[user@]host[:port]`, and the rest; what is left out the configuration says."""
    match = _ADDRESS.fullmatch(alias)
    if match is None:
        return alias, {}
    user, host, port = match.groups()
    login: dict[str, Any] = {"username": user} if user else {}
    return host, login | ({"port": int(port)} if port else {})


async def _read(reader: asyncssh.SSHReader[bytes]) -> bytes:
    """All of it, or just more than the limit."""
    chunks: list[bytes] = []
    size = 0
    while size <= OUTPUT_LIMIT_BYTES and (chunk := await reader.read(65536)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


async def _lines(host: str, reader: asyncssh.SSHReader[bytes]) -> AsyncIterator[str]:
    rest = b""
    while chunk := await reader.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_LIMIT_BYTES:
            raise BadDocument(f"A command on {host} printed a line of more than 64 KiB.")
        for line in lines:
            yield line.decode("utf-8", "replace")


def _make_way(local_path: str) -> None:
    """The socket gives whoever opens it the run of the host: its directory must be ours alone."""
    if len(os.fsencode(local_path)) > SOCKET_PATH_LIMIT:
        raise BadInput(
            f"The path {local_path} is too long for a socket ({SOCKET_PATH_LIMIT} bytes at most).",
            "Use a shorter state directory or host name.",
        )
    directory = Path(local_path).parent
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    found = directory.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise BadInput(
            f"The directory {directory} is open to other users.", f"Run: chmod 700 {directory}"
        )
    Path(local_path).unlink(missing_ok=True)
