"""What a move teaches about its VM, as the fleet shows it. Pure."""

from dataclasses import replace

from backend.model import Job, Mode, Outcome, Vm
from backend.run.runs import Run


def learned(vm: Vm, run: Run) -> Vm:
    """`vm` as its newest move shows it: the job, its writes, its last move."""
    verdict, sample = run.state.verdict, run.state.sample
    if verdict is None and run.state.called_at is not None and vm.host == run.state.source:
        left = sample.remaining_bytes + sample.disk_remaining_bytes if sample else None
        kind = "disk copy" if run.state.mode is Mode.STORAGE else "migration out"
        vm = replace(vm, job=Job(kind, None, left))
    vm = _with_writes(vm, run)
    if verdict is None or verdict.outcome is not Outcome.MOVED or verdict.mode is Mode.STORAGE:
        return vm
    return replace(vm, last_move_at=run.state.started, last_pause_ms=verdict.pause_ms)


def _with_writes(vm: Vm, run: Run) -> Vm:
    """The newer of what was measured and what the migration saw."""
    sample, called_at = run.state.sample, run.state.called_at
    if sample is None or called_at is None or sample.dirty_bytes_s is None:
        return vm
    at = called_at + sample.t_s
    if vm.writes_at is not None and vm.writes_at > at:
        return vm
    return replace(vm, writes_bytes_s=sample.dirty_bytes_s, writes_at=at)
