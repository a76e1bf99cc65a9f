"""Where a host keeps the certificates that its migrations use, and which of them are there."""

import re
from dataclasses import dataclass

from backend.errors import BadDocument
from backend.remote.shell import Shell, run_script

# The order is libvirt's own (qemu_conf.c).
_SCRIPT = r"""
set_to() { sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*\"\([^\"]*\)\".*/\1/p" \
  /etc/libvirt/qemu.conf 2>/dev/null | tail -n 1; }
d=$(set_to migrate_tls_x509_cert_dir)
[ -n "$d" ] || { [ -d /etc/pki/libvirt-migrate ] && d=/etc/pki/libvirt-migrate; }
[ -n "$d" ] || d=$(set_to default_tls_x509_cert_dir)
[ -n "$d" ] || d=/etc/pki/qemu
printf '%s\n' "$d"
for f in ca-cert server-cert server-key client-cert client-key; do
  [ -r "$d/$f.pem" ] || printf '%s.pem\n' "$f"
done
"""

# Both are 0 and 1 by default: verified. The daemons' files are often root's alone.
_UNVERIFIED = r"""
set_to() { sed -n "s/^[[:space:]]*$2[[:space:]]*=[[:space:]]*\"\{0,1\}\([0-9]*\).*/\1/p" \
  "/etc/libvirt/$1" 2>/dev/null | tail -n 1; }
v=$(set_to qemu.conf migrate_tls_x509_verify)
if [ -z "$v" ]; then k=default_tls_x509_verify; v=$(set_to qemu.conf $k)
else k=migrate_tls_x509_verify; fi
[ "$v" = 0 ] && echo "qemu.conf $k = 0"
for f in libvirtd.conf virtproxyd.conf; do
  [ "$(set_to $f tls_no_verify_certificate)" = 1 ] && echo "$f tls_no_verify_certificate = 1"
done
exit 0
"""
_LINE = re.compile(r"([a-z]+\.conf) ([a-z0-9_]+ = [01])")


@dataclass(frozen=True, slots=True)
class Certificates:
    """A directory as QEMU takes it, and what is missing there."""

    directory: str
    missing: tuple[str, ...] = ()

    def lacks(self, endpoint: str) -> tuple[str, ...]:
        """The files that `server` or `client` needs and that are not there."""
        return tuple(file for file in self.missing if file.startswith(("ca-", endpoint)))


async def migration_certificates(shell: Shell) -> Certificates:
    """Ask the host's qemu.conf.

    Raises:
        HostUnreachable: It does not answer.
        BadDocument: What came back is no path.
    """
    done = await run_script(shell, _SCRIPT)
    directory, *missing = done.stdout.splitlines() or [""]
    if not directory.startswith("/"):
        raise BadDocument(f"{shell.name} does not say where its certificates are.")
    return Certificates(directory, tuple(missing))


async def unverified(shell: Shell) -> tuple[tuple[str, str], ...]:
    """(file, line) of what switches off that the host checks who connects to it; nothing where
    its files cannot be read. Raises HostUnreachable."""
    done = await run_script(shell, _UNVERIFIED)
    found = (_LINE.fullmatch(line) for line in done.stdout.splitlines())
    return tuple((f"/etc/libvirt/{one[1]}", one[2]) for one in found if one is not None)
