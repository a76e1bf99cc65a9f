"""The fleet file (TOML) and `-c URI`s as typed settings.

Every mistake is refused here, before anything is reached, in a sentence that names the file,
the line or key, and what is allowed.

    name = "rack 7"                  # shown in the title
    ssh_config = "~/.ssh/config"     # OpenSSH configuration for every host, default: the user's

    [hosts.kvm-a]
    ssh = "kvm-a"                    # reached through SSH; or
    uri = "qemu:///system"           # any libvirt URI
    migrate_uri = "qemu+tls://kvm-a/system"   # how the other hosts reach it
    tls = "require"                  # or "off": migrations to and from it go in plaintext

    [policies.night]                 # see plan.own_policies
    pause_ms = 1000

    [rules.even]                     # see plan.rules
    kind = "balance"
"""

import os
import re
import socket
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from backend.errors import BadInput, plain
from backend.fleet.ssh_files import own_configs
from backend.fleet.uris import split_uri
from backend.ownership import read_own

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@:\[\]-]{0,254}")
_TOP_KEYS = ("name", "ssh_config", "hosts", "policies", "rules")
_HOST_KEYS = ("ssh", "uri", "migrate_uri", "tls", "ssh_config")


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How one host is reached, by us (`ssh` or `uri`) and by the other hosts (`migrate_uri`)."""

    name: str
    migrate_uri: str
    ssh: str | None = None
    uri: str | None = None
    ssh_config: str | None = None
    tls: bool = True


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """A whole fleet; hosts in the file's order."""

    name: str
    hosts: tuple[HostSettings, ...]
    path: Path | None = None
    """The fleet file; None for `-c URI`s."""
    policy_tables: Any = field(default=None, hash=False)
    """The file's `policies` as they are: `plan.own_policies` checks them."""
    rule_tables: Any = field(default=None, hash=False)
    """The file's `rules` as they are: `plan.rules` checks them."""

    @property
    def key(self) -> str:
        """Tells this fleet from others, whatever is changed in its file."""
        if self.path is not None:
            return str(self.path)
        return " ".join(sorted(host.uri or host.name for host in self.hosts))


def default_fleet_path() -> Path:
    """Where the fleet file is when nothing else is said."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "virt-ferry" / "fleet.toml"


def load(path: Path) -> FleetSettings:
    """Read and check a fleet file, and the SSH configurations it names. Raises BadInput."""
    return with_own_files(parse(_read(path), path))


def with_own_files(settings: FleetSettings) -> FleetSettings:
    """The same, once the SSH configurations it uses are seen to be ours. Raises BadInput."""
    for named in {host.ssh_config for host in settings.hosts if host.ssh is not None}:
        own_configs(named)
    return settings


def parse(text: str, path: Path) -> FleetSettings:
    """Check the text of a fleet file; `path` is named in errors and anchors relative paths."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"The fleet file {path} is not valid TOML: {plain(str(error))}.",
            "Mend that line and try again.",
        ) from None
    _only_keys(data, _TOP_KEYS, path, "")
    hosts = data.get("hosts")
    if not isinstance(hosts, dict) or not hosts:
        raise BadInput(
            f"The fleet file {path} names no hosts.",
            'Add a table for each host, e.g. [hosts.kvm-a] with ssh = "kvm-a".',
        )
    name = _text(data, "name", path, "name") or path.stem
    ssh_config = _path(_text(data, "ssh_config", path, "ssh_config"), path)
    typed = tuple(_host(k, v, ssh_config, path) for k, v in hosts.items())
    return FleetSettings(name, typed, path, data.get("policies"), data.get("rules"))


def from_uris(uris: tuple[str, ...]) -> FleetSettings:
    """A fleet of `-c URI`s: hosts named after the URIs' hosts. Raises BadInput."""
    hosts: list[HostSettings] = []
    for uri in uris:
        parts = split_uri(uri, "-c/--connect")
        name = _free_name(parts.hostname or parts.scheme.partition("+")[0], hosts)
        if not parts.hostname and parts.scheme.startswith("qemu"):
            name = _free_name(socket.gethostname(), hosts)
        hosts.append(_reached_by_uri(name, uri, parts, f"qemu+tls://{name}/system", True, None))
    return FleetSettings(", ".join(uris), tuple(hosts))


def _read(path: Path) -> str:
    try:
        return read_own(path, "The fleet file").decode("utf-8")
    except FileNotFoundError:
        raise BadInput(
            f"There is no fleet file at {path}.",
            "Write one, name another with --fleet FILE, use -c URI, or try `virt-ferry lab`.",
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"The fleet file {path} is not UTF-8 text: {error.reason}.") from None
    except OSError as error:
        raise BadInput(f"The fleet file {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise BadInput(f"{str(path)!r} cannot be the name of a file.") from None


def _only_keys(table: dict[str, Any], allowed: tuple[str, ...], path: Path, where: str) -> None:
    for key in table:
        if key not in allowed:
            raise BadInput(
                f"The fleet file {path} has an unknown key {where}{key!s}.",
                f"Allowed there: {', '.join(allowed)}.",
            )


def _text(table: dict[str, Any], key: str, path: Path, where: str) -> str | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise BadInput(f"The fleet file {path}: {where} must be a non-empty string.")
    return value


def _path(value: str | None, anchor: Path) -> str | None:
    if value is None:
        return None
    try:
        return str((anchor.parent / Path(value).expanduser()).resolve())
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"The fleet file {anchor}: ssh_config is {value!r}: {plain(str(error))}.",
            "Name a file that is there.",
        ) from None


def _host(name: str, table: Any, ssh_config: str | None, path: Path) -> HostSettings:
    where = f"hosts.{name}."
    if not HOST_NAME.fullmatch(name):
        raise BadInput(
            f"The fleet file {path}: {name!r} is not a host name.",
            "Use letters, digits, '.', '_' and '-', at most 63 of them.",
        )
    if not isinstance(table, dict):
        raise BadInput(f"The fleet file {path}: hosts.{name} must be a table.")
    _only_keys(table, _HOST_KEYS, path, where)
    alias = _text(table, "ssh", path, where + "ssh")
    uri = _text(table, "uri", path, where + "uri")
    if (alias is None) == (uri is None):
        raise BadInput(
            f"The fleet file {path}: hosts.{name} needs either ssh or uri, and not both.",
            f'E.g. ssh = "{name}".',
        )
    tls = _text(table, "tls", path, where + "tls") or "require"
    if tls not in ("require", "off"):
        raise BadInput(
            f"The fleet file {path}: {where}tls is {tls!r}.", 'Allowed: "require", "off".'
        )
    own_config = _path(_text(table, "ssh_config", path, where + "ssh_config"), path)
    config = own_config or ssh_config
    migrate_uri = _text(table, "migrate_uri", path, where + "migrate_uri")
    migrate_uri = migrate_uri or f"qemu+tls://{name}/system"
    split_uri(migrate_uri, f"The fleet file {path}: {where}migrate_uri")
    if alias is not None:
        if not _ALIAS.fullmatch(alias):
            raise BadInput(
                f"The fleet file {path}: {where}ssh is {alias!r}, not a host to give to ssh."
            )
        return HostSettings(name, migrate_uri, ssh=alias, ssh_config=config, tls=tls == "require")
    assert uri is not None
    parts = split_uri(uri, f"The fleet file {path}: {where}uri")
    return _reached_by_uri(name, uri, parts, migrate_uri, tls == "require", config)


def _reached_by_uri(
    name: str,
    uri: str,
    parts: SplitResult,
    migrate_uri: str,
    tls: bool,
    config: str | None,
) -> HostSettings:
    """`qemu+ssh` URIs become our own SSH connection: libvirt's might prompt on the terminal."""
    if parts.scheme == "qemu+ssh" and parts.hostname and parts.path == "/system":
        alias = f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname
        alias += f":{parts.port}" if parts.port else ""
        return HostSettings(name, migrate_uri, ssh=alias, ssh_config=config, tls=tls)
    return HostSettings(name, migrate_uri, uri=uri, ssh_config=config, tls=tls)


def _free_name(wanted: str, taken: list[HostSettings]) -> str:
    wanted = wanted if HOST_NAME.fullmatch(wanted) else "host"
    names = {host.name for host in taken}
    return next(
        n for i in range(1, 999) if (n := wanted if i == 1 else f"{wanted}-{i}") not in names
    )
