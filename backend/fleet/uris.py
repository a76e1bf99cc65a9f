"""libvirt URIs as an operator writes them: what is refused, and whether others could read along."""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from backend.errors import BadInput, without_passwords

_SCHEME = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9]+)?")
_DRIVERS = ("qemu", "test")
"""`test` is libvirt's own, for trying this program without a host."""
_SECRET = re.compile(r"(pass|passwd|password|passphrase|secret|token)", re.IGNORECASE)
_LOGIN = re.compile(r"://[^@]*:.*@")
_NO_CIPHER = re.compile(r"NULL|ANON", re.IGNORECASE)


def split_uri(uri: str, where: str) -> SplitResult:
    """Its parts; `where` begins the sentence of a refusal, in which no password is repeated.

    Raises:
        BadInput: It is no libvirt URI, or has a password in it.
    """
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    shown = repr(without_passwords(_LOGIN.sub("://***@", uri)))
    if not _SCHEME.fullmatch(parts.scheme) or "://" not in uri or not uri.isprintable():
        raise BadInput(
            f"{where}: {shown} is not a libvirt URI.",
            "E.g. qemu:///system, qemu+ssh://host/system, qemu+tls://host/system.",
        )
    driver = parts.scheme.partition("+")[0]
    if driver not in _DRIVERS:
        raise BadInput(
            f"{where}: {shown} is for libvirt's driver {driver!r}, and VMs are moved with QEMU.",
            "E.g. qemu:///system, qemu+ssh://host/system, qemu+tls://host/system.",
        )
    if parts.password is not None or any(_SECRET.fullmatch(name) for name, _ in _settings(parts)):
        raise BadInput(
            f"{where}: {shown} has a password in it: logs, plans and process lists would show it.",
            "Use SSH keys or certificates (libvirt.org/auth).",
        )
    return parts


def exposed(uri: str) -> str:
    """Why what goes over a libvirt URI can be read or changed by others on the way, as what
    follows the URI in a sentence; empty where that cannot happen.
    """
    parts = urlsplit(uri)
    transport = parts.scheme.partition("+")[2] or ("tls" if parts.netloc else "unix")
    settings = {name.lower(): value.strip().lower() for name, value in _settings(parts)}
    if transport == "tcp":
        return "is not encrypted"
    if transport == "ext":
        return "leaves the encryption to a program that is not known here"
    if settings.get("no_verify", "0") not in ("", "0"):
        return "does not check who answers (no_verify)"
    if settings.get("known_hosts_verify", "normal") in ("auto", "ignore"):
        return "does not check who answers (known_hosts_verify)"
    if transport == "tls" and _NO_CIPHER.search(settings.get("tls_priority", "")):
        return "allows TLS without encryption or without a check of who answers (tls_priority)"
    return ""


def _settings(parts: SplitResult) -> list[tuple[str, str]]:
    """What follows the `?`; libvirt takes `;` between two like `&`."""
    return parse_qsl(parts.query.replace(";", "&"), keep_blank_values=True)
