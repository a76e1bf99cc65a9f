"""Where the lab's VMs are and what they do, asked of every host; and starting what should run."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from backend.lab.domain import domain_xml
from backend.lab.errors import LabError
from backend.lab.host import virsh
from backend.lab.layout import Lab, LabHost, LabVm
from backend.lab.settings import Settings
from backend.lab.shell import run

SHUT_OFF = "shut off"
RUNNING = "running"
PAUSED = "paused"

_LISTED = re.compile(r"\s*(?:\d+|-)\s+(\S.*?)\s{2,}(\S.*?)\s*")
# Of two places, the VM is where it is more alive: while it moves, the target's copy is paused.
_RANK = (RUNNING, "in shutdown", PAUSED, "pmsuspended", "idle", "crashed", SHUT_OFF)


@dataclass(frozen=True, slots=True)
class Seen:
    """A VM as one host lists it."""

    host: LabHost
    state: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What all hosts said at about the same time."""

    up: frozenset[str]
    """Names of the hosts whose libvirtd answered."""
    host_count: int
    places: dict[str, list[Seen]]
    """VM -> where it is defined or runs, the most alive first."""

    def place(self, vm_name: str) -> Seen | None:
        """Where the VM is; None if no host that answered has it."""
        places = self.places.get(vm_name)
        return places[0] if places else None


def survey(lab: Lab, timeout_s: float = 5) -> Survey:
    """Ask all hosts at once; one that does not answer is left out."""

    def ask(host: LabHost) -> str | None:
        with suppress(LabError):
            done = run(virsh(host, "list", "--all"), timeout_s=timeout_s, check=False)
            if done.returncode == 0:
                return done.stdout
        return None

    with ThreadPoolExecutor(lab.host_count) as pool:
        answers = list(pool.map(ask, lab.hosts))
    places: dict[str, list[Seen]] = {}
    for host, answer in zip(lab.hosts, answers, strict=True):
        for name, state in parse_list(answer or "").items():
            places.setdefault(name, []).append(Seen(host, state))
    for seen in places.values():
        seen.sort(key=lambda place: _rank(place.state))
    up = (host.name for host, answer in zip(lab.hosts, answers, strict=True) if answer is not None)
    return Survey(frozenset(up), lab.host_count, places)


def parse_list(text: str) -> dict[str, str]:
    """`virsh -q list --all` -> state by name."""
    matches = (_LISTED.fullmatch(line) for line in text.splitlines())
    return {match[1]: match[2] for match in matches if match}


def ensure_vm(lab: Lab, vm: LabVm, settings: Settings, seen: Survey) -> str | None:
    """Define a VM that is nowhere, start one that should run; returns what was done."""
    place = seen.place(vm.name)
    if place is None:
        home = lab.hosts[vm.home]
        _define(home, vm, settings)
        if vm.autostart:
            run(virsh(home, "autostart", vm.name))
        if vm.running:
            _start(home, vm)
        return f"{vm.name}: {'started' if vm.running else 'defined'} on {home.name}"
    _undefine([one.host for one in seen.places[vm.name][1:] if one.state == SHUT_OFF], vm)
    if not vm.running or place.state in (RUNNING, "in shutdown"):
        return None
    if place.state == PAUSED:
        return _resume(place.host, vm)
    _start(place.host, vm)
    return f"{vm.name}: started on {place.host.name}"


def restart_vm(lab: Lab, vm: LabVm) -> str | None:
    """Switch a VM off and on where it runs; one that is on the move is left alone."""
    places = survey(lab, timeout_s=30).places.get(vm.name, [])
    if sum(place.state != SHUT_OFF for place in places) != 1:
        return None
    host = places[0].host
    run(virsh(host, "destroy", vm.name), check=False)
    _start(host, vm)
    return f"{vm.name}: did not answer, started again on {host.name}"


def _define(host: LabHost, vm: LabVm, settings: Settings) -> None:
    xml = domain_xml(vm, settings.memory_mib)
    run(virsh(host, "define", "/dev/stdin"), stdin=xml)


def _undefine(hosts: list[LabHost], vm: LabVm) -> None:
    """A second definition is what a lost post-copy leaves behind."""
    for host in hosts:
        run(virsh(host, "undefine", vm.name), check=False)


def _start(host: LabHost, vm: LabVm) -> None:
    done = run(virsh(host, "start", vm.name), timeout_s=60, check=False)
    if done.returncode != 0 and "already" not in done.stderr:
        raise LabError(f"{vm.name} did not start on {host.name}: {done.stderr.strip()}")


def _resume(host: LabHost, vm: LabVm) -> str:
    """A VM that is paused everywhere runs on; one whose other half is lost restarts.

    libvirt would wait for ever to resume that one (seen with 9.0).
    """
    said = run(virsh(host, "domstate", vm.name, "--reason"), check=False).stdout
    whole = "post-copy failed" not in said
    if whole and run(virsh(host, "resume", vm.name), check=False).returncode == 0:
        return f"{vm.name}: resumed on {host.name}"
    run(virsh(host, "destroy", vm.name), check=False)
    _start(host, vm)
    return f"{vm.name}: started again on {host.name}"


def _rank(state: str) -> int:
    return _RANK.index(state) if state in _RANK else len(_RANK)
