"""A VM whose guest makes a file system on its disk and writes files to it all the time.

Its process 1 is a script, and busybox all it has. What is in a file follows from its number, so
anybody can tell whether it is whole: the guest, which reads all of them when it boots, and whoever
has the image.
"""

import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from backend.lab.guest_image import KERNEL_FOLDER, Entry, archive, write_new
from backend.lab.layout import Lab as Layout
from tests.lab.conftest import Lab, eventually
from tests.lab.places import HOSTS, IMAGES, in_host, outside, qemu_img

NAME = "fs-1"
IMAGE = f"{IMAGES}/{NAME}.qcow2"
LINES = 6000
_CONSOLE = f"/var/log/libvirt/qemu/{NAME}.console"
_MODULES = """
    virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk
    button evdev
"""
_WORDS = "console=ttyS0 quiet nokaslr mitigations=off no_timer_check clocksource=hpet tsc=unstable"
_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
for module in {" ".join(_MODULES.split())}; do
  [ ! -e /modules/$module.ko ] || insmod /modules/$module.ko
done
while [ ! -b /dev/vda ]; do sleep 0.1; done
for button in /dev/input/event*; do
  {{ dd if=$button of=/dev/null bs=24 count=1 2>/dev/null; : >/stop; }} &
done
if mount -t ext2 /dev/vda /mnt 2>/dev/null; then
  good=0 wrong=0
  for file in /mnt/[0-9]*; do
    number=${{file#/mnt/}}
    if seq $number $((number + {LINES})) | cmp -s - $file; then good=$((good + 1))
    else wrong=$((wrong + 1)); fi
  done
  echo "found: $good good, $wrong wrong"
else
  mke2fs -F /dev/vda >/dev/null && mount -t ext2 /dev/vda /mnt || poweroff -f
  echo "made a file system"
  good=0
fi
next=$good
while [ ! -e /stop ]; do
  seq $next $((next + {LINES})) >/mnt/new && sync && mv /mnt/new /mnt/$next && sync &&
    echo "wrote $next"
  next=$((next + 1))
  sleep 0.1
done
umount /mnt && echo "off" && poweroff -f
"""


@dataclass(frozen=True, slots=True)
class FsVm:
    """Made at `source`, running."""

    lab: Lab
    source: str

    def make(self) -> None:
        """An empty disk, and the VM that makes something of it."""
        layout = Layout(self.lab.name)
        write_new(layout.boot / NAME, _initramfs())
        qemu_img("create", "-q", "-f", "qcow2", outside(self.lab, self.source, IMAGE), "256M")
        document = self.lab.fleet.with_name("fs.xml")
        document.write_text(_domain())
        self.lab.virsh(self.source, "define", str(document))
        document.unlink()
        self.lab.virsh(self.source, "start", NAME)

    def said(self, host: str) -> list[str]:
        """What the guest said on its console at that host."""
        return in_host(self.lab, host, "cat", _CONSOLE).splitlines()

    def wrote(self, host: str) -> int:
        """The newest file it told of there; -1: none."""
        told = [line.split()[1] for line in self.said(host) if line.startswith("wrote ")]
        return int(told[-1]) if told else -1

    def writes_on(self, host: str) -> None:
        """Wait until it tells of more."""
        before = self.wrote(host)
        eventually(lambda: self.wrote(host) > before + 1, f"it writes on {host}", 40)

    def shut_down(self, host: str) -> None:
        """By its power button."""
        self.lab.virsh(host, "shutdown", NAME)
        off = ["shut", "off"]
        eventually(lambda: self.lab.virsh(host, "domstate", NAME).split() == off, "it ends", 40)

    def read(self, host: str) -> int:
        """Its file system, from its image on that host: clean, each file whole; how many."""
        scratch = self.lab.fleet.with_name("fs")
        scratch.mkdir()
        try:
            raw = scratch / "raw"
            qemu_img("convert", "-O", "raw", outside(self.lab, host, IMAGE), raw)
            subprocess.run(["e2fsck", "-f", "-n", raw], check=True, capture_output=True)
            out = scratch / "files"
            out.mkdir()
            dump = ("debugfs", "-R", f"rdump / {out}")
            subprocess.run([*dump, raw], check=True, capture_output=True)
            files = sorted((file for file in out.glob("[0-9]*")), key=lambda one: int(one.name))
            for number, file in enumerate(files):
                assert file.name == str(number)
                assert file.read_text() == content(number), file
            return len(files)
        finally:
            shutil.rmtree(scratch)

    def gone(self) -> None:
        """Nothing of it is left anywhere."""
        for host in HOSTS:
            self.lab.virsh(host, "destroy", NAME, check=False)
            self.lab.virsh(host, "undefine", NAME, check=False)
            for left in outside(self.lab, host, IMAGES).glob(f"{NAME}*"):
                left.unlink()
            in_host(self.lab, host, "rm", "-f", _CONSOLE)
            self.lab.virsh(host, "pool-refresh", "default")
        (Layout(self.lab.name).boot / NAME).unlink(missing_ok=True)


def content(number: int) -> str:
    """What the file of that number holds."""
    return "".join(f"{line}\n" for line in range(number, number + LINES + 1))


def _initramfs() -> bytes:
    busybox = shutil.which("busybox")
    assert busybox is not None
    modules = (KERNEL_FOLDER / "modules" / f"{name}.ko" for name in _MODULES.split())
    files = {f"modules/{one.name}": one for one in modules if one.exists()}
    files["bin/busybox"] = Path(busybox)
    return archive(
        [
            *(
                Entry(name, stat.S_IFDIR | 0o755)
                for name in ("bin", "dev", "mnt", "modules", "proc")
            ),
            Entry("dev/console", stat.S_IFCHR | 0o600),
            Entry("init", stat.S_IFREG | 0o755, _INIT.encode()),
            *(Entry(name, stat.S_IFREG | 0o755, file.read_bytes()) for name, file in files.items()),
        ]
    )


def _domain() -> str:
    return f"""
    <domain type='qemu'>
      <name>{NAME}</name><memory unit='MiB'>160</memory><vcpu>1</vcpu>
      <os>
        <type arch='x86_64' machine='q35'>hvm</type>
        <kernel>/srv/boot/vmlinuz</kernel><initrd>/srv/boot/{NAME}</initrd>
        <cmdline>{_WORDS}</cmdline>
      </os>
      <features><acpi/><apic/></features>
      <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
      <on_poweroff>destroy</on_poweroff>
      <devices>
        <emulator>/usr/bin/qemu-system-x86_64</emulator>
        <disk type='file' device='disk'>
          <driver name='qemu' type='qcow2' cache='none'/>
          <source file='{IMAGE}'/><target dev='vda' bus='virtio'/>
        </disk>
        <controller type='usb' model='none'/>
        <serial type='file'><source path='{_CONSOLE}'/></serial>
      </devices>
    </domain>
    """
