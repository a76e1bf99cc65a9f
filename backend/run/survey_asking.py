"""How a survey asks: each question has a time limit, and a failed one leaves its reason."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from backend.hypervisor.connection import Connection
from backend.model import Host, MoveOptions, Reading, Vm
from backend.remote.shell import Shell
from backend.run.answers import answered

T = TypeVar("T")

CALL_LIMIT_S = 5.0
PROBE_LIMIT_S = 8.0


class HostAccess(Protocol):
    """What the survey needs of a host; `fleet.host.HostWatch` has it."""

    @property
    def name(self) -> str:
        """In the fleet."""
        ...

    @property
    def host(self) -> Host:
        """As last seen."""
        ...

    @property
    def shell(self) -> Shell | None:
        """Runs commands there; None where only libvirt is reachable."""
        ...

    @property
    def migrate_uri(self) -> str:
        """How the other hosts reach it."""
        ...

    @property
    def source_uri(self) -> str:
        """How we reach it."""
        ...

    @property
    def tls(self) -> bool:
        """Encryption is required for what it sends and takes."""
        ...

    async def call(
        self, function: Callable[[Connection], T], timeout_s: float = 5.0, what: str = ""
    ) -> T:
        """Run a blocking libvirt function on its control lane. Raises FerryError."""
        ...

    async def measured(
        self, uuid: str, min_period_s: int, within_s: float, limit_s: float
    ) -> tuple[Reading, ...]:
        """What a VM writes, once there is a reading so long and so new. Never raises."""
        ...


@dataclass(slots=True)
class Asking:
    """Answers to questions; a failed one leaves its reason in `unknown`."""

    vm: Vm
    source: HostAccess
    target: HostAccess
    unknown: dict[str, str] = field(default_factory=dict)
    options: MoveOptions = field(default_factory=MoveOptions)

    async def ask(self, fact: str, answer: Awaitable[T], limit_s: float) -> T | None:
        return await answered(self.unknown, fact, answer, limit_s)

    async def call(
        self, fact: str, host: HostAccess, function: Callable[[Connection], T], what: str
    ) -> T | None:
        return await self.ask(fact, host.call(function, CALL_LIMIT_S, what), CALL_LIMIT_S + 1)

    def shell(self, fact: str, host: HostAccess) -> Shell | None:
        if host.shell is None:
            self.unknown[fact] = f"there is no SSH to {host.name}"
        return host.shell
