"""The operator's way in: SSH keys, an OpenSSH configuration and the fleet file.

The hosts' network is reached through a ProxyCommand that enters the operator's namespace, so a
console needs no code that knows of the lab.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from backend.lab.certs import write_secret
from backend.lab.layout import NETNS_ROOT, Lab


@dataclass(frozen=True, slots=True)
class SshKey:
    """A key pair as OpenSSH writes it."""

    private: bytes
    public: str


def make_key() -> SshKey:
    """A fresh Ed25519 key."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return SshKey(private, public.decode())


def write_access(lab: Lab, operator_key: SshKey, host_keys: dict[str, SshKey]) -> None:
    """Write what an operator needs; the fleet file names the rest."""
    write_secret(_identity(lab), operator_key.private)
    (lab.state / "id_ed25519.pub").write_text(f"{operator_key.public} {lab.name}\n")
    _known_hosts(lab).write_text(known_hosts(lab, host_keys))
    lab.ssh_config.write_text(ssh_config(lab))
    lab.fleet_file.write_text(fleet_toml(lab))


def known_hosts(lab: Lab, host_keys: dict[str, SshKey]) -> str:
    """Under name and address: OpenSSH looks for the one, asyncssh for the other."""
    return "".join(
        f"{host.name},{host.address} {host_keys[host.name].public}\n" for host in lab.hosts
    )


def ssh_config(lab: Lab) -> str:
    """A configuration that OpenSSH (`ssh -F`) and asyncssh (`config=`) both read."""
    blocks = [f"Host {host.name}\n  HostName {host.address}\n" for host in lab.hosts]
    everywhere = f"""\
Host *
  User root
  IdentityFile {_identity(lab)}
  IdentitiesOnly yes
  UserKnownHostsFile {_known_hosts(lab)}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  PasswordAuthentication no
  ConnectTimeout 5
  ServerAliveInterval 5
  ServerAliveCountMax 3
  ProxyCommand nsenter --net={NETNS_ROOT / lab.operator_netns} busybox nc %h %p
"""
    return "\n".join([*blocks, everywhere])


def fleet_toml(lab: Lab) -> str:
    """The fleet file of the lab."""
    head = f'name = "{lab.name}"\nssh_config = "{lab.ssh_config}"\n'
    hosts = [
        f'\n[hosts.{host.name}]\nssh = "{host.name}"\nmigrate_uri = "qemu+tls://{host.name}/system"\n'
        for host in lab.hosts
    ]
    return head + "".join(hosts)


def _identity(lab: Lab) -> Path:
    return lab.state / "id_ed25519"


def _known_hosts(lab: Lab) -> Path:
    return lab.state / "known_hosts"
