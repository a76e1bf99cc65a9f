"""Host keys, checked strictly: by the host's name as OpenSSH does, never learned, never skipped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh


class StrictClient(asyncssh.SSHClient):
    """Refuses every key that is not known, and remembers it for the sentence."""

    def __init__(self, lost: Callable[[Exception | None], None]) -> None:
        self.known_hosts: Any = b""
        self.refused = ""
        """Type and fingerprint of the key that was offered and refused."""
        self.another_known = False
        """The host has another key in known_hosts."""
        self._lost = lost

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """No: asyncssh asks this of a key that is not known."""
        self.refused = fingerprint(key)
        known = asyncssh.match_known_hosts(
            self.known_hosts, host, addr, port if port != 22 else None
        )
        self.another_known = bool(known[0])
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell it on."""
        self._lost(exc)


def fingerprint(key: asyncssh.SSHKey) -> str:
    """`ssh-ed25519 SHA256:...`."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def require_checked(options: asyncssh.SSHClientConnectionOptions) -> None:
    """asyncssh takes `UserKnownHostsFile none` as leave to check nothing. Raises ValueError."""
    if options.known_hosts is None:
        raise ValueError("UserKnownHostsFile is none: then no host key could be trusted")


def known_by_name(options: asyncssh.SSHClientConnectionOptions) -> None:
    """Have keys looked up by the host's name (or HostKeyAlias) alone.

    asyncssh takes those of the address too: whoever has the key of one known host, and our DNS,
    could pass for any other.
    """
    files = options.known_hosts or _default_known_hosts()

    def known(host: str, _addr: str, port: int | None) -> Any:
        return asyncssh.match_known_hosts(files, host, "", port)

    options.known_hosts = known
    # Else it is read anew once a name is canonical, and might then be none.
    options.kwargs["known_hosts"] = known


def _default_known_hosts() -> str | bytes:
    path = Path("~/.ssh/known_hosts").expanduser()
    return str(path) if path.is_file() else b""
