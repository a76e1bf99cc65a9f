"""The files of a host: its own /etc with libvirt, TLS and SSH set up, its storage pools."""

import os
import shutil
import textwrap
import uuid
from pathlib import Path

from backend.lab.certs import Authority, write_pki, write_secret
from backend.lab.layout import Lab, LabHost

POOLS = {"default": "/var/lib/libvirt/images", "shared": "/srv/shared"}

_FOLDERS = ("lib/images", "run", "log/qemu", "cache")
# The machine's own libvirt must not appear in a host: its VMs and networks would start there.
_NOT_COPIED = ("libvirt", "pki", "ssh", "machine-id")

_LIBVIRTD_CONF = """\
listen_tls = 1
listen_tcp = 0
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
host_uuid = "{uuid}"
log_level = 3
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
migration_address = "0.0.0.0"
migrate_tls_x509_cert_dir = "/etc/pki/qemu"
migrate_tls_x509_verify = 1
"""

_SSHD_CONFIG = """\
Port 22
AddressFamily inet
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
X11Forwarding no
PrintMotd no
PrintLastLog no
PermitUserRC no
AllowStreamLocalForwarding yes
AllowTcpForwarding yes
MaxSessions 100
MaxStartups 100
Subsystem sftp internal-sftp
"""


def write_host(
    lab: Lab, host: LabHost, authority: Authority, host_key: bytes, authorized_key: str
) -> None:
    """Write everything a host finds as its own, from nothing."""
    shutil.rmtree(host.state, ignore_errors=True)
    for folder in _FOLDERS:
        (host.state / folder).mkdir(parents=True)
    etc = host.state / "etc"
    shutil.copytree("/etc", etc, symlinks=True, ignore=_not_copied)
    (etc / "hostname").write_text(f"{host.name}\n")
    (etc / "hosts").write_text(hosts_file(lab))
    (etc / "machine-id").write_text(host.uuid.replace("-", "") + "\n")
    _let_root_in(etc / "shadow")
    write_pki(etc / "pki", authority, host.name, host.address)
    _write_libvirt(etc / "libvirt", host)
    _write_ssh(etc / "ssh", host_key, authorized_key)


def hosts_file(lab: Lab) -> str:
    """Every host knows every other by name."""
    lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in lab.hosts)]
    return "\n".join(lines) + "\n"


def pool_xml(host: LabHost, name: str, path: str) -> str:
    """A storage pool on a directory."""
    pool_id = uuid.uuid5(uuid.UUID(host.uuid), f"pool/{name}")
    return textwrap.dedent(
        f"""\
        <pool type='dir'>
          <name>{name}</name>
          <uuid>{pool_id}</uuid>
          <source/>
          <target><path>{path}</path></target>
        </pool>
        """
    )


def _write_libvirt(folder: Path, host: LabHost) -> None:
    autostart = folder / "storage" / "autostart"
    autostart.mkdir(parents=True)
    (folder / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=host.uuid))
    (folder / "qemu.conf").write_text(_QEMU_CONF)
    for name, path in POOLS.items():
        (folder / "storage" / f"{name}.xml").write_text(pool_xml(host, name, path))
        (autostart / f"{name}.xml").symlink_to(f"/etc/libvirt/storage/{name}.xml")


def _write_ssh(folder: Path, host_key: bytes, authorized_key: str) -> None:
    folder.mkdir(mode=0o755)
    write_secret(folder / "ssh_host_ed25519_key", host_key)
    (folder / "sshd_config").write_text(_SSHD_CONFIG)
    write_secret(folder / "authorized_keys", authorized_key.encode() + b"\n")


def _not_copied(folder: str, names: list[str]) -> set[str]:
    """At the top what is not the host's, below only what is neither file, folder nor link."""
    dropped = set(_NOT_COPIED) if folder == "/etc" else set()
    for name in names:
        path = Path(folder, name)
        if not (path.is_symlink() or path.is_file() or path.is_dir()):
            dropped.add(name)
    return dropped


def _let_root_in(shadow: Path) -> None:
    # sshd refuses even a key for an account locked with "!"; this is only the host's own copy.
    lines = shadow.read_text().splitlines()
    opened = ["root:*:19000:0:99999:7:::" if line.startswith("root:") else line for line in lines]
    shadow.write_text("\n".join(opened) + "\n")
    os.chmod(shadow, 0o600)
