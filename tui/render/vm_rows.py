"""VMs as table rows."""

from dataclasses import dataclass

from backend.model import Disk, Migration, Outcome, Vm, VmState, Word
from tui.render import units
from tui.render.ink import Ink, Spans, spans_of
from tui.render.table import Column, Note

_STATES = {
    VmState.RUNNING: ("●", Ink.OK),
    VmState.PAUSED: ("!", Ink.WARN),
    VmState.SHUT_OFF: ("○", Ink.DIM),
    VmState.SHUTTING_DOWN: ("◌", Ink.DIM),
    VmState.CRASHED: ("✕", Ink.BAD),
    VmState.SUSPENDED: ("○", Ink.DIM),
    VmState.UNKNOWN: ("?", Ink.WARN),
}


@dataclass(frozen=True, slots=True)
class VmRow:
    """A VM on a host and what its row needs besides."""

    vm: Vm
    now: float
    host_up: bool = True
    migration: Migration | None = None
    """The newest of this VM."""
    progress: float = 0.0
    """Of that migration, 0-1, never falling."""
    job_progress: float | None = None
    """Of a job someone else started, 0-1, never falling."""

    @property
    def key(self) -> str:
        """One VM may be on two hosts: both are rows."""
        return f"{self.vm.uuid}@{self.vm.host}"

    @property
    def moving(self) -> bool:
        """It is being moved by this engine now."""
        return self.migration is not None and self.migration.running

    @property
    def stuck(self) -> bool:
        """It will not converge: a percentage would promise an end."""
        outlook = self.migration.outlook if self.migration else None
        at_source = self.migration is not None and self.vm.host == self.migration.source
        return at_source and outlook is not None and outlook.word is Word.WILL_NOT_CONVERGE

    def note(self) -> Note | None:
        """Why its figures are old."""
        if not self.vm.trouble or not self.host_up:
            return None
        return Note("cpu", "moved", spans_of((self.vm.trouble, Ink.WARN)))


def _state(row: VmRow, width: int) -> Spans:
    if row.moving or row.vm.job:
        return _busy(row, width)
    verdict = row.migration.verdict if row.migration else None
    if verdict and verdict.outcome not in (Outcome.MOVED, Outcome.STAYED):
        return spans_of(("✕ needs you", Ink.BAD))
    if not row.host_up:
        return spans_of((f"? {row.vm.state}", Ink.DIM))
    if row.vm.trouble:
        return spans_of((f"? {row.vm.state}", Ink.WARN))
    glyph, ink = _STATES[row.vm.state]
    return spans_of((f"{glyph} {row.vm.state}", ink))


def _busy(row: VmRow, width: int) -> Spans:
    migration, job = row.migration, row.vm.job
    if migration is not None and migration.running:
        if row.stuck:
            return spans_of((f"! ⇢ {migration.target}", Ink.WARN))
        if row.vm.host == migration.source:
            return _arrow(migration.target, row.progress, width)
        return spans_of((f"⇠ {migration.source}", Ink.MOVE))
    kind = job.kind if job else ""
    if kind == "migration in":
        return spans_of(("⇠ coming in", Ink.MOVE))
    name = "moving" if kind == "migration out" else kind
    return _arrow(name, row.job_progress, width)


def _arrow(name: str, progress: float | None, width: int) -> Spans:
    figure = "" if progress is None else f"{int(progress * 100):>4}%"
    return spans_of((f"⇢ {name[: max(width - 2 - len(figure), 4)]}{figure}", Ink.MOVE))


def own_disks(vm: Vm) -> tuple[Disk, ...]:
    """Its disks that hold data: no empty drive, no CD."""
    return tuple(disk for disk in vm.disks if disk.source and disk.device in ("disk", "lun"))


def _disk(row: VmRow, _width: int) -> Spans:
    disks = own_disks(row.vm)
    if not disks:
        return spans_of(("none", Ink.DIM))
    kinds = [disk.shared for disk in disks]
    kind = "local" if False in kinds else "unproven" if None in kinds else "shared"
    total = sum(disk.virtual_bytes or 0 for disk in disks)
    count = f"{len(disks)}× " if len(disks) > 1 else ""
    return spans_of(f"{count}{kind}" + (f" {units.size(total)}" if total else ""))


def _network(row: VmRow, _width: int) -> Spans:
    nics = row.vm.nics
    if not nics:
        return spans_of(("none", Ink.DIM))
    more = f" +{len(nics) - 1}" if len(nics) > 1 else ""
    return spans_of((nics[0].source or nics[0].kind) + more)


def _last_move(row: VmRow, _width: int) -> Spans:
    if row.moving:
        return spans_of((units.DASH, Ink.DIM))
    if row.vm.last_move_at is None:
        return spans_of(("never", Ink.DIM))
    ago = _coarse(row.now - row.vm.last_move_at)
    pause = row.vm.last_pause_ms
    return spans_of(ago if pause is None else f"{ago}, {units.milliseconds(pause)}")


def _coarse(seconds: float) -> str:
    if seconds < 60:
        return "now"
    return f"{seconds // 60:.0f} m" if seconds < 3600 else units.duration(seconds).split(" m")[0]


def _optional(value: str) -> Spans:
    return spans_of((value, Ink.DIM if value == units.DASH else Ink.TEXT))


def _writes(row: VmRow, _width: int) -> Spans:
    return _optional(units.brief_rate(row.vm.writes_bytes_s))


COLUMNS: tuple[Column[VmRow], ...] = (
    Column(
        "vm",
        "VM",
        10,
        lambda r, _: spans_of((r.vm.name, Ink.BOLD)),
        flex=22,
        sort=lambda r: r.vm.name,
    ),
    Column("host", "HOST", 8, lambda r, _: spans_of(r.vm.host), flex=12, sort=lambda r: r.vm.host),
    Column(
        "state",
        "STATE",
        18,
        _state,
        narrow=15,
        flex=6,
        sort=lambda r: (not r.moving, str(r.vm.state)),
    ),
    Column("vcpu", "VCPU", 4, lambda r, _: spans_of(str(r.vm.vcpus)), rank=4, right=True),
    Column(
        "cpu",
        "CPU",
        4,
        lambda r, _: _optional(units.percent(r.vm.cpu_percent)),
        rank=1,
        right=True,
        sort=lambda r: -(r.vm.cpu_percent or -1.0),
    ),
    Column(
        "memory",
        "MEMORY",
        6,
        lambda r, _: spans_of(units.size(r.vm.memory_bytes)),
        rank=1,
        right=True,
        sort=lambda r: -r.vm.memory_bytes,
    ),
    Column(
        "writes",
        "WRITES",
        9,
        _writes,
        rank=2,
        right=True,
        sort=lambda r: -(r.vm.writes_bytes_s or -1.0),
    ),
    Column("disk", "DISK", 13, _disk, rank=5),
    Column("network", "NETWORK", 8, _network, rank=6, flex=12),
    Column(
        "moved",
        "LAST MOVE",
        13,
        _last_move,
        rank=3,
        narrow=12,
        sort=lambda r: -(r.vm.last_move_at or 0.0),
    ),
    Column(
        "resident",
        "RESIDENT",
        8,
        lambda r, _: _optional(units.size(r.vm.memory_used_bytes)),
        rank=11,
        right=True,
    ),
    Column(
        "kept",
        "DEFINED",
        10,
        lambda r, _: spans_of("persistent" if r.vm.persistent else "transient"),
        rank=12,
    ),
    Column(
        "autostart",
        "AUTOSTART",
        9,
        lambda r, _: _optional("yes" if r.vm.autostart else units.DASH),
        rank=13,
    ),
    Column("uuid", "UUID", 36, lambda r, _: spans_of((r.vm.uuid, Ink.DIM)), rank=14),
)
"""In the order drawn; `rank` says which go first when the terminal is narrow."""

SORTS: tuple[Column[VmRow], ...] = tuple(column for column in COLUMNS if column.sort)
"""The columns `s` goes through."""
