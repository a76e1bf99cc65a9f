"""What an examination asks of a host over SSH: clock, certificates, names, ports, files.

Each is a script, a pure parser of what it prints, and a runner. Nothing is changed anywhere.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import BadDocument, plain
from backend.remote.shell import Shell, run_script

FIRST_PORT, LAST_PORT = 49152, 49215
"""libvirt's own range for migrations, where qemu.conf says nothing else."""
_MAX_FILES = 500

# The order of QEMU's directories is libvirt's own (qemu_conf.c). Keys are never read.
_HOST_SCRIPT = r"""
export LC_ALL=C
c=/etc/libvirt
set_to() { sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*\"\{0,1\}\([^\"#]*\).*/\1/p" \
  $2 2>/dev/null | sed 's/[[:space:]]*$//' | tail -n 1; }
d=$(set_to migrate_tls_x509_cert_dir $c/qemu.conf)
[ -n "$d" ] || { [ -d /etc/pki/libvirt-migrate ] && d=/etc/pki/libvirt-migrate; }
[ -n "$d" ] || d=$(set_to default_tls_x509_cert_dir $c/qemu.conf)
[ -n "$d" ] || d=/etc/pki/qemu
daemon=$c/libvirtd.conf; [ -r $c/virtproxyd.conf ] && daemon="$daemon $c/virtproxyd.conf"
ca=$(set_to ca_file "$daemon"); server=$(set_to cert_file "$daemon")
show() {
  if [ ! -e "$2" ]; then echo "file $1 missing $2"; return; fi
  if [ ! -r "$2" ]; then echo "file $1 unreadable $2"; return; fi
  echo "file $1 there $2"
  sed -n '/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/p' "$2" | head -n 2000
  echo end
}
echo "ports $(set_to migration_port_min $c/qemu.conf) - $(set_to migration_port_max $c/qemu.conf)"
echo "address $(set_to migration_host $c/qemu.conf)"
show libvirt-ca "${ca:-/etc/pki/CA/cacert.pem}"
show libvirt-server "${server:-/etc/pki/libvirt/servercert.pem}"
show libvirt-client /etc/pki/libvirt/clientcert.pem
show qemu-ca "$d/ca-cert.pem"
show qemu-server "$d/server-cert.pem"
show qemu-client "$d/client-cert.pem"
date +"now %s.%N"
"""

_FILES = ("libvirt-ca", "libvirt-server", "libvirt-client", "qemu-ca", "qemu-server", "qemu-client")


@dataclass(frozen=True, slots=True)
class PemFile:
    """A file of certificates on a host."""

    role: str
    """libvirt-ca, libvirt-server, libvirt-client, qemu-ca, qemu-server, qemu-client."""
    path: str
    there: bool
    readable: bool = False
    """By the user we log in as; the daemon's may differ."""
    pem: str = ""


@dataclass(frozen=True, slots=True)
class HostPapers:
    """A host's certificates, the ports its migrations come in at, and its clock."""

    files: tuple[PemFile, ...]
    first_port: int = FIRST_PORT
    last_port: int = LAST_PORT
    address: str = ""
    """What its QEMUs are to be called by others, where qemu.conf says so."""
    clock: float | None = None
    """Its clock at the end of the question, epoch seconds."""


async def probe_papers(shell: Shell, timeout_s: float = 6.0) -> HostPapers:
    """Raises HostUnreachable, BadDocument."""
    done = await run_script(shell, _HOST_SCRIPT, timeout_s=timeout_s)
    return parse_papers(shell.name, done.stdout)


def parse_papers(host: str, printed: str) -> HostPapers:
    """What `_HOST_SCRIPT` printed. Raises BadDocument where that is not whole."""
    files: list[PemFile] = []
    ports, address, clock = (FIRST_PORT, LAST_PORT), "", None
    pem: list[str] = []
    open_file: tuple[str, str] | None = None
    for line in printed.splitlines():
        words = line.split(" ", 3)
        if open_file is not None:
            if line != "end":
                pem.append(line)
                continue
            files.append(PemFile(*open_file, there=True, readable=True, pem="\n".join(pem)))
            pem, open_file = [], None
        elif words[0] == "ports":
            ports = _range(line)
        elif words[0] == "address":
            address = plain(line.removeprefix("address"), 255)
        elif words[0] == "now":
            clock = _clock(line)
        elif words[0] == "file" and len(words) == 4 and words[1] in _FILES:
            role, path = words[1], plain(words[3], 255)
            if words[2] == "there":
                open_file = (role, path)
            else:
                files.append(PemFile(role, path, there=words[2] != "missing"))
    if [one.role for one in files] != list(_FILES):
        raise BadDocument(f"{host} does not say which certificates it has.")
    return HostPapers(tuple(files), *ports, address, clock)


def _clock(line: str) -> float | None:
    # A `date` without nanoseconds prints `%N`, or nothing, after the dot.
    found = re.match(r"now (\d{9,12}(\.\d{1,9})?)", line)
    return float(found.group(1)) if found else None


def _range(line: str) -> tuple[int, int]:
    first, _, last = line.removeprefix("ports").partition("-")
    low = int(first) if first.strip().isdecimal() else FIRST_PORT
    high = int(last) if last.strip().isdecimal() else LAST_PORT
    return (low, high) if 0 < low <= high < 65536 else (FIRST_PORT, LAST_PORT)


# -- names -----------------------------------------------------------------------------------

_NAMES_SCRIPT = r"""
export LC_ALL=C
command -v getent >/dev/null 2>&1 || exit 127
for n in "$@"; do
  if command -v timeout >/dev/null 2>&1; then
    a=$(timeout 3 getent ahosts "$n"); else a=$(getent ahosts "$n"); fi
  printf '%s\n' "$a" | { while read -r ip _; do printf '%s ' "$ip"; done; echo; }
done
"""
_ADDRESS = re.compile(r"[0-9a-fA-F:.]{2,45}")


async def probe_names(
    shell: Shell, names: Sequence[str], timeout_s: float = 6.0
) -> dict[str, frozenset[str]] | None:
    """The addresses each name has there, none where it has none; None where that cannot be asked.
    Raises HostUnreachable.
    """
    done = await run_script(shell, _NAMES_SCRIPT, *names, timeout_s=timeout_s)
    lines = done.stdout.splitlines()
    if done.exit_status == 127 or len(lines) != len(names):
        return None
    return {
        name: frozenset(word for word in line.split() if _ADDRESS.fullmatch(word))
        for name, line in zip(names, lines, strict=True)
    }


# -- ports -----------------------------------------------------------------------------------

# Nothing listens on a migration's port while none runs: to be refused is a good answer.
_PORTS_SCRIPT = r"""
export LC_ALL=C
command -v bash >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1 || exit 127
try() {
  said=$(timeout "$1" bash --norc -c 'exec 3<>"/dev/tcp/$0/$1"' "$2" "$3" 2>&1); status=$?
  case "$status $said" in
    "0 "*|*refused*) said=open ;;
    "124 "*|*"timed out"*) said=silent ;;
    *"o route"*|*nreachable*|*rohibited*) said=rejected ;;
    *) said=unknown ;;
  esac
}
# By SSH even `bash -c` would read .bashrc, which may take its time.
# A busy host may be late once: only what is silent twice is silent.
twice() { try 2 "$@"; [ $said = silent ] && try 3 "$@"; echo "$1 $2 $said"; }
while [ $# -ge 2 ]; do twice "$1" "$2" & shift 2; done
wait
"""


async def probe_ports(
    shell: Shell, ports: Sequence[tuple[str, int]], timeout_s: float = 6.0
) -> dict[tuple[str, int], str] | None:
    """Each (host, port): `open` (it answers, if only to refuse), `silent`, `rejected`, `unknown`;
    None where that cannot be tried. Raises HostUnreachable.
    """
    words = [word for host, port in ports for word in (host, str(port))]
    done = await run_script(shell, _PORTS_SCRIPT, *words, timeout_s=timeout_s)
    if done.exit_status == 127:
        return None
    found = {}
    for line in done.stdout.splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1].isdecimal() and (parts[0], int(parts[1])) in ports:
            found[parts[0], int(parts[1])] = parts[2]
    return found


# -- files -----------------------------------------------------------------------------------

_STAT_SCRIPT = r"""
export LC_ALL=C
now=$(date +%s)
for f in "$@"; do
  stat -L -c "%F/%i %W %Y $now %b %B" -- "$f" 2>/dev/null || echo none
done
"""


@dataclass(frozen=True, slots=True)
class FileLook:
    """An image file on a host."""

    inode: int
    born: int
    """Epoch seconds; 0 where the file system does not keep it."""
    idle_s: int
    """Since it was last written to, by that host's own clock."""
    allocated_bytes: int


async def look_at_files(
    shell: Shell, paths: Sequence[str], timeout_s: float = 6.0
) -> dict[str, FileLook]:
    """Of the files among these paths. Raises HostUnreachable."""
    wanted = tuple(paths)[:_MAX_FILES]
    if not wanted:
        return {}
    printed = (await run_script(shell, _STAT_SCRIPT, *wanted, timeout_s=timeout_s)).stdout
    looks = zip(wanted, map(parse_look, printed.splitlines()), strict=False)
    return {path: look for path, look in looks if look is not None}


def parse_look(line: str) -> FileLook | None:
    """One line of `_STAT_SCRIPT`; None for what is no regular file."""
    kind, _, rest = line.partition("/")
    words = rest.split()
    if not kind.startswith("regular") or len(words) != 6:
        return None
    try:
        inode, born, written, now, blocks, block_bytes = map(int, words)
    except ValueError:
        return None
    return FileLook(inode, max(0, born), max(0, now - written), blocks * block_bytes)
