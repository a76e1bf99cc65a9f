"""A VM without an operating system, of a test's own: its disk in a pool of its own, on a network
of its own, at one host only."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import HOSTS, outside, qemu_img

NAME, POOL, NETWORK = "small-1", "small-pool", "small-net"
FOLDER = "/var/lib/libvirt/small"
MIB = 2**20
DISK_BYTES = 48 * MIB


@dataclass(frozen=True, slots=True)
class SmallVm:
    """It runs at `source`; `target` has neither its pool nor its network."""

    lab: Lab
    source: str
    target: str
    name: str = NAME
    network: str = NETWORK

    @property
    def image(self) -> str:
        """Its disk's path."""
        return f"{FOLDER}/{self.name}.qcow2"

    def outside(self, host: str, path: str = FOLDER) -> Path:
        """A file of a host as this machine sees it."""
        return outside(self.lab, host, path)

    def make(self, *, snapshots: int = 0, content: bytes = bytes(range(256))) -> None:
        """Pool, network, image (full of `content`) and VM at the source."""
        self.make_pool(self.source)
        self.lab.virsh(self.source, "pool-start", POOL)
        self.make_network(self.source)
        self.lab.virsh(self.source, "net-start", NETWORK)
        image = self.outside(self.source, self.image)
        image.with_suffix(".raw").write_bytes(content * (DISK_BYTES // len(content)))
        qemu_img("convert", "-O", "qcow2", image.with_suffix(".raw"), image)
        image.with_suffix(".raw").unlink()
        for number in range(snapshots):
            qemu_img("snapshot", "-c", f"s{number}", image)
        document = self.lab.fleet.with_name("small.xml")
        document.write_text(self._domain())
        self.lab.virsh(self.source, "define", str(document))
        self.lab.virsh(self.source, "start", self.name)

    def make_pool(self, host: str) -> None:
        """Defined and built, not started."""
        self.lab.virsh(host, "pool-define-as", POOL, "dir", "--target", FOLDER)
        self.lab.virsh(host, "pool-build", POOL)
        self.lab.virsh(host, "pool-autostart", POOL)

    def make_network(self, host: str) -> None:
        """Defined, not started."""
        document = self.lab.fleet.with_name("small-net.xml")
        document.write_text(
            f"<network><name>{NETWORK}</name><forward mode='bridge'/><bridge name='br0'/></network>"
        )
        self.lab.virsh(host, "net-define", str(document))

    def seen_by(self, ferry: Ferry) -> None:
        """Wait until an engine that runs already has it, running, and nothing of one before it."""

        def seen() -> bool:
            places = [
                (vm["host"], vm["state"]) for vm in ferry.json("vms") if vm["name"] == self.name
            ]
            return places == [(self.source, "running")]

        eventually(seen, f"the engine sees {self.name}")

    def gone(self, *hosts: str) -> None:
        """Nothing of it is left on these hosts, or anywhere."""
        for host in hosts or HOSTS:
            for words in (
                ("destroy", self.name),
                ("undefine", self.name),
                ("net-destroy", NETWORK),
                ("net-undefine", NETWORK),
                ("pool-destroy", POOL),
                ("pool-undefine", POOL),
            ):
                self.lab.virsh(host, *words, check=False)
            shutil.rmtree(self.outside(host), ignore_errors=True)

    def _domain(self) -> str:
        return f"""
        <domain type='qemu'>
          <name>{self.name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
          <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
          <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
          <devices>
            <disk type='file' device='disk'>
              <driver name='qemu' type='qcow2' cache='none'/>
              <source file='{self.image}'/><target dev='vda' bus='virtio'/>
            </disk>
            <interface type='network'>
              <source network='{NETWORK}'/><model type='virtio'/>
            </interface>
          </devices>
        </domain>
        """
