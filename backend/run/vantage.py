"""Where an outage is probed from, best first, and what each place can and cannot see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from backend.fleet.host import HostWatch
from backend.remote.shell import LocalShell
from backend.remote.ssh import SshHost

Place = SshHost | LocalShell
_MAX_THIRD = 2


class Role(StrEnum):
    """What the host that probes is to the migration."""

    THIRD = "third"
    TARGET = "target"
    SOURCE = "source"
    HERE = "here"


_MEANS: Mapping[Role, Callable[[str], str]] = {
    Role.THIRD: lambda name: f"seen from {name}, which has no part in the move",
    Role.TARGET: lambda name: (
        f"seen from the target {name}: after the move this is only the way over its own bridge, "
        "not whether the rest of the network found the VM"
    ),
    Role.SOURCE: lambda name: (
        f"seen from the source {name}: this is the way between the two hosts, "
        "not that of the VM's clients"
    ),
    Role.HERE: lambda name: f"seen from {name}, where the engine runs",
}


@dataclass(frozen=True, slots=True)
class Vantage:
    """One place to probe from."""

    name: str
    role: Role
    place: Place

    @property
    def meaning(self) -> str:
        """What a figure measured here is, as a clause."""
        return _MEANS[self.role](self.name)


def vantages(
    hosts: Mapping[str, HostWatch], source: HostWatch, target: HostWatch
) -> tuple[Vantage, ...]:
    """Hosts that are up and take commands: those without part in it, target, source, then here."""
    third = [host for host in hosts.values() if host.name not in (source.name, target.name)]
    ranked = [(host, Role.THIRD) for host in third if _place(host) is not None][:_MAX_THIRD]
    ranked += [(target, Role.TARGET), (source, Role.SOURCE)]
    found = [
        Vantage(host.name, role, place)
        for host, role in ranked
        if (place := _place(host)) is not None
    ]
    if not any(isinstance(one.place, LocalShell) for one in found):
        found.append(Vantage("this machine", Role.HERE, LocalShell()))
    return tuple(found)


def _place(host: HostWatch) -> Place | None:
    shell = host.shell
    if isinstance(shell, SshHost):
        return shell if shell.alive else None
    return shell if isinstance(shell, LocalShell) else None
