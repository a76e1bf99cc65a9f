"""One host of the fleet: reached, watched, reached again when it was lost.

Each host is a task of its own with lanes of its own, so a dead one delays nobody. What it
knows is in `host` and `vms`; `changed` is called whenever that may be different.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from backend.errors import DaemonStopped, FerryError, HostUnreachable
from backend.fleet.config import HostSettings
from backend.fleet.guests import Guests
from backend.fleet.lanes import CONNECT_LIMIT_S, Lanes, Use
from backend.fleet.poll import Poll
from backend.fleet.write_turns import Measurable
from backend.fleet.writes import Seen, WriteMeter
from backend.hypervisor import events
from backend.hypervisor.connection import Connection, Lane
from backend.hypervisor.events import EventKind, VmEvent
from backend.hypervisor.host import HostIdentity, read_identity
from backend.hypervisor.migrate import OUTWARD
from backend.model import Host, HostState, Now, Reading, Vm, VmState
from backend.remote.facts import HostFacts, local_facts, remote_facts
from backend.remote.shell import LocalShell, Shell
from backend.remote.ssh import SshHost

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 15.0


class HostWatch:
    """One host. `begin` it once, `close` it once.

    `moving` tells which (uuid, source) this engine moves now, with the pause limit in ms: a QEMU
    that hands over answers nobody meanwhile, and is not asked for what is known anyway.
    """

    def __init__(
        self,
        settings: HostSettings,
        sockets: Path,
        agent: Callable[[], str | None],
        moving: Callable[[], Mapping[tuple[str, str], int]],
        changed: Callable[[bool], None],
        now: Now,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.host = Host(settings.name, HostState.CONNECTING, tls=settings.tls)
        self.ssh: SshHost | None = None
        self.identity: HostIdentity | None = None
        self.listeners: set[Callable[[VmEvent], None]] = set()
        """Told of every event of every VM of this host."""
        self.answered = asyncio.Event()
        """Set once the first attempt to reach it has succeeded or failed."""
        self.reached = asyncio.Event()
        """The same, but before its VMs have been read: calls can be made."""
        self.informed = asyncio.Event()
        """Set once its load is known too, or known not to be told."""
        self._sockets = sockets
        self._agent = agent
        self._moving = moving
        self._changed = changed
        self._now = now
        self._writes = WriteMeter(settings.name, self._to_measure, self.open_lane, now)
        self._guests = Guests(settings.name, self._writes.figures)
        self._lanes = Lanes(settings.name, self._greet)
        self._poll = Poll(settings.name, self._lanes, self._guests, moving, self._up)
        self._task: asyncio.Task[None] | None = None
        self._uri = settings.uri or ""

    @property
    def migrate_uri(self) -> str:
        """How the other hosts reach it."""
        return self.settings.migrate_uri

    @property
    def tls(self) -> bool:
        """Encryption is required for what it sends and takes."""
        return self.settings.tls

    @property
    def shell(self) -> Shell | None:
        """Runs commands on it: by SSH, or here if it is this machine."""
        return self.ssh or (LocalShell() if self._is_local else None)

    @property
    def _is_local(self) -> bool:
        return self.settings.ssh is None and self._uri.startswith("qemu:///")

    @property
    def vms(self) -> tuple[Vm, ...]:
        """Its VMs as last seen; while it is unreachable their state is unknown."""
        return self._guests.vms

    @property
    def looks(self) -> int:
        """How often its VMs have been read, all in all."""
        return self._poll.looks

    @property
    def source_uri(self) -> str:
        """A URI for the equal virsh command."""
        if self.settings.ssh is not None:
            return f"qemu+ssh://{self.settings.ssh}/system"
        return self._uri

    def begin(self) -> None:
        """Start reaching and watching it."""
        self._task = asyncio.create_task(self._live(), name=f"host-{self.name}")

    async def close(self) -> None:
        """Let go of it; nothing on the host changes."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def call(
        self, function: Callable[[Connection], T], timeout_s: float = 5.0, what: str = ""
    ) -> T:
        """Run a blocking libvirt function on the control lane. Raises FerryError."""
        if not self._lanes.usable:
            raise HostUnreachable(
                f"{self.name} is not reachable now: {self.host.reason or 'connecting'}",
                "It is tried again by itself.",
            )
        return await self._lanes.call(Use.CONTROL, function, timeout_s, what)

    async def open_lane(self, purpose: str) -> Lane:
        """A libvirt connection of its own for a long call; the caller closes it."""
        if not self._lanes.known:
            raise HostUnreachable(f"{self.name} is not reachable now: {self.host.reason}")
        return await self._lanes.another(purpose)

    async def refresh(self, uuid: str) -> None:
        """Read one VM's definition anew, now. Raises FerryError."""
        self._guests.forget(uuid)
        await self._poll.read_new_configs()

    def readings(self, uuid: str) -> tuple[Reading, ...]:
        """What a VM was measured to write in the last 90 s, oldest first."""
        return self._writes.readings(uuid)

    async def measured(
        self, uuid: str, min_period_s: int, within_s: float, limit_s: float
    ) -> tuple[Reading, ...]:
        """The same, once one of `min_period_s` is younger than `within_s`; see `WriteMeter`."""
        return await self._writes.measured(uuid, min_period_s, within_s, limit_s)

    def _to_measure(self) -> Seen:
        moving = {uuid for uuid, _ in self._moving()}
        able = {
            vm.uuid: Measurable(vm.memory_bytes, self._guests.shares_memory(vm.uuid))
            for vm in self.vms
            if vm.state is VmState.RUNNING
            and not vm.job
            and not vm.trouble
            and vm.uuid not in moving
        }
        return able, frozenset(vm.uuid for vm in self.vms)

    # -- its life ------------------------------------------------------------------------------

    async def _live(self) -> None:
        delay_s = FIRST_RETRY_S
        while True:
            reason: str | FerryError = "The connection was lost."
            try:
                async with asyncio.timeout(CONNECT_LIMIT_S * 2):
                    await self._connect()
                delay_s = FIRST_RETRY_S
                reason = await self._watch()
            except FerryError as error:
                reason = error
            except TimeoutError:
                reason = f"{self.name} did not answer within {CONNECT_LIMIT_S * 2:.0f} s."
            except Exception:
                log.exception("watching %s", self.name)
                reason = "The engine met a fault of its own; its log has it."
            except asyncio.CancelledError:
                await self._disconnect(leaving=True)
                raise
            # Told first: letting go of a dead connection takes its time.
            self._unreachable(reason, delay_s)
            await self._disconnect()
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, LAST_RETRY_S)

    async def _connect(self) -> None:
        self._lanes.begin()
        if self.settings.ssh is not None:
            await self._connect_ssh(self.settings.ssh)
        await self._lanes.open(Use.CONTROL, self._uri)
        self.reached.set()
        await self._lanes.open(Use.STATISTICS, self._uri)
        self.identity = await self._lanes.call(Use.CONTROL, read_identity, 5.0, "say who it is")
        await self._poll.look()
        log.info("%s is up", self.name)

    async def _connect_ssh(self, alias: str) -> None:
        if self.ssh is not None and self.ssh.alive and self._uri:
            await self.ssh.try_libvirt()
            return
        if self.ssh is None or not self.ssh.alive:
            self._uri = ""  # a forward ends with its connection
            self.ssh = SshHost(alias, self.settings.ssh_config, self._agent())
            self.ssh.on_lost = self._lanes.lose
            await self.ssh.connect(CONNECT_LIMIT_S)
        local = self._sockets / f"{self.name}.sock"
        local.unlink(missing_ok=True)
        await self.ssh.forward_libvirt(str(local))
        self._uri = f"qemu+unix:///system?socket={local}"

    async def _greet(self, control: Lane) -> None:
        """What has happened before is not known: all of it is read anew."""
        await events.subscribe(control, self._on_event)
        self._guests.forget_all()

    async def _watch(self) -> str:
        """Until it is lost; returns why."""
        lost = self._lanes.lost
        poll = asyncio.create_task(self._poll.run(), name=f"poll-{self.name}")
        facts = asyncio.create_task(self._read_facts(), name=f"facts-{self.name}")
        writes = asyncio.create_task(self._writes.run(), name=f"writes-{self.name}")
        try:
            done, _ = await asyncio.wait({poll, facts, lost}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                reason = task.result()
                if reason:
                    return str(reason)
            return "The connection was lost."
        finally:
            for one in (poll, facts, writes):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError, FerryError):
                    await one

    async def _disconnect(self, leaving: bool = False) -> None:
        """The lanes always; SSH only when it is dead or we leave: migrations have lanes on it."""
        closing = (self._writes.close(), self._lanes.close())
        await asyncio.gather(*closing, return_exceptions=True)
        if self.ssh is not None and (leaving or not self.ssh.alive):
            ssh, self.ssh = self.ssh, None
            with contextlib.suppress(Exception):
                await ssh.close()

    def _unreachable(self, why: str | FerryError, delay_s: float) -> None:
        log.info("%s: %s", self.name, why)
        self._guests.lose_sight()
        self.host = Host(
            self.name,
            HostState.UNREACHABLE,
            reason=why if isinstance(why, str) else why.sentence,
            remedy="" if isinstance(why, str) else why.remedy,
            daemon_stopped=isinstance(why, DaemonStopped),
            retry_at=round(self._now() + delay_s, 1),
            hostname=self.host.hostname,
            tls=self.settings.tls,
        )
        for event in (self.reached, self.answered, self.informed):
            event.set()
        self._changed(True)

    # -- watching ------------------------------------------------------------------------------

    def _up(self, urgent: bool) -> None:
        identity = self.identity
        was_up = self.host.state is HostState.UP
        jobs = {(vm.uuid, vm.job.kind) for vm in self.vms if vm.job is not None}
        jobs |= {(uuid, OUTWARD) for uuid, source in self._moving() if source == self.name}
        self.host = replace(
            self.host,
            state=HostState.UP,
            reason="",
            retry_at=None,
            hostname=identity.hostname if identity else "",
            cpus=self.host.cpus or (identity.cpus if identity else None),
            memory_bytes=self.host.memory_bytes or (identity.memory_bytes if identity else None),
            migrations_out=sum(kind == OUTWARD for _, kind in jobs),
            migrations_in=sum(kind == "migration in" for _, kind in jobs),
        )
        self.answered.set()
        self._changed(not was_up or urgent)

    async def _read_facts(self) -> str:
        """CPU, memory and link, each second, from the host itself."""
        try:
            # Of this machine, if the URI means this machine; other URIs tell nothing of theirs.
            own = local_facts() if self._is_local else None
            source = remote_facts(self.ssh) if self.ssh is not None else own
            if source is not None:
                async for facts in source:
                    self._take_facts(facts)
        except FerryError as error:
            if self.ssh is not None and not self.ssh.alive:
                raise
            log.warning("facts of %s: %s", self.name, error)
        self.informed.set()
        await asyncio.Event().wait()
        return ""

    def _take_facts(self, facts: HostFacts) -> None:
        self.host = replace(self.host, **asdict(facts))
        if facts.cpu_percent is not None:
            self.informed.set()
        self._changed(False)

    def _on_event(self, event: VmEvent) -> None:
        if event.kind in (EventKind.LIFECYCLE, EventKind.CHANGED):
            self._guests.forget(event.uuid)
            self._poll.wake.set()
        for listener in tuple(self.listeners):
            listener(event)
