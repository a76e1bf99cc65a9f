"""The lab's VMs as libvirt sees them: domain XML and disks."""

import os
from pathlib import Path
from xml.sax.saxutils import escape

from backend.lab.layout import PREFIX_LENGTH, DiskKind, Lab, LabVm
from backend.lab.network import BRIDGE
from backend.lab.shell import run

DISK_SIZE = "1G"
FILLED_BYTES = 100_000_000

# The TSC's frequency is guessed at boot, and a guest that waits for a CPU meanwhile guesses it
# wrong: its clock then ran up to 8 times too fast. The HPET's frequency is given.
_KERNEL_WORDS = (
    "console=ttyS0 quiet nokaslr mitigations=off random.trust_cpu=on no_timer_check "
    "clocksource=hpet tsc=unstable "
    "cryptomgr.notests noreplace-smp"  # a fifth off the boot under emulation
)


def domain_xml(vm: LabVm, memory_mib: int) -> str:
    """A VM without anything a live migration could stumble over by accident."""
    return f"""\
<domain type='qemu'>
  <name>{escape(vm.name)}</name>
  <uuid>{vm.uuid}</uuid>
  <metadata>
    <ferry:vm xmlns:ferry='urn:virt-ferry:1' address='{vm.address}'/>
  </metadata>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>/srv/boot/vmlinuz</kernel>
    <initrd>/srv/boot/initramfs</initrd>
    <cmdline>{escape(kernel_command_line(vm))}</cmdline>
  </os>
  <features><acpi/><apic/></features>
{_cpu(vm)}  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{_disk(vm)}    <controller type='usb' model='none'/>
    <interface type='bridge'>
      <mac address='{vm.mac}'/>
      <source bridge='{BRIDGE}'/>
      <model type='virtio'/>
    </interface>
    <serial type='file'>
      <source path='{console_path(vm)}'/>
    </serial>
    <memballoon model='virtio'/>
    <panic model='isa'/>
  </devices>
</domain>
"""


def console_path(vm: LabVm) -> str:
    """Where a host keeps what the guest said on its console."""
    return f"/var/log/libvirt/qemu/{vm.name}.console"


def kernel_command_line(vm: LabVm) -> str:
    """Unknown words with a value become the environment of process 1, which is the guest."""
    guest = {
        "vf_name": vm.name,
        "vf_ip": f"{vm.address}/{PREFIX_LENGTH}",
        "vf_write": vm.write_bytes_s,
        "vf_over": vm.over_bytes,
    }
    return " ".join([_KERNEL_WORDS, *(f"{name}={value}" for name, value in guest.items())])


def ensure_disk(lab: Lab, vm: LabVm) -> None:
    """Make the VM's disk if no host has it (it may have moved): 1 GiB, 100 MB of it in use."""
    paths = _disks_outside(lab, vm)
    if not paths or any(path.exists() for path in paths):
        return
    path = paths[0]
    raw, scratch = path.with_suffix(".raw"), path.with_suffix(".new")
    try:
        with open(raw, "wb") as file:
            for _ in range(FILLED_BYTES // 1_000_000):
                file.write(os.urandom(1_000_000))
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, scratch])
        run(["qemu-img", "resize", "-q", "-f", "qcow2", scratch, DISK_SIZE])
        os.replace(scratch, path)
    finally:
        raw.unlink(missing_ok=True)
        scratch.unlink(missing_ok=True)


def _disks_outside(lab: Lab, vm: LabVm) -> list[Path]:
    """Where its disk can be, as this machine sees it; the first is where it begins."""
    name = f"{vm.name}.qcow2"
    if vm.disk is DiskKind.LOCAL:
        home = lab.hosts[vm.home]
        hosts = (home, *(host for host in lab.hosts if host is not home))
        return [host.state / "lib" / "images" / name for host in hosts]
    return [lab.shared / name] if vm.disk is DiskKind.SHARED else []


def _disk(vm: LabVm) -> str:
    if vm.disk is DiskKind.NONE:
        return ""
    return f"""\
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='{vm.disk_path}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
"""


def _cpu(vm: LabVm) -> str:
    if vm.cpu_model is None:
        return ""
    return f"""\
  <cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>{escape(vm.cpu_model)}</model>
  </cpu>
"""
