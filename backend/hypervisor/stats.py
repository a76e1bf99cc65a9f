"""libvirt's raw statistics -> typed figures with units. Pure.

Any key can be missing. Units as measured on libvirt 9.0: sizes bytes, `*_bps` bytes/s, times
ms, `memory_dirty_rate` **pages**/s (times `memory_page_size`; 0 during the first pass, updated
at each pass), `downtime` the *expected* pause while running and the real one when completed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.model import VmState

Raw = Mapping[str, Any]

JOB_NONE = 0
JOB_OPERATIONS = {
    1: "start",
    2: "save",
    3: "restore",
    4: "migration in",
    5: "migration out",
    6: "snapshot",
    7: "snapshot revert",
    8: "dump",
    9: "backup",
    10: "snapshot delete",
}
"""virDomainJobOperation -> words."""

_DEFAULT_PAGE_BYTES = 4096
_STATES = {
    1: VmState.RUNNING,
    2: VmState.RUNNING,
    3: VmState.PAUSED,
    4: VmState.SHUTTING_DOWN,
    5: VmState.SHUT_OFF,
    6: VmState.CRASHED,
    7: VmState.SUSPENDED,
}
_REASONS: dict[VmState, tuple[str, ...]] = {
    VmState.RUNNING: (
        "",
        "booted",
        "migrated",
        "restored",
        "from snapshot",
        "unpaused",
        "migration cancelled",
        "save cancelled",
        "wakeup",
        "crashed",
        "post-copy",
        "post-copy failed",
    ),
    VmState.PAUSED: (
        "",
        "user",
        "migration",
        "save",
        "dump",
        "io error",
        "watchdog",
        "from snapshot",
        "shutting down",
        "snapshot",
        "crashed",
        "starting up",
        "post-copy",
        "post-copy failed",
        "api error",
    ),
    VmState.SHUT_OFF: (
        "",
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from snapshot",
        "daemon",
    ),
    VmState.CRASHED: ("", "panicked"),
}


def vm_state(number: int) -> VmState:
    """virDomainState -> the model's word (blocked counts as running)."""
    return _STATES.get(number, VmState.UNKNOWN)


def state_reason(state: VmState, number: int) -> str:
    """The reason libvirt gives for a state: `migrated`, `io error`; empty when it gives none."""
    words = _REASONS.get(state, ())
    return words[number] if 0 <= number < len(words) else ""


def _int(raw: Raw, key: str) -> int | None:
    value = raw.get(key)
    return value if isinstance(value, int) and 0 <= value < 2**64 else None


def _size(raw: Raw, key: str) -> int:
    return _int(raw, key) or 0


@dataclass(frozen=True, slots=True)
class JobReading:
    """One look at the statistics of a running migration."""

    t_s: float
    """As given: since the migrate call."""
    operation: str
    """migration out, migration in, ...; empty when not told."""
    pass_number: int
    """From 1; attempts cancelled before are not counted."""
    raw_pass: int | None
    """QEMU's own counter; None before the first pass, and again after an abort."""
    total_bytes: int
    """Memory and disk together."""
    remaining_bytes: int
    sent_bytes: int
    """What has been processed, memory and disk. Falls to 0 once an abort takes effect."""
    memory_total_bytes: int
    memory_remaining_bytes: int
    memory_sent_bytes: int
    disk_total_bytes: int
    disk_remaining_bytes: int
    disk_sent_bytes: int
    rate_bytes_s: float
    """Of the memory; of the disk while only that is copied."""
    disk_rate_bytes_s: float
    dirty_bytes_s: float | None
    """None during the first pass, when QEMU does not know it."""
    page_bytes: int
    pages_dup: int
    """Pages of one repeated byte: they cost 9 bytes each."""
    pages_normal: int
    elapsed_ms: int
    setup_ms: int | None
    expected_pause_ms: int | None
    throttle_percent: int | None
    postcopy_requests: int | None
    xbzrle_bytes: int | None

    @property
    def disk_copied(self) -> bool:
        """The disk mirror has everything (also true without one)."""
        return self.disk_remaining_bytes == 0


def job_sample(raw: Raw, t_s: float, first_pass: int | None = None) -> JobReading:
    """Read the `jobStats` of a running migration.

    `first_pass` is the first `raw_pass` seen in this attempt: QEMU's counter may go on from
    attempts that were cancelled.
    """
    page_bytes = _int(raw, "memory_page_size") or _DEFAULT_PAGE_BYTES
    raw_pass = _int(raw, "memory_iteration") or None
    pass_number = 1 if raw_pass is None else max(1, raw_pass - (first_pass or 1) + 1)
    dirty_pages_s = _int(raw, "memory_dirty_rate")
    memory_total = _size(raw, "memory_total")
    memory_rate = float(_size(raw, "memory_bps"))
    disk_rate = float(_size(raw, "disk_bps"))
    memory_left, disk_left = _size(raw, "memory_remaining"), _size(raw, "disk_remaining")
    return JobReading(
        t_s=t_s,
        operation=JOB_OPERATIONS.get(_size(raw, "operation"), ""),
        pass_number=pass_number,
        raw_pass=raw_pass,
        total_bytes=memory_total + _size(raw, "disk_total"),
        remaining_bytes=memory_left + disk_left,
        sent_bytes=_size(raw, "memory_processed") + _size(raw, "disk_processed"),
        memory_total_bytes=memory_total,
        memory_remaining_bytes=memory_left,
        memory_sent_bytes=_size(raw, "memory_processed"),
        disk_total_bytes=_size(raw, "disk_total"),
        disk_remaining_bytes=disk_left,
        disk_sent_bytes=_size(raw, "disk_processed"),
        rate_bytes_s=memory_rate if memory_total else disk_rate,
        disk_rate_bytes_s=disk_rate,
        # 0 is "not known yet" in the first pass, and a real figure afterwards.
        dirty_bytes_s=(
            float(dirty_pages_s * page_bytes)
            if dirty_pages_s is not None and (dirty_pages_s > 0 or pass_number > 1)
            else None
        ),
        page_bytes=page_bytes,
        pages_dup=_size(raw, "memory_constant"),
        pages_normal=_size(raw, "memory_normal"),
        elapsed_ms=_size(raw, "time_elapsed"),
        setup_ms=_int(raw, "setup_time"),
        expected_pause_ms=_int(raw, "downtime"),
        throttle_percent=_int(raw, "auto_converge_throttle"),
        postcopy_requests=_int(raw, "memory_postcopy_requests"),
        xbzrle_bytes=_int(raw, "compression_bytes"),
    )


def job_age_s(raw: Raw) -> float:
    """For how long a job has been running, by its own host's clock."""
    return _size(raw, "time_elapsed") / 1000


@dataclass(frozen=True, slots=True)
class CompletedJob:
    """The final figures of a job, from JOB_COMPLETED or `jobStats(COMPLETED)`."""

    operation: str
    success: bool | None
    """None where libvirt does not say."""
    error: str
    total_ms: int
    total_net_ms: int | None
    """Without the clock difference of the two hosts; only at the target."""
    pause_ms: int | None
    pause_net_ms: int | None
    sent_bytes: int
    memory_sent_bytes: int
    disk_sent_bytes: int
    passes: int | None
    setup_ms: int | None
    throttle_percent: int | None
    rate_bytes_s: float
    dirty_bytes_s: float | None


def completed(raw: Raw) -> CompletedJob:
    """Read the statistics of a job that has ended."""
    page_bytes = _int(raw, "memory_page_size") or _DEFAULT_PAGE_BYTES
    dirty_pages_s = _int(raw, "memory_dirty_rate")
    success = raw.get("success")
    memory_sent, disk_sent = _size(raw, "memory_processed"), _size(raw, "disk_processed")
    return CompletedJob(
        operation=JOB_OPERATIONS.get(_size(raw, "operation"), ""),
        success=bool(success) if success is not None else None,
        error=str(raw.get("errmsg") or ""),
        total_ms=_size(raw, "time_elapsed"),
        total_net_ms=_int(raw, "time_elapsed_net"),
        pause_ms=_int(raw, "downtime"),
        pause_net_ms=_int(raw, "downtime_net"),
        sent_bytes=memory_sent + disk_sent,
        memory_sent_bytes=memory_sent,
        disk_sent_bytes=disk_sent,
        passes=_int(raw, "memory_iteration"),
        setup_ms=_int(raw, "setup_time"),
        throttle_percent=_int(raw, "auto_converge_throttle"),
        rate_bytes_s=float(_size(raw, "memory_bps")),
        dirty_bytes_s=float(dirty_pages_s * page_bytes) if dirty_pages_s is not None else None,
    )


def job_progress(raw: Raw) -> tuple[float | None, int | None]:
    """Percent done and bytes left of any running job; None where the job does not tell."""
    total, left = _int(raw, "data_total"), _int(raw, "data_remaining")
    if not total:
        total = _size(raw, "memory_total") + _size(raw, "disk_total")
        left = _size(raw, "memory_remaining") + _size(raw, "disk_remaining")
    if not total or left is None:
        return None, None
    return round(max(0.0, min(99.0, 100.0 * (total - left) / total)), 1), left


@dataclass(frozen=True, slots=True)
class BlockStats:
    """One disk's sizes."""

    target: str
    virtual_bytes: int | None
    allocated_bytes: int | None
    """Used by the guest; for sparse files less than virtual."""
    path: str | None = None


@dataclass(frozen=True, slots=True)
class VmStats:
    """One VM's statistics at one instant."""

    state: VmState
    state_reason: str
    cpu_time_ns: int | None
    cpu_percent: float | None
    """Of one CPU per vCPU, 0-100; None without an earlier reading."""
    vcpus: int
    memory_bytes: int | None
    """The balloon's present size; None while shut off."""
    memory_used_bytes: int | None
    """Resident in its QEMU."""
    blocks: tuple[BlockStats, ...] = ()


def vm_statistics(
    raw: Raw, previous: VmStats | None = None, elapsed_s: float | None = None
) -> VmStats:
    """Read one domain's `getAllDomainStats` record.

    `previous` and `elapsed_s` (the time since it was read) give the CPU load. Keys that NOWAIT
    left out, because a job held the VM, stay None.
    """
    state = vm_state(_size(raw, "state.state"))
    cpu_time_ns = _int(raw, "cpu.time")
    vcpus = _int(raw, "vcpu.current") or _int(raw, "vcpu.maximum") or 0
    memory_kib, rss_kib = _int(raw, "balloon.current"), _int(raw, "balloon.rss")
    return VmStats(
        state=state,
        state_reason=state_reason(state, _size(raw, "state.reason")),
        cpu_time_ns=cpu_time_ns,
        cpu_percent=_cpu_percent(cpu_time_ns, vcpus, previous, elapsed_s),
        vcpus=vcpus,
        memory_bytes=memory_kib * 1024 if memory_kib is not None and state.active else None,
        memory_used_bytes=rss_kib * 1024 if rss_kib is not None else None,
        blocks=_blocks(raw),
    )


def _cpu_percent(
    now_ns: int | None, vcpus: int, previous: VmStats | None, elapsed_s: float | None
) -> float | None:
    if now_ns is None or previous is None or previous.cpu_time_ns is None:
        return None
    # The counter starts again with every QEMU: a smaller value is another process.
    if not elapsed_s or elapsed_s <= 0 or now_ns < previous.cpu_time_ns:
        return None
    used = (now_ns - previous.cpu_time_ns) / (elapsed_s * 1e9 * max(1, vcpus))
    # QEMU's own threads count too, so it can exceed what the vCPUs alone could use.
    return round(min(100.0, 100.0 * used), 1)


def _blocks(raw: Raw) -> tuple[BlockStats, ...]:
    """One entry per disk; backing images (they have a `backingIndex` of their own) are left out."""
    found: dict[str, BlockStats] = {}
    for index in range(min(_size(raw, "block.count"), 4096)):
        prefix = f"block.{index}."
        target = raw.get(prefix + "name")
        if isinstance(target, str) and target not in found:
            path = raw.get(prefix + "path")
            found[target] = BlockStats(
                target=target,
                virtual_bytes=_int(raw, prefix + "capacity"),
                allocated_bytes=_int(raw, prefix + "allocation"),
                path=path if isinstance(path, str) else None,
            )
    return tuple(found.values())
