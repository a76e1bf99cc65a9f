"""The kind of a move is judged by what the source says now, not by what the table last showed."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.model import Host, HostState, Mode, MoveOptions, Vm, VmState
from backend.run.survey import _of_vm
from backend.run.survey_asking import Asking


def host(name: str) -> Any:
    return SimpleNamespace(
        name=name, host=Host(name, HostState.UP), tls=True, migrate_uri="", source_uri=""
    )


def at_source(state: VmState) -> Any:
    raw = SimpleNamespace(
        xml="<domain><name>db-1</name></domain>",
        persistent=True,
        autostart=False,
        snapshots=0,
        checkpoints=0,
        has_managed_save=False,
    )
    presence = SimpleNamespace(state=state, state_reason="")
    return SimpleNamespace(
        raw=raw, presence=presence, job=None, disk_errors=0, versions=None, volumes={}, sizes={}
    )


@pytest.mark.parametrize(
    ("shown", "now", "mode"),
    [
        (VmState.SHUT_OFF, VmState.RUNNING, Mode.LIVE),
        (VmState.RUNNING, VmState.SHUT_OFF, Mode.COLD),
    ],
)
def test_a_vm_that_has_just_changed_is_planned_as_it_is(
    shown: VmState, now: VmState, mode: Mode
) -> None:
    vm = Vm("u-1", "db-1", "kvm-a", shown)
    asking = Asking(vm, host("kvm-a"), host("kvm-b"), options=MoveOptions())
    facts = _of_vm(asking, cast("Any", at_source(now)))
    assert (facts.mode, facts.vm.state) == (mode, now)
