"""One exception tree. Every error an operator can meet is a sentence with a remedy.

`FerryError.sentence` says what failed, on which host, and what is true now; `remedy` what to
do; `exit_code` what the command line ends with (design.md section 4). `from_libvirt` and
`from_ssh` turn foreign errors into such sentences: pure, and the tables are data.
"""

# ruff: noqa: N818 - the names say what is so; all of them are errors.

import re
import shlex
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

_PASSWORD = re.compile(r"(://[^/@\s:]*):[^/\s]*@")
_SETTING = re.compile(
    r"([?&;](?:pass|passwd|password|passphrase|secret|token)=)[^&;\s'\"]*", re.IGNORECASE
)


def without_passwords(text: str) -> str:
    """`text` with the passwords of URIs in it masked: what a host says may name one."""
    return _SETTING.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text)) if "://" in text else text


class FerryError(Exception):
    """Something the operator is told; never shown as a traceback."""

    exit_code = 2

    def __init__(self, sentence: str, remedy: str = "") -> None:
        self.sentence = without_passwords(sentence)
        self.remedy = without_passwords(remedy)
        super().__init__(f"{self.sentence} {self.remedy}".strip())


class BadInput(FerryError):
    """Refused before anything was touched: a name, rate, file or option that is not right."""


class BadDocument(FerryError):
    """A host sent something that cannot be read: a domain's XML, a probe's output."""


class EngineUnavailable(FerryError):
    """No engine to talk to, or one that cannot be talked to."""


class HostUnreachable(FerryError):
    """The host did not answer; says nothing about its VMs."""

    exit_code = 3


class DaemonStopped(HostUnreachable):
    """The host is there; its libvirt is not."""


class CallTimedOut(HostUnreachable):
    """A call did not return in time. It may still take effect on the host."""


class HypervisorError(FerryError):
    """libvirt refused or failed; `code` is libvirt's VIR_ERR_* number."""

    exit_code = 1

    def __init__(self, sentence: str, remedy: str = "", code: int = 0) -> None:
        super().__init__(sentence, remedy)
        self.code = code


class CopyFailed(FerryError):
    """An image was not copied, or is not what was copied; the one at the source is untouched."""

    exit_code = 1


class VmGone(HypervisorError):
    """The VM is not on that host (any more)."""


# -- libvirt ---------------------------------------------------------------------------------

NO_SUPPORT = 3
NO_DOMAIN = 42
OPERATION_INVALID = 55
OPERATION_TIMEOUT = 68
_UNSUPPORTED = (NO_SUPPORT, 84)
_AUTH = (45, 79, 94)
_DENIED = (29, 88)


@dataclass(frozen=True, slots=True)
class _Rule:
    """The first rule whose codes (empty: any) and pattern fit an error gives its remedy."""

    codes: tuple[int, ...]
    pattern: str
    remedy: str


_RULES = tuple(
    _Rule(codes, pattern, remedy)
    for codes, pattern, remedy in (
        (
            (),
            r"cannot acquire state change lock",
            "Another job holds the VM: wait for it, or look with `virsh domjobinfo`.",
        ),
        ((81,), "", "Use cache mode none or shared storage, or let the local disks be copied."),
        (
            (91,),
            "",
            "Give the VM a CPU model that both hosts have, then stop and start it, or pick "
            "another target.",
        ),
        (
            (),
            r"missing features|doesn't support CPU|guest CPU doesn't match",
            "Pick a target whose CPU has them, or give the VM a smaller CPU model and restart it.",
        ),
        (
            (),
            r"certificate.*(not trusted|hasn't got a known issuer)|unable to verify|"
            r"not.*trusted|Certificate failed validation",
            "Install the same CA in /etc/pki/CA/cacert.pem (and QEMU's own directory) on both "
            "hosts.",
        ),
        (
            (),
            r"owner does not match the hostname|certificate.*does not match",
            "Use the name that the target's certificate carries, or issue one with this name.",
        ),
        (
            (),
            r"(x509|certificate|TLS).*(no such file|cannot read|unable to (access|import|load)|"
            r"does not exist|not configured|not exist)",
            "Set up libvirt's and QEMU's TLS certificates on that host (libvirt.org/tls).",
        ),
        ((), r"certificate.*(expired|not yet active)", "Renew the certificate; check the clocks."),
        (
            (),
            r"unable to resolve|cannot resolve|name or service not known|"
            r"temporary failure in name resolution|No address associated",
            "Let the source host resolve that name: DNS, or its /etc/hosts.",
        ),
        (
            (),
            r"unable to connect to server.*(refused|no route|timed out|unreachable)",
            "Start libvirt's listener there (virtproxyd-tls.socket or libvirtd --listen) and open "
            "its port in the firewall.",
        ),
        (
            (),
            r"address already in use|unable to (bind|listen)|Unable to find an unused port",
            "Free or widen migration_port_min to migration_port_max in the target's qemu.conf.",
        ),
        (
            (),
            r"already (exists|being (started|migrated))|is already active|is already defined",
            "Look at both hosts first: the VM may exist on both. Undefine only the one that does "
            "not run.",
        ),
        ((), r"same host", "Two hosts share a name or a host_uuid: give each its own."),
        (
            (),
            r"domain has .*snapshots?|has \d+ (snapshot|checkpoint)|with (snapshots|checkpoints)",
            "Remove or merge its snapshots and checkpoints first.",
        ),
        ((), r"no space left|not enough (free )?space", "Free space on that host's storage."),
        (
            (),
            r"(cannot access storage file|could not open|failed to open).*(no such file|denied)",
            "Mount the same storage on the target, or let the disk be copied.",
        ),
        (
            (),
            r"cannot get interface MTU|cannot find (device|bridge)|network '.*' is not active|"
            r"network not found|no network with matching name|add bridge",
            "Create and start a bridge or network of that name on the target.",
        ),
        (
            (),
            r"unsupported machine type|does not support machine|emulator.*not found|"
            r"cannot check QEMU binary",
            "Install the same or a newer QEMU on the target.",
        ),
        (
            (),
            r"cannot (allocate|set up guest) memory|insufficient (free )?memory|hugepages",
            "Free memory on the target, or pick another one.",
        ),
        (
            (),
            r"(virtiofs|vhost-user|shmem|hostdev|host device|non-migratable|not migratable|"
            r"cannot be migrated|can't be migrated|not (currently )?supported with)",
            "Detach that device first, or move the VM shut off.",
        ),
        (
            (),
            r"client socket is closed|keepalive|connection (was )?(reset|lost|closed)|"
            r"end of file while|broken pipe",
            "Check the link between the hosts and both libvirt daemons.",
        ),
        ((), r"domain is not running|is not running", "It may have just stopped or moved."),
        (_AUTH, "", "Check this connection's credentials, or add the user to the libvirt group."),
        (_DENIED, "", "Let this user manage VMs: the libvirt group or a polkit rule on that host."),
        (_UNSUPPORTED, "", "That libvirt or QEMU is too old for it, or cannot do it at all."),
        ((68,), "", "The host is busy or its QEMU hangs: try again, look at its log."),
        ((78,), "", ""),
        ((87,), "", "Something else uses it: wait and try again."),
    )
)

_NOBODY_LISTENS = (
    r"failed to connect socket.*(no such file|connection refused)|cannot connect to.*daemon"
)
_FORWARD_GONE = r"failed to connect socket to '[^']*/virt-ferry-[^']*'"
"""Behind the engine's own sockets is an SSH connection: libvirt was not even asked."""
_START_LIBVIRT = "Start libvirt there: `systemctl start libvirtd` (or virtqemud.socket)."
_CONNECT_RULES = tuple(
    _Rule((), pattern, remedy)
    for pattern, remedy in (
        (_FORWARD_GONE, "The SSH connection to it was lost; it is made anew: try again."),
        (_NOBODY_LISTENS, _START_LIBVIRT),
        (
            r"permission denied|authentication|polkit",
            "Add the user to the libvirt group there, or connect as root.",
        ),
        (r"no connection driver available|not supported", "Check the libvirt URI."),
    )
)

_LIKE_A_UUID = re.compile(r"[\s0-9a-fA-F-]{32,}")
_SPACE = re.compile(r"\s+")


def plain(text: str, limit: int = 400) -> str:
    """`text` from outside as one line without control or direction characters, cut at `limit`;
    passwords of URIs are masked."""
    if not text.isprintable():
        text = "".join(" " if _unseen(char) else char for char in text)
    line = without_passwords(_SPACE.sub(" ", text).strip())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _unseen(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"


def shown(text: str) -> str:
    """`text` on one line with what a terminal does not show written out (`\\x1b`); no passwords."""
    text = without_passwords(text)
    if text.isprintable():
        return text
    odd = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(odd)


def word(text: str) -> str:
    """`text` from outside as one word of a command that an operator may paste into a shell."""
    if text.isprintable():
        return shlex.quote(text)
    odd = (c if c.isprintable() and c not in "\\'" else _escaped(c) for c in text)
    return f"$'{''.join(odd)}'"


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


def virsh_name(name: str, uuid: str) -> str:
    """A VM as virsh finds it: its name, unless virsh would take that for a number or UUID (of
    another VM) or an option, or a terminal does not show it as it is.
    """
    other = name[:1] == "-" or name.strip().isdigit() or _LIKE_A_UUID.fullmatch(name)
    return uuid if other or not name.isprintable() else name


def virsh_word(name: str, uuid: str) -> str:
    """The same as one word of a command."""
    return word(virsh_name(name, uuid))


def from_libvirt(
    host: str, what: str, code: int, message: str, *, connected: bool = True, opening: bool = False
) -> FerryError:
    """The error to raise for a libvirtError met on `host` while doing `what` (`read its VMs`).

    `connected` False (the connection itself is dead) and `opening` make it a
    `HostUnreachable`: it then says nothing about the VMs.
    """
    said = plain(message).rstrip(".") or f"error {code}"
    doing = plain(what) or "do what was asked"
    if opening:
        sentence = f"No libvirt connection to {host}: {said}."
        stopped, forward = (
            re.search(pattern, said, re.IGNORECASE) for pattern in (_NOBODY_LISTENS, _FORWARD_GONE)
        )
        kind = DaemonStopped if stopped and not forward else HostUnreachable
        return kind(sentence, _remedy(_CONNECT_RULES + _RULES, code, said))
    if not connected:
        return HostUnreachable(
            f"The connection to {host} broke while trying to {doing}: {said}.",
            "It is tried again; what was asked may or may not have happened.",
        )
    if code == NO_DOMAIN:
        return VmGone(f"Could not {doing}: {host} has no such VM (any more).", "", code)
    return HypervisorError(f"{host} could not {doing}: {said}.", _remedy(_RULES, code, said), code)


def _remedy(rules: tuple[_Rule, ...], code: int, message: str) -> str:
    for rule in rules:
        fits_code = not rule.codes or code in rule.codes
        if fits_code and re.search(rule.pattern, message, re.IGNORECASE):
            return rule.remedy
    return ""


# -- SSH -------------------------------------------------------------------------------------


class SshFault(StrEnum):
    """What can go wrong before a host answers over SSH."""

    UNKNOWN_KEY = "unknown key"
    CHANGED_KEY = "changed key"
    REVOKED_KEY = "revoked key"
    AUTH_REFUSED = "auth refused"
    NO_SUCH_NAME = "no such name"
    REFUSED = "refused"
    NO_ROUTE = "no route"
    TIMED_OUT = "timed out"
    BAD_CONFIG = "bad config"
    LOST = "lost"
    OTHER = "other"


_SSH_SENTENCES: dict[SshFault, tuple[str, str]] = {
    SshFault.UNKNOWN_KEY: (
        "{host} offered a host key that is not known ({detail}); nothing was sent to it.",
        "Compare the fingerprint with the host's own, then accept it once with `ssh {host}`.",
    ),
    SshFault.CHANGED_KEY: (
        "{host} offered another host key than the known one ({detail}); nothing was sent to it.",
        "Find out why before anything else; if the host was reinstalled: `ssh-keygen -R {host}`.",
    ),
    SshFault.REVOKED_KEY: (
        "{host} offered a host key that is marked as revoked ({detail}); nothing was sent to it.",
        "Do not connect; find out who revoked it and why.",
    ),
    SshFault.AUTH_REFUSED: (
        "{host} refused the login{detail}.",
        "Load the right key (`ssh-add`), check User and IdentityFile for {host}; try `ssh {host}`.",
    ),
    SshFault.NO_SUCH_NAME: (
        "The name of {host} does not resolve{detail}.",
        "Check the host's address in the fleet file and the SSH config, and DNS.",
    ),
    SshFault.REFUSED: (
        "{host} refused the SSH connection{detail}.",
        "Check that sshd runs there, and the port.",
    ),
    SshFault.NO_ROUTE: (
        "No route to {host}{detail}.",
        "Check the network between here and {host}.",
    ),
    SshFault.TIMED_OUT: (
        "{host} did not answer over SSH in time{detail}.",
        "Check that it is up, the network, and its firewall.",
    ),
    SshFault.BAD_CONFIG: (
        "The SSH settings for {host} cannot be used{detail}.",
        "Check the SSH config and the key files; try `ssh {host}`.",
    ),
    SshFault.LOST: ("The SSH connection to {host} was lost{detail}.", "It is tried again."),
    SshFault.OTHER: ("No SSH connection to {host}{detail}.", "Try `ssh {host}` by hand."),
}


def from_ssh(host: str, fault: SshFault, detail: str = "") -> HostUnreachable:
    """The error to raise when SSH to `host` fails; `detail` is a fingerprint or the cause."""
    sentence, remedy = _SSH_SENTENCES[fault]
    said = plain(detail).rstrip(".")
    if "({detail})" not in sentence and said:
        said = f": {said}"
    elif not said and "({detail})" in sentence:
        said = "no fingerprint"
    return HostUnreachable(
        sentence.replace("{host}", host).replace("{detail}", said), remedy.replace("{host}", host)
    )
