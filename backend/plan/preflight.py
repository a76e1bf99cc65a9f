"""All findings about moving one VM to one target, in a fixed order, good news included. Pure.

A fact that is not known is a warning, not a refusal: except where going on could harm the VM
unseen (a block device that might be another one).
"""

from collections.abc import Callable, Iterable, Iterator

from backend.model import Finding, Mode, Severity
from backend.plan import preflight_cold, preflight_host, preflight_vm
from backend.plan.facts import Survey
from backend.plan.preflight_network import network
from backend.plan.preflight_pools import between_pools
from backend.plan.preflight_storage import needs_unsafe, storage

__all__ = ["fit_score", "needs_unsafe", "preflight"]

Check = Callable[[Survey], Iterable[Finding]]

_OF_THE_VM: tuple[Check, ...] = (
    preflight_vm.state,
    preflight_vm.job,
    preflight_vm.saved,
    preflight_vm.devices,
)
_OF_THE_PAIR: tuple[Check, ...] = (
    preflight_host.held,
    preflight_host.reach,
    preflight_host.encryption,
    preflight_host.cpu,
    preflight_host.memory,
    preflight_host.machine,
    storage,
    network,
    preflight_host.versions,
)
_OF_AN_IDLE_VM: tuple[Check, ...] = (
    preflight_cold.state,
    preflight_vm.job,
    preflight_cold.saved,
    preflight_cold.bound,
)


def _to_run_there(survey: Survey) -> Iterator[Finding]:
    for check in (preflight_host.cpu, preflight_host.memory, preflight_host.machine, network):
        yield from preflight_cold.eased(survey, check(survey))


_OF_AN_IDLE_PAIR: tuple[Check, ...] = (
    preflight_host.held,
    preflight_host.encryption,
    _to_run_there,
    lambda survey: preflight_cold.undoubted(storage(survey)),
    preflight_cold.copying,
)


def preflight(survey: Survey) -> tuple[Finding, ...]:
    """Every finding. Of a target that is down, or is the source, nothing else is asked."""
    if survey.mode is Mode.STORAGE:
        return (*preflight_vm.answers(survey), *between_pools(survey))
    idle = survey.idle
    findings = [*preflight_host.same_host(survey), *preflight_vm.answers(survey)]
    judged = not survey.same_host
    if judged:
        findings += preflight_host.target_up(survey)
        findings += preflight_host.maintenance(survey)
    for of_vm in _OF_AN_IDLE_VM if idle else _OF_THE_VM:
        findings += of_vm(survey)
    if judged and survey.target_up:
        for of_pair in _OF_AN_IDLE_PAIR if idle else _OF_THE_PAIR:
            findings += of_pair(survey)
    return tuple(findings)


def fit_score(survey: Survey, findings: tuple[Finding, ...]) -> int | None:
    """How well the target suits, 0 to 100; None where it cannot take the VM.

    Up to 60 points for memory: all of them when half of the target's is free after the move.
    Up to 40 for idle CPUs (20 where the load is not known). 10 off for each migration that
    already runs to or from it.
    """
    target, free = survey.target, survey.target_free_bytes
    blocked = any(finding.severity is Severity.BLOCK for finding in findings)
    if blocked or free is None or not target.memory_bytes:
        return None
    left = max(0.0, (free - survey.needed_bytes) / target.memory_bytes)
    idle = 0.5 if target.cpu_percent is None else max(0.0, 1 - target.cpu_percent / 100)
    busy = target.migrations_in + target.migrations_out
    return max(0, min(100, round(60 * min(1.0, 2 * left) + 40 * idle - 10 * busy)))
