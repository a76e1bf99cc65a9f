"""One-shot questions to hosts over SSH: reachability, shared storage, bridges, files.

Each is a script, a pure parser of what it prints, and a runner. A plan changes nothing
anywhere, with one exception that is undone at once: when mount tables do not prove that a
directory is shared, `probe_shared` writes an empty-looking file of 32 characters into it.
"""

import asyncio
import contextlib
import posixpath
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from backend.errors import FerryError, plain
from backend.remote.shell import CommandResult, Shell, run_script

# -- can the source's daemon reach the target? -----------------------------------------------


class ReachFault(StrEnum):
    """Why the source host cannot use a target's libvirt URI."""

    NAME = "name"
    PORT_CLOSED = "port closed"
    TIMED_OUT = "timed out"
    NOT_TRUSTED = "not trusted"
    NAME_MISMATCH = "name mismatch"
    NO_CREDENTIALS = "no credentials"
    """The source host has no client certificate, or the target refuses it."""
    BAD_URI = "bad URI"
    """libvirt does not know its scheme, transport or path."""
    UNTRIED = "untried"
    """The source host has no virsh, or our login may not read the host's own certificate."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether the source host can use a target's libvirt URI."""

    ok: bool
    fault: ReachFault | None = None
    detail: str = ""
    """The host's own words."""
    hostname: str = ""
    """What the target calls itself, when it answered."""


_REACH_SCRIPT = r"""
export LC_ALL=C
if command -v virsh >/dev/null 2>&1; then
  if command -v timeout >/dev/null 2>&1; then limit="timeout -k 1 $2"; else limit=; fi
  $limit virsh -k 2 -K 2 -c "$1" hostname </dev/null
  exit
fi
exit 127
"""

_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:.+]+ \d+: (\w+) : (?:\w+:\d+ : )?")

_REACH_FAULTS = (
    (
        ReachFault.BAD_URI,
        r"no connection driver available|unable to parse uri|unexpected .* uri path|"
        r"transport .* not recogni[sz]ed",
    ),
    (ReachFault.UNTRIED, r"permission denied"),
    (
        ReachFault.NAME,
        r"unable to resolve|cannot resolve|name or service not known|name resolution|"
        r"no address associated|unknown host|nodename nor servname",
    ),
    (
        ReachFault.NAME_MISMATCH,
        r"does not match the hostname|owner does not match|hostname mismatch",
    ),
    (
        ReachFault.NO_CREDENTIALS,
        r"(cannot read|unable to (read|access|load|open)|no such file).*"
        r"(certificate|\.pem)|(certificate|\.pem).*(cannot|no such file|does not exist)|"
        r"authentication failed|not authorized|access denied|dn is not in|"
        # The last: a libvirt that saw no certificate of ours, or one it refuses, just hangs up.
        r"certificate (is )?required|bad certificate|premature(ly)? terminat|read TLS confirmation",
    ),
    (
        ReachFault.NOT_TRUSTED,
        r"certificate.*(not trusted|known issuer|failed validation|expired|not yet|revoked|"
        r"insecure)|not trusted|unable to verify|verification failed",
    ),
    (ReachFault.TIMED_OUT, r"timed? ?out|no route to host|network is unreachable"),
    (ReachFault.PORT_CLOSED, r"connection refused|unable to connect|cannot connect"),
)


def parse_reach(result: CommandResult) -> Reach:
    """What `_REACH_SCRIPT` printed."""
    if result.exit_status == 0:
        return Reach(True, hostname=plain(result.stdout, 255))
    if result.exit_status == 127:
        return Reach(False, ReachFault.UNTRIED, "virsh is not installed there")
    if result.exit_status in (124, 137, -1):
        return Reach(False, ReachFault.TIMED_OUT, "no answer in time")
    said = _virsh_said(result.stderr or result.stdout)
    for fault, pattern in _REACH_FAULTS:
        if re.search(pattern, said, re.IGNORECASE):
            return Reach(False, fault, said)
    return Reach(False, ReachFault.OTHER, said)


def _virsh_said(stderr: str) -> str:
    """virsh's reasons alone: its `error:` lines, and the warnings of libvirt's log above them."""
    said = []
    for line in stderr.splitlines():
        logged = _LOG_LINE.match(line)
        if logged:
            if logged.group(1) != "info":
                said.append(line[logged.end() :])
        elif "failed to connect to the hypervisor" not in line:
            said.append(line.removeprefix("error: "))
    return plain(" · ".join(dict.fromkeys(part.strip() for part in said if part.strip())))


async def probe_reach(source: Shell, uri: str, timeout_s: float = 8.0) -> Reach:
    """Try the target's URI on the source host, as its daemon would during the migration.

    One question checks name, port, certificate and trust at once.

    Raises:
        HostUnreachable: The source itself does not answer.
    """
    limit = f"{max(1.0, timeout_s - 1.5):g}"
    return parse_reach(
        await run_script(source, _REACH_SCRIPT, uri, limit, timeout_s=timeout_s + 2.0)
    )


# -- is a directory the same on both? --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SharedProof:
    """Whether a directory is one and the same on two hosts."""

    shared: bool | None
    """None: it could not be told; never True without a proof."""
    how: str
    """The proof, or why there is none."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a path lies: the mount, and the path within what is mounted."""

    kind: str
    """nfs4, ceph, fuse.glusterfs, ext4, ..."""
    source: str
    """server:/export, or the device."""
    inside: str
    """The path below the root of the mounted file system."""


_NETWORK_KINDS = ("nfs", "nfs4", "ceph", "fuse.glusterfs", "cifs", "smb3", "lustre", "gpfs")
_NO_FILES = ("/dev/", "/proc/", "/sys/")
_TOKEN = re.compile(r"[0-9a-f]{32}")
_PROBE_NAME = ".virt-ferry-probe-"

_MOUNTS_SCRIPT = "export LC_ALL=C\ncat /proc/self/mountinfo\n"

# The file's name is unguessable and `set -C` refuses to write into one that is there.
_WRITE_SCRIPT = r"""
export LC_ALL=C
umask 022
set -C
cd "$1" || exit 3
{ printf '%s\n' "$3" >"$2"; } || exit 4
sync -f "$2" 2>/dev/null || :
"""

# NFS clients remember that a name was not there: listing the directory first asks the server.
_READ_SCRIPT = r"""
export LC_ALL=C
cd "$1" || exit 3
left=$3
while :; do
  ls -a . >/dev/null 2>&1
  if [ -f "$2" ]; then head -c 64 "$2"; exit 0; fi
  left=$((left - 1))
  [ "$left" -gt 0 ] || exit 5
  sleep 1
done
"""

_REMOVE_SCRIPT = 'rm -f -- "$1/$2"\n'


def parse_mount(mountinfo: str, path: str) -> Mount | None:
    """The mount that holds `path`, from /proc/self/mountinfo; the last of the longest wins."""
    path = posixpath.normpath(path)
    best: tuple[int, Mount] | None = None
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        parts, tail = fields.split(), rest.split()
        if len(parts) < 5 or len(tail) < 2:
            continue
        root, point = _unescape(parts[3]), _unescape(parts[4])
        if path != point and not path.startswith(point.rstrip("/") + "/"):
            continue
        if best is None or len(point) >= best[0]:
            inside = posixpath.normpath(root + "/" + path[len(point.rstrip("/")) :])
            best = (len(point), Mount(tail[0], _unescape(tail[1]), inside.replace("//", "/")))
    return best[1] if best else None


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), field)


def mounts_prove_shared(source: Mount | None, target: Mount | None) -> SharedProof | None:
    """A proof from the two mount tables alone, if they give one; else None: try a token.

    Only a network file system named by server *and* export counts. A server called `localhost`
    or by different names, a device of the same name, or equal inode numbers prove nothing.
    """
    if source is None or target is None:
        return None
    if source.kind != target.kind and not {source.kind, target.kind} <= {"nfs", "nfs4"}:
        return None
    if source.kind not in _NETWORK_KINDS or (source.source, source.inside) != (
        target.source,
        target.inside,
    ):
        return None
    server = re.split(r"[:/](?![^\[]*\])", source.source.lstrip("/"), maxsplit=1)[0].lower()
    if not server or server.startswith(("localhost", "127.", "[::1]")):
        return None
    return SharedProof(True, f"both mount {source.source} ({source.kind})")


async def probe_shared(
    source: Shell, target: Shell, path: str, timeout_s: float = 12.0
) -> SharedProof:
    """Whether the directory of `path` is the same on both hosts. Never raises, never guesses.

    First from the mount tables. Failing that by a token: a small file with an unguessable name is
    written at the source, read at the target, and removed, whatever happens in between.
    """
    directory = posixpath.dirname(path) or "/"
    if path.startswith(_NO_FILES) or not path.startswith("/"):
        return SharedProof(None, f"{path} is not a file: only a look at the storage can tell")
    try:
        tables = await asyncio.gather(
            run_script(source, _MOUNTS_SCRIPT, timeout_s=timeout_s),
            run_script(target, _MOUNTS_SCRIPT, timeout_s=timeout_s),
        )
        mounts = [parse_mount(table.stdout, directory) for table in tables]
        return mounts_prove_shared(mounts[0], mounts[1]) or await _probe_token(
            source, target, directory, timeout_s, _looks(mounts[1])
        )
    except FerryError as error:
        return SharedProof(None, error.sentence)


def _looks(mount: Mount | None) -> int:
    """How often to look for the token: only what goes over a network may show it late."""
    local = mount is not None and mount.kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "ext3")
    return 1 if local else 4


async def _probe_token(
    source: Shell, target: Shell, directory: str, timeout_s: float, tries: int
) -> SharedProof:
    name, token = _PROBE_NAME + secrets.token_hex(8), secrets.token_hex(16)
    try:
        written = await run_script(
            source, _WRITE_SCRIPT, directory, name, token, timeout_s=timeout_s
        )
        if written.exit_status != 0:
            why = plain(written.stderr) or f"exit status {written.exit_status}"
            return SharedProof(None, f"nothing could be written to {directory}: {why}")
        read = await run_script(
            target, _READ_SCRIPT, directory, name, str(tries), timeout_s=timeout_s
        )
        return judge_token(read, token, directory)
    finally:
        # Shielded: a plan that is cancelled leaves nothing behind either.
        await asyncio.shield(_remove((source, target), directory, name, timeout_s))


async def _remove(shells: Iterable[Shell], directory: str, name: str, timeout_s: float) -> None:
    """At the source, and if that fails at the target, which may see the same directory."""
    for shell in shells:
        with contextlib.suppress(FerryError):
            gone = await run_script(shell, _REMOVE_SCRIPT, directory, name, timeout_s=timeout_s)
            if gone.exit_status == 0:
                return


def judge_token(read: CommandResult, token: str, directory: str) -> SharedProof:
    """What reading the token at the target has shown."""
    if read.exit_status == 0 and read.stdout.strip() == token and _TOKEN.fullmatch(token):
        return SharedProof(True, f"a file written to {directory} at the source was read there")
    if read.exit_status == 3:
        return SharedProof(False, f"{directory} does not exist there")
    if read.exit_status in (0, 5):
        return SharedProof(False, f"a file written to {directory} at the source is not seen there")
    return SharedProof(None, plain(read.stderr) or f"exit status {read.exit_status}")


# -- bridges and files -----------------------------------------------------------------------

_BRIDGE_SCRIPT = r"""
export LC_ALL=C
[ -d "/sys/class/net/$1/bridge" ] && exit 0
command -v ovs-vsctl >/dev/null 2>&1 && ovs-vsctl --timeout=3 br-exists "$1" && exit 0
exit 1
"""

_DEVICE = re.compile(r"(?![.-])[^\s/:]{1,15}")

_FILE_SCRIPT = r"""
export LC_ALL=C
for f in "$@"; do
  if [ -b "$f" ]; then
    d=$(readlink -f -- "$f")
    if read -r s 2>/dev/null <"/sys/class/block/${d##*/}/size"; then s=$((s * 512)); else s=-1; fi
  elif [ -e "$f" ]; then s=$(stat -L -c %s -- "$f" 2>/dev/null || echo -1)
  else s=none; fi
  if [ -r "$f" ]; then r=1; else r=0; fi
  echo "$s $r"
done
"""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file or block device on a host."""

    exists: bool
    size_bytes: int | None = None
    """None where it is not known."""
    readable: bool = False
    """By the user we log in as; QEMU's may differ."""


async def probe_bridge(shell: Shell, bridge: str) -> bool:
    """Whether a Linux or Open vSwitch bridge of that name exists. Raises HostUnreachable."""
    if not _DEVICE.fullmatch(bridge):
        return False  # the kernel has none of that name, and ovs-vsctl might take it for an option
    return (await run_script(shell, _BRIDGE_SCRIPT, bridge)).exit_status == 0


async def probe_file(shell: Shell, path: str) -> FileFacts:
    """One file. Raises HostUnreachable."""
    return (await probe_files(shell, (path,)))[0]


async def probe_files(shell: Shell, paths: tuple[str, ...]) -> tuple[FileFacts, ...]:
    """Several files at once, in their order. Raises HostUnreachable."""
    if not paths:
        return ()
    printed = (await run_script(shell, _FILE_SCRIPT, *paths)).stdout.splitlines()
    lines = printed + ["none 0"] * (len(paths) - len(printed))
    return tuple(parse_file(line) for line in lines[: len(paths)])


def parse_file(line: str) -> FileFacts:
    """One line of `_FILE_SCRIPT`: size (`none` for no such file, -1 unknown) and readability."""
    size, _, readable = line.partition(" ")
    if size == "none" or not re.fullmatch(r"-?\d{1,19}", size):
        return FileFacts(False)
    return FileFacts(True, int(size) if int(size) >= 0 else None, readable.strip() == "1")
