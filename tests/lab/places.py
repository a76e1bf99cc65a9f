"""Where a lab's VMs and their files are, and looking at them from outside of its hosts."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from tests.lab.conftest import Lab
from tests.lab.ferry import Event

HOSTS = ("kvm-a", "kvm-b", "kvm-c")
IMAGES = "/var/lib/libvirt/images"


def host_of(lab: Lab, vm: str) -> str:
    """Where a VM is now."""
    return str(lab.vm(vm)["host"])


def other(lab: Lab, vm: str) -> str:
    """A host where it is not."""
    return next(host for host in HOSTS if host != host_of(lab, vm))


def set_links(lab: Lab, rate: str) -> None:
    """Shape the links of all hosts."""
    for host in HOSTS:
        lab.run("link", host, rate)


def only_at_home(lab: Lab, *vms: str) -> None:
    """Silent writers, quick links, and images of these VMs only where they are."""
    lab.run("quiet")
    set_links(lab, "1gbit")
    for vm in vms:
        home = host_of(lab, vm)
        for host in HOSTS:
            if host != home:
                lab.virsh(host, "pool-refresh", "default")
                lab.virsh(host, "vol-delete", "--pool", "default", f"{vm}.qcow2", check=False)


class OwnVm(Protocol):
    """A VM of a test's own."""

    def make(self) -> None:
        """It runs from now on."""

    def gone(self) -> None:
        """Nothing of it is left on any host."""


T = TypeVar("T", bound=OwnVm)


@contextmanager
def made_alone(lab: Lab, vm: T) -> Iterator[T]:
    """It is there, on quick links, beside silent writers."""
    only_at_home(lab)
    vm.gone()
    try:
        vm.make()
        yield vm
    finally:
        vm.gone()


def assert_defined_only_on(lab: Lab, vm: str, host: str) -> None:
    """virsh on every host agrees."""
    for name in HOSTS:
        known = lab.virsh(name, "list", "--all", "--name").split()
        assert (vm in known) == (name == host), f"{vm} on {name}"


def in_host(lab: Lab, host: str, *words: str) -> str:
    """Run a command in a host's mount namespace; its output."""
    namespace = f"/run/vferry/{lab.name}/{host}.mnt"
    inside = ["nsenter", f"--mount={namespace}", "--", *words]
    return subprocess.run(inside, check=True, capture_output=True, text=True).stdout


def outside(lab: Lab, host: str, path: str) -> Path:
    """A file of a host as this machine sees it."""
    return lab.fleet.parent / "hosts" / host / "lib" / path.removeprefix("/var/lib/libvirt/")


def images_of(lab: Lab, host: str, vm: str) -> list[str]:
    """Names in the default pool that begin with the VM's, as the directory has them."""
    folder = outside(lab, host, IMAGES)
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(vm))


def qemu_img(*words: str | Path) -> str:
    """Its output; fails the test where qemu-img fails."""
    done = subprocess.run(
        ["qemu-img", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of(events: list[Event], kind: str) -> list[Event]:
    """Those of one kind."""
    return [event for event in events if event["event"] == kind]
