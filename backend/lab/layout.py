"""Names, paths and addresses of a lab. Pure: nothing here looks at the machine.

Everything a lab makes is under its name: `/var/lib/vferry/NAME`, `/run/vferry/NAME` and the
network namespaces `vf-NAME-...`. Paths are short because a UNIX socket's ends at 108 bytes.
Addresses may be the same in two labs: no lab's network reaches another's.
"""

import re
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from backend.lab.errors import LabUsageError

STATE_ROOT = Path("/var/lib/vferry")
RUN_ROOT = Path("/run/vferry")
NETNS_ROOT = Path("/run/netns")
CACHE_ROOT = Path("/var/cache/virt-ferry")

MIN_HOSTS, MAX_HOSTS = 2, 8
GUEST_PORT = 7070
SSH_PORT = 22
OPERATOR_ADDRESS = "10.77.0.1"
PREFIX_LENGTH = 24

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,14}", re.ASCII)
_UUIDS = uuid.UUID("6d0f9a52-5e0d-4f0e-9c55-2f6b7c1f7e11")


@dataclass(frozen=True, slots=True)
class LabHost:
    """One libvirt host of the lab."""

    lab: str
    index: int

    @property
    def name(self) -> str:
        return f"kvm-{chr(ord('a') + self.index)}"

    @property
    def address(self) -> str:
        return f"10.77.0.{11 + self.index}"

    @property
    def bridge_mac(self) -> str:
        return f"02:77:00:00:00:{11 + self.index:02x}"

    @property
    def uuid(self) -> str:
        return str(uuid.uuid5(_UUIDS, f"{self.lab}/host/{self.name}"))

    @property
    def netns(self) -> str:
        return f"vf-{self.lab}-{self.name}"

    @property
    def state(self) -> Path:
        """What the host sees as its own /etc, /var/lib/libvirt and so on lies here."""
        return STATE_ROOT / self.lab / "hosts" / self.name

    @property
    def socket(self) -> Path:
        return self.state / "run" / "libvirt-sock"

    @property
    def libvirt_uri(self) -> str:
        """What `virsh -c` takes from this machine."""
        return f"qemu+unix:///system?socket={self.socket}"

    def namespace_file(self, kind: str) -> Path:
        """Where its mount, uts or ipc namespace is kept."""
        return RUN_ROOT / self.lab / f"{self.name}.{kind}"


class DiskKind(StrEnum):
    """Where a lab VM's disk lies."""

    NONE = "none"
    LOCAL = "local"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class LabVm:
    """One VM of the lab as it is made; where it is now, only the hosts know."""

    lab: str
    index: int
    name: str
    home: int
    running: bool = True
    write_bytes_s: int = 0
    over_bytes: int = 0
    disk: DiskKind = DiskKind.NONE
    autostart: bool = False
    cpu_model: str | None = None

    @property
    def address(self) -> str:
        return f"10.77.0.{101 + self.index}"

    @property
    def mac(self) -> str:
        return f"52:54:00:77:00:{101 + self.index:02x}"

    @property
    def uuid(self) -> str:
        return str(uuid.uuid5(_UUIDS, f"{self.lab}/vm/{self.name}"))

    @property
    def disk_path(self) -> str:
        """The disk's path as every host sees it."""
        folder = "/srv/shared" if self.disk is DiskKind.SHARED else "/var/lib/libvirt/images"
        return f"{folder}/{self.name}.qcow2"


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab by its name and number of hosts."""

    name: str
    host_count: int = 3

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        return tuple(LabHost(self.name, index) for index in range(self.host_count))

    @property
    def vms(self) -> tuple[LabVm, ...]:
        return _vms(self.name, self.host_count)

    @property
    def state(self) -> Path:
        return STATE_ROOT / self.name

    @property
    def run(self) -> Path:
        return RUN_ROOT / self.name

    @property
    def settings_file(self) -> Path:
        return self.state / "lab.json"

    @property
    def fleet_file(self) -> Path:
        return self.state / "fleet.toml"

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh_config"

    @property
    def boot(self) -> Path:
        """Kernel and initramfs of the guests; every host has it at /srv/boot."""
        return self.state / "boot"

    @property
    def shared(self) -> Path:
        """The storage that all hosts mount, at /srv/shared."""
        return self.state / "shared"

    @property
    def switch_netns(self) -> str:
        return f"vf-{self.name}-switch"

    @property
    def operator_netns(self) -> str:
        return f"vf-{self.name}-operator"

    @property
    def netns_names(self) -> tuple[str, ...]:
        return (self.switch_netns, self.operator_netns, *(host.netns for host in self.hosts))

    def host(self, name: str) -> LabHost:
        """The host of that name, or a refusal that lists what there is."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise LabUsageError(f"The lab {self.name!r} has no host {name!r}; it has {known}.")

    def vm(self, name: str) -> LabVm:
        """The VM of that name, or a refusal that lists what there is."""
        for vm in self.vms:
            if vm.name == name:
                return vm
        known = ", ".join(vm.name for vm in self.vms)
        raise LabUsageError(f"The lab {self.name!r} has no VM {name!r}; it has {known}.")


def _vms(lab: str, host_count: int) -> tuple[LabVm, ...]:
    a, b, c = 0, 1, min(2, host_count - 1)
    mb = 1_000_000
    return (
        LabVm(lab, 0, "idle-1", a, autostart=True),
        LabVm(lab, 1, "web-1", a, write_bytes_s=5 * mb, over_bytes=100 * mb),
        LabVm(lab, 2, "db-1", a, write_bytes_s=20 * mb, over_bytes=200 * mb),
        LabVm(lab, 3, "cache-1", b, write_bytes_s=60 * mb, over_bytes=200 * mb),
        LabVm(lab, 4, "files-1", b, disk=DiskKind.LOCAL),
        LabVm(lab, 5, "shared-1", c, disk=DiskKind.SHARED),
        LabVm(lab, 6, "batch-1", b, running=False, disk=DiskKind.LOCAL),
        # Emulation (TCG) has none of its AVX-512, so no host of the lab can run it.
        LabVm(lab, 7, "cpu-1", c, running=False, cpu_model="Skylake-Server"),
    )


def check_name(name: str) -> str:
    """A lab's name as given, if it is safe in paths, namespaces and host lists."""
    if _NAME.fullmatch(name) is None:
        raise LabUsageError(
            f"{name!r} cannot be the name of a lab. Use 1 to 15 of a-z, 0-9 and -, the first not -."
        )
    return name


def check_host_count(count: int) -> int:
    """A number of hosts the lab can have."""
    if not MIN_HOSTS <= count <= MAX_HOSTS:
        raise LabUsageError(f"A lab has {MIN_HOSTS} to {MAX_HOSTS} hosts, not {count}.")
    return count
