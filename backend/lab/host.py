"""A host: its mount, uts and ipc namespaces, and the two daemons in them.

The namespaces are kept by files below /run/vferry/NAME, not by a process: nothing that can be
killed holds them. Whoever lives in them is found by `processes`.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree, which

from backend.lab.errors import LabError
from backend.lab.layout import NETNS_ROOT, SSH_PORT, Lab, LabHost
from backend.lab.mounts import is_mounted, unmount_all
from backend.lab.netns import reads_banner
from backend.lab.processes import (
    LabProcess,
    end_processes,
    is_namespace,
    lab_processes,
)
from backend.lab.shell import environment, run

# Kind as the kernel names it -> the option of unshare and nsenter.
_OPTION = {"mnt": "mount", "uts": "uts", "ipc": "ipc"}
_KINDS = tuple(_OPTION)
_DAEMON_START_S = 30.0
_NICE = 10

# In the host's new namespaces, before anything of it runs. A fresh /run keeps its libvirtd from the
# machine's D-Bus, systemd and pid files; /sys is mounted anew because it shows the network
# namespace it was mounted in. What other labs and hosts keep mounted is let go first: a copy
# of their mounts here would hold their namespaces after they are gone. /dev/kvm is hidden because
# it may open and yet boot no guest: the lab emulates everywhere; read-only, as libvirt takes a
# writable one for usable and probes again and again. The other emulator would only cost probing.
_ENTER = """\
set -eu
name=$1 state=$2 shared=$3 boot=$4
hostname "$name"
for kept in /run/netns /run/vferry; do
    if mountpoint -q "$kept"; then umount -l -R "$kept"; fi
done
for kept in /run/vferry/*; do
    if mountpoint -q "$kept"; then umount -l -R "$kept"; fi
done
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755,size=64m tmpfs /run
mkdir -p /run/libvirt /run/sshd /run/lock
mount -t tmpfs -o mode=755,size=1m tmpfs /srv
mkdir /srv/shared /srv/boot
touch /run/hidden
for hidden in /dev/kvm /usr/bin/qemu-system-i386; do
    if [ -e "$hidden" ]; then
        mount --bind /run/hidden "$hidden"
        mount -o remount,bind,ro "$hidden"
    fi
done
mount --bind "$shared" /srv/shared
mount --bind "$boot" /srv/boot
# QEMU looks for its data beside the folder it lies in.
emulator=usr/bin/qemu-system-x86_64
mkdir -p /run/usr/bin
ln -s /usr/share /usr/lib /run/usr/
touch /run/$emulator
mount --bind /$emulator /run/$emulator
mount --bind "$boot/qemu-system-x86_64" /$emulator
mount --bind "$state/run" /run/libvirt
mount --bind "$state/lib" /var/lib/libvirt
mount --bind "$state/log" /var/log/libvirt
mount --bind "$state/cache" /var/cache/libvirt
mount --bind "$state/etc" /etc
"""


def ensure_host(lab: Lab, host: LabHost, processes: list[LabProcess]) -> list[str]:
    """Bring a host up or repair it; returns what had to be started.

    `processes` is what lives on this host now.
    """
    if not _namespaces_stand(host):
        # Whoever is left lives in namespaces that nobody can enter any more.
        end_processes(processes)
        _drop_namespaces(host)
        _clear(host.state / "run")
        _make_namespaces(lab, host)
        processes = []
    started = []
    if not ssh_answers(host):
        end_processes(p for p in processes if p.command == "sshd")
        _start(host, [_program("sshd"), "-f", "/etc/ssh/sshd_config"], "sshd")
        started.append("sshd")
    if not libvirt_answers(host):
        end_processes(p for p in processes if p.command == "libvirtd")
        pid_file = "/run/libvirt/libvirtd.pid"
        daemon = [_program("libvirtd"), "--daemon", "--listen", "--pid-file", pid_file]
        _start(host, ["nice", "-n", str(_NICE), *daemon], "libvirtd")
        _await_libvirt(host)
        started.append("libvirtd")
    return started


def enter(host: LabHost) -> list[str]:
    """The words before a command that is to run on the host."""
    spaces = [f"--{_OPTION[kind]}={host.namespace_file(kind)}" for kind in _KINDS]
    return ["nsenter", f"--net={NETNS_ROOT / host.netns}", *spaces]


def libvirt_answers(host: LabHost, timeout_s: float = 15) -> bool:
    """True if its libvirtd takes a call."""
    if not host.socket.exists():
        return False
    with suppress(LabError):
        probe = run(virsh(host, "version", "--daemon"), timeout_s=timeout_s, check=False)
        return probe.returncode == 0
    return False


def ssh_answers(host: LabHost, timeout_s: float = 5) -> bool:
    """True if its sshd greets, asked from inside: a cut link does not matter."""
    return reads_banner(host.netns, host.address, SSH_PORT, b"SSH-2.0", timeout_s)


def virsh(host: LabHost, *words: str) -> list[str]:
    """A `virsh` command line for this host."""
    return ["virsh", "-q", "-c", host.libvirt_uri, *words]


def remove_namespaces(lab: Lab) -> None:
    """Let go of the hosts' namespaces; they end with their last process, which must be gone."""
    for host in lab.hosts:
        _drop_namespaces(host)
    unmount_all(lab.run)
    for leftover in lab.run.glob("*"):
        leftover.unlink()
    with suppress(FileNotFoundError):
        lab.run.rmdir()


def processes_of(lab: Lab) -> dict[str, list[LabProcess]]:
    """The lab's processes by the host they live on."""
    by_host: dict[str, list[LabProcess]] = {host.name: [] for host in lab.hosts}
    for process in lab_processes(lab):
        if process.host in by_host:
            by_host[process.host].append(process)
    return by_host


def _namespaces_stand(host: LabHost) -> bool:
    if not all(is_namespace(host.namespace_file(kind)) for kind in _KINDS):
        return False
    ready = host.namespace_file("ready")
    inode = os.stat(host.namespace_file("mnt")).st_ino
    network = os.stat(NETNS_ROOT / host.netns).st_ino
    return ready.exists() and ready.read_text() == f"{inode} {network}"


def _make_namespaces(lab: Lab, host: LabHost) -> None:
    for kind in _KINDS:
        host.namespace_file(kind).touch()
    spaces = [f"--{_OPTION[kind]}={host.namespace_file(kind)}" for kind in _KINDS]
    run(
        [
            "nsenter", f"--net={NETNS_ROOT / host.netns}",
            "unshare", *spaces, "--propagation", "private",
            "sh", "-c", _ENTER, "sh", host.name, host.state, lab.shared, lab.boot,
        ]
    )  # fmt: skip
    # Written last, with what it holds for: half-made namespaces and those that were joined
    # to a network that is gone are made anew.
    inode = os.stat(host.namespace_file("mnt")).st_ino
    network = os.stat(NETNS_ROOT / host.netns).st_ino
    host.namespace_file("ready").write_text(f"{inode} {network}")


def ensure_run_folder(lab: Lab) -> None:
    """A mount namespace can only be kept on a mount that does not propagate."""
    lab.run.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not is_mounted(lab.run):
        run(["mount", "--bind", lab.run, lab.run])
        run(["mount", "--make-private", lab.run])


def _drop_namespaces(host: LabHost) -> None:
    host.namespace_file("ready").unlink(missing_ok=True)
    for kind in _KINDS:
        path = host.namespace_file(kind)
        unmount_all(path)
        path.unlink(missing_ok=True)


def _start(host: LabHost, daemon: list[str], name: str) -> None:
    try:
        run([*enter(host), *daemon], timeout_s=_DAEMON_START_S)
    except LabError as error:
        raise LabError(f"{name} of {host.name} did not start. {error}") from None


def _await_libvirt(host: LabHost) -> None:
    deadline = time.monotonic() + _DAEMON_START_S
    while not libvirt_answers(host):
        if time.monotonic() > deadline:
            raise LabError(
                f"libvirtd of {host.name} started but does not answer; its log is "
                f"{host.state / 'log' / 'libvirtd.log'}."
            )
        time.sleep(0.05)


def _program(name: str) -> str:
    """sshd insists on an absolute path."""
    return which(name, path=environment()["PATH"]) or name


def _clear(folder: Path) -> None:
    """Remove what a host's daemons left there in an earlier life: sockets, pid files."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            rmtree(entry)
        else:
            entry.unlink()
