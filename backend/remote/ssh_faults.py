"""What an SSH connection that was not made has met with."""

import errno
import socket

import asyncssh

from backend.errors import SshFault, plain

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def classify(error: Exception, fingerprint: str = "") -> tuple[SshFault, str]:
    """What went wrong before a host answered, and what to say of it."""
    said = plain(str(error))
    match error:
        case asyncssh.HostKeyNotVerifiable() if "revoked" in said:
            return SshFault.REVOKED_KEY, fingerprint
        case asyncssh.HostKeyNotVerifiable():
            return SshFault.UNKNOWN_KEY, fingerprint or said
        case asyncssh.KeyExchangeFailed() if "host key" in said.lower():
            return SshFault.CHANGED_KEY, "a key of another type"
        case asyncssh.PermissionDenied():
            return SshFault.AUTH_REFUSED, said
        case asyncssh.ConfigParseError() | asyncssh.KeyImportError():
            return SshFault.BAD_CONFIG, said
        case socket.gaierror():
            return SshFault.NO_SUCH_NAME, error.strerror or said
        case ConnectionRefusedError():
            return SshFault.REFUSED, ""
        case FileNotFoundError() | PermissionError():
            return SshFault.BAD_CONFIG, f"{error.filename}: {error.strerror}"
        case ValueError():
            return SshFault.BAD_CONFIG, said
        case OSError() if error.errno in _UNREACHABLE:
            return SshFault.NO_ROUTE, ""
        case OSError() if error.errno == errno.ETIMEDOUT:
            return SshFault.TIMED_OUT, ""
    return SshFault.OTHER, said or type(error).__name__
