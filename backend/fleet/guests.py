"""The VMs of one host: definitions, statistics and jobs put together into `Vm`s.

No I/O: the host feeds it. A definition is read once and again after an event; statistics
arrive each second.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from backend.errors import FerryError
from backend.fleet.silence import Silence
from backend.hypervisor.domain_xml import DomainConfig, parse_domain
from backend.hypervisor.domains import RawDomain, RawStats
from backend.hypervisor.stats import BlockStats, VmStats, vm_statistics
from backend.model import Disk, Job, Vm, VmState
from backend.model.tags import UNTAGGED

log = logging.getLogger(__name__)

_SIZES_EVERY_S = 30.0
_USUAL_LOOKS = 10
_MAX_JOBS_ASKED = 16
"""Running VMs asked for a job in each round: each is a call of 0.3 ms; more take turns."""


class Guests:
    """All VMs of one host as last seen."""

    def __init__(self, host: str, writes: Mapping[str, tuple[float, float]]) -> None:
        """`writes`: UUID -> bytes/s and epoch seconds of that, as measured; kept by others."""
        self._writes = writes
        self._host = host
        self._raw: dict[str, RawDomain] = {}
        self._configs: dict[str, DomainConfig] = {}
        self._stats: dict[str, VmStats] = {}
        self._cpu_percent: dict[str, deque[float]] = {}
        self._jobs: dict[str, Job] = {}
        self._names: dict[str, str] = {}
        self._stale: set[str] = set()
        self._silence = Silence()
        self._read_at: float | None = None
        self._turn = 0
        self._sizes: dict[tuple[str, str], BlockStats] = {}
        self.sizes_read_at_s = float("-inf")
        self.vms: tuple[Vm, ...] = ()
        """By name."""

    def forget(self, uuid: str) -> None:
        """Its definition may have changed: read it again."""
        self._stale.add(uuid)

    def forget_all(self) -> None:
        """Nothing that was known is certain any more (a new connection)."""
        self._stale |= set(self._raw)
        self._stats.clear()
        self._jobs.clear()

    def sizes_due(self, now_s: float) -> bool:
        """Disk sizes cost a question to every QEMU: now and then, and after a change."""
        return bool(self._stale) or now_s - self.sizes_read_at_s > _SIZES_EVERY_S

    def lose_sight(self) -> None:
        """The host does not answer: what its VMs do is not known."""
        self.vms = tuple(
            replace(vm, state=VmState.UNKNOWN, cpu_percent=None, job=None) for vm in self.vms
        )

    def take_statistics(self, records: Sequence[RawStats], now_s: float) -> None:
        """All domains' statistics; who is not in them is gone."""
        elapsed_s = now_s - self._read_at if self._read_at is not None else None
        self._read_at = now_s
        stats: dict[str, VmStats] = {}
        for record in records:
            uuid = record.uuid
            self._names[uuid] = record.name
            was = self._stats.get(uuid)
            stats[uuid] = vm_statistics(record.raw, was, elapsed_s)
            self._note_cpu(uuid, stats[uuid].cpu_percent)
            if stats[uuid].state.active:
                self._silence.see(uuid, stats[uuid].memory_used_bytes is not None, now_s)
            for block in stats[uuid].blocks:
                self._sizes[uuid, block.target] = block
        self._take(stats)

    def take_states(self, records: Sequence[RawStats]) -> None:
        """What libvirt tells without asking a QEMU: who is there, and in which state. All other
        figures stay as they were."""
        stats: dict[str, VmStats] = {}
        for record in records:
            self._names[record.uuid] = record.name
            now, was = vm_statistics(record.raw), self._stats.get(record.uuid)
            if was is not None and was.state.active == now.state.active:
                now = replace(was, state=now.state, state_reason=now.state_reason)
            stats[record.uuid] = now
        self._take(stats)

    def _take(self, stats: dict[str, VmStats]) -> None:
        for uuid, now in stats.items():
            was = self._stats.get(uuid)
            if was is None or was.state.active != now.state.active:
                self._stale.add(uuid)
        self._stats = stats
        self._silence.keep([uuid for uuid, one in stats.items() if one.state.active])
        for known in (self._raw, self._configs, self._jobs, self._names, self._cpu_percent):
            for uuid in [uuid for uuid in known if uuid not in stats]:
                del known[uuid]
        self._sizes = {key: size for key, size in self._sizes.items() if key[0] in stats}
        self._assemble()

    def _note_cpu(self, uuid: str, cpu_percent: float | None) -> None:
        if cpu_percent is not None:
            self._cpu_percent.setdefault(uuid, deque(maxlen=_USUAL_LOOKS)).append(cpu_percent)

    def without_config(self) -> tuple[str, ...]:
        """UUIDs whose definition must be read."""
        return tuple(uuid for uuid in self._stats if uuid in self._stale or uuid not in self._raw)

    def take_configs(self, raw: Iterable[RawDomain]) -> None:
        """Definitions that were read."""
        for domain in raw:
            self._stale.discard(domain.uuid)
            try:
                self._configs[domain.uuid] = parse_domain(domain.xml)
            except FerryError as error:
                log.warning("%s: %r: %s", self._host, domain.name, error)
                continue
            self._raw[domain.uuid] = domain
        self._assemble()

    def to_ask_for_jobs(self) -> tuple[str, ...]:
        """Running VMs to ask for a job in this round."""
        active = sorted(uuid for uuid in self._stats if self._may_be_asked(uuid))
        if len(active) <= _MAX_JOBS_ASKED:
            return tuple(active)
        busy = [uuid for uuid in active if uuid in self._jobs]
        self._turn = (self._turn + _MAX_JOBS_ASKED) % len(active)
        turn = (active + active)[self._turn : self._turn + _MAX_JOBS_ASKED]
        return tuple(dict.fromkeys(busy + turn))

    def take_jobs(self, jobs: Mapping[str, Job | None]) -> None:
        """The jobs of the VMs that were asked."""
        for uuid, job in jobs.items():
            if job is None:
                self._jobs.pop(uuid, None)
            elif uuid in self._stats:
                self._jobs[uuid] = job
        self._assemble()

    def _may_be_asked(self, uuid: str) -> bool:
        """A copy that comes in is paused and never heard, but libvirt itself tells of it."""
        state = self._stats[uuid].state
        return state.active and (state is VmState.PAUSED or not self._silence.passed_by(uuid))

    def unheard(self, uuids: Iterable[str]) -> None:
        """A call about these was not answered in time."""
        for uuid in uuids:
            self._silence.stuck(uuid, self._read_at or 0.0)
        self._assemble()

    def shares_memory(self, uuid: str) -> bool:
        """Its memory can be seen by other processes: memfd or a file, not its QEMU's alone."""
        config = self._configs.get(uuid)
        backing = config.memory_backing if config else None
        return backing is not None and (backing.shared or backing.source != "anonymous")

    def _assemble(self) -> None:
        vms = (self._vm(uuid, stats) for uuid, stats in self._stats.items())
        self.vms = tuple(sorted(vms, key=lambda vm: (vm.name, vm.uuid)))

    def _vm(self, uuid: str, stats: VmStats) -> Vm:
        raw, config = self._raw.get(uuid), self._configs.get(uuid)
        seen = self._cpu_percent.get(uuid)
        rate, at = self._writes.get(uuid, (None, None)) if stats.state.active else (None, None)
        return Vm(
            uuid=uuid,
            name=self._names[uuid],
            host=self._host,
            state=stats.state,
            persistent=raw.persistent if raw else True,
            autostart=raw.autostart if raw else False,
            vcpus=(config.vcpus if config else 0) or stats.vcpus,
            cpu_percent=stats.cpu_percent if stats.state.active else None,
            cpu_usual_percent=median(seen) if seen and stats.state.active else None,
            memory_bytes=(config.memory_bytes if config else 0) or stats.memory_bytes or 0,
            memory_used_bytes=stats.memory_used_bytes if stats.state.active else None,
            disks=tuple(self._sized(uuid, disk) for disk in config.disks) if config else (),
            nics=config.nics if config else (),
            job=self._jobs.get(uuid),
            writes_bytes_s=rate,
            writes_at=at,
            policy=config.policy if config else None,
            address=config.address if config else None,
            tags=config.tags if config else UNTAGGED,
            trouble=self._trouble(uuid),
        )

    def _trouble(self, uuid: str) -> str:
        job = self._jobs.get(uuid)
        coming = job is not None and job.kind == "migration in"
        if coming or not self._silence.lasting(uuid, self._read_at or 0.0):
            return ""
        return (
            f"Its QEMU does not answer libvirt on {self._host}: what is shown of it is old, and it"
            " cannot be moved until it answers."
        )

    def _sized(self, uuid: str, disk: Disk) -> Disk:
        size = self._sizes.get((uuid, disk.target))
        if size is None:
            return disk
        return replace(disk, virtual_bytes=size.virtual_bytes, allocated_bytes=size.allocated_bytes)
