"""A post-copy whose source has died is noticed while its call still waits."""

import time
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest

from backend.model import Migration, Outcome, Phase, Sample, VmState
from backend.plan.policy import BALANCED
from backend.run import halves as halves_module
from backend.run.halves import ENDED_S, QUIET_S, SURE_COUNT, Halves
from backend.run.told import Told
from backend.run.verdict import Before, End, judge

STATE = Migration(
    "a1", "db-1", "u-1", "kvm-a", "kvm-b", 1000.0, BALANCED, phase=Phase.SWITCHOVER, post_copy=True
)
DIED = End("kvm-a", True, False, VmState.SHUT_OFF, "crashed")
SENDS = End("kvm-a", True, True, VmState.PAUSED, "post-copy", "migration out")
LEFT = End("kvm-a", True, False, VmState.SHUT_OFF, "migrated")
GONE = End("kvm-a", defined=False, active=False)
WAITS = End("kvm-b", True, True, VmState.RUNNING, "post-copy", "migration in")
OFF = End("kvm-a", True, False, VmState.SHUT_OFF, "shutdown")
COPY = End("kvm-b", True, True, VmState.PAUSED, "migration", "migration in")
ARRIVED = End("kvm-b", True, True, VmState.RUNNING, "migrated")


class Silent:
    """A publisher nobody listens to."""

    def migration(self, _state: Migration) -> None: ...


class Host:
    """What it says of the VM."""

    def __init__(self, end: End | None) -> None:
        self.end = end
        self.asked = 0


@pytest.fixture(autouse=True)
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(host: Host, _uuid: str) -> End | None:
        host.asked += 1
        return host.end

    monkeypatch.setattr(halves_module, "ask", ask)


async def seen(
    monkeypatch: pytest.MonkeyPatch,
    source: End | None,
    target: End | None,
    *,
    quiet_s: float = 10.0,
    looks: int = SURE_COUNT,
    apart_s: float = QUIET_S,
    **changes: Any,
) -> tuple[bool, int]:
    """After so many looks, `apart_s` apart: whether it is over, and how often they were asked."""
    now_s = time.monotonic()
    told = Told(replace(STATE, **changes), cast("Any", Silent()), now_s - 100.0, time.time)
    hosts = Host(source), Host(target)
    halves = Halves(told, *cast("Any", hosts))
    last = Sample(100.0 - quiet_s, 1, 1, 1, 1, 0.0, None)
    apart = False
    for n in range(looks):
        at_s = now_s + n * (apart_s + 0.1)
        monkeypatch.setattr("backend.run.halves.time.monotonic", lambda at_s=at_s: at_s)
        apart = await halves.apart([last])
    return apart, hosts[0].asked


async def test_it_is_believed_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await seen(monkeypatch, DIED, WAITS) == (True, 2)
    assert await seen(monkeypatch, DIED, WAITS, looks=1) == (False, 1)


@pytest.mark.parametrize(
    ("source", "target"),
    [(SENDS, WAITS), (LEFT, WAITS), (GONE, WAITS), (DIED, ARRIVED), (None, WAITS), (DIED, None)],
)
async def test_anything_else_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, source: End | None, target: End | None
) -> None:
    assert await seen(monkeypatch, source, target, looks=4) == (False, 4)


async def test_nobody_is_asked_while_it_sends_or_can_go_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await seen(monkeypatch, DIED, WAITS, quiet_s=-5.0) == (False, 0)
    assert await seen(monkeypatch, OFF, COPY, quiet_s=-5.0, post_copy=False) == (False, 0)


async def test_a_copy_whose_source_has_ended_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = partial(seen, monkeypatch, quiet_s=2 * ENDED_S, apart_s=ENDED_S, post_copy=False)
    assert await later(OFF, COPY) == (True, 2)
    for source, target in (
        (replace(OFF, state_reason="migrated"), COPY),
        (replace(SENDS, state_reason="migration"), COPY),
        (OFF, replace(COPY, state=VmState.RUNNING)),
        (OFF, WAITS),
        (OFF, None),
    ):
        assert await later(source, target, looks=3) == (False, 3)


def test_it_is_shut_off_at_its_source_and_the_copy_is_told() -> None:
    judgement = judge(Before("db-1", "kvm-a", "kvm-b", persistent=True), OFF, COPY)
    assert (judgement.outcome, judgement.owner) == (Outcome.STAYED, "kvm-a")
    assert "waits for a copy that will not come" in judgement.reason
    assert judgement.leftovers == ("an unfinished copy on kvm-b: virsh destroy db-1 there",)
    assert not judgement.settled, "the hosts may still be tidying up"


def test_the_verdict_says_what_is_certain_and_what_is_lost() -> None:
    stands = replace(WAITS, state=VmState.PAUSED)
    judgement = judge(Before("db-1", "kvm-a", "kvm-b", persistent=True), DIED, stands)
    assert "Certain: it runs nowhere now" in judgement.reason
    assert "Lost: what was only in its memory" in judgement.reason
    assert judgement.leftovers == (
        "half a VM on kvm-b: virsh destroy db-1 there",
        "libvirt on kvm-a waits in the migration's call: systemctl restart libvirtd there",
        "a second definition on kvm-a: virsh undefine db-1 there",
    )


def test_a_half_that_libvirt_calls_running_is_not_said_to_run_nowhere() -> None:
    judgement = judge(Before("db-1", "kvm-a", "kvm-b", persistent=True), DIED, WAITS)
    assert judgement.outcome is Outcome.LOST
    assert "kvm-b calls it running" in judgement.reason
    assert "nowhere" not in judgement.reason


def test_a_guest_that_shut_down_at_the_target_has_lost_nothing() -> None:
    before = Before("db-1", "kvm-a", "kvm-b", persistent=True, shut_down_at="kvm-b")
    holds = replace(SENDS, job=None)
    off = End("kvm-b", True, False, VmState.SHUT_OFF, "shutdown")
    judgement = judge(before, holds, off)
    assert (judgement.outcome, judgement.owner) == (Outcome.MOVED, "kvm-b")
    assert judgement.reason.startswith("It is shut off on kvm-b; kvm-a holds half of its memory")
    assert judgement.leftovers[0] == "half a VM on kvm-a: virsh destroy db-1 there"
    assert judge(replace(before, shut_down_at="kvm-a"), holds, off).outcome is Outcome.LOST
    assert judge(before, holds, End("kvm-b", False, False)).outcome is Outcome.LOST


def test_the_only_definition_is_none_too_many() -> None:
    judgement = judge(
        Before("db-1", "kvm-a", "kvm-b", persistent=True), DIED, replace(WAITS, defined=False)
    )
    assert judgement.leftovers[0] == "half a VM on kvm-b: virsh destroy db-1 there"
    assert not any("undefine" in one for one in judgement.leftovers)
