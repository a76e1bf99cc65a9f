"""What befell a VM while it moved is said in the verdict: by events, and without them."""

import time
from dataclasses import replace
from typing import Any, cast

import pytest

from backend.model import Migration, Outcome, Phase, VmState
from backend.plan.policy import BALANCED
from backend.run.meanwhile import Meanwhile
from backend.run.told import Told
from backend.run.verdict import Before, End, judge

STATE = Migration(
    "a1", "db-1", "u-1", "kvm-a", "kvm-b", 1000.0, BALANCED, phase=Phase.MEMORY, called_at=1001.0
)
BEFORE = Before("db-1", "kvm-a", "kvm-b", persistent=True)
NOTHING = End("", defined=False, active=False)
RUNS = End("", True, True, VmState.RUNNING, "migrated")
PAUSED = End("", True, True, VmState.PAUSED, "user")


class Silent:
    """A publisher nobody listens to."""

    def migration(self, _state: Migration) -> None: ...
    def decision(self, _id: str, _decision: object) -> None: ...


def off(reason: str) -> End:
    return End("", True, False, VmState.SHUT_OFF, reason)


def reason(
    source: End, target: End, *events: tuple[str, str], ours: bool = False, **changes: Any
) -> str:
    """What is added to the verdict on these ends after these (host, detail)."""
    told = Told(replace(STATE, **changes), cast("Any", Silent()), 0.0, time.time)
    meanwhile = Meanwhile(told, lambda: ours)
    for host, detail in events:
        meanwhile.take(host, detail)
    ends = (replace(source, host="kvm-a"), replace(target, host="kvm-b"))
    return meanwhile.said(judge(BEFORE, *ends))


MOVE = (
    ("kvm-a", "suspended migrated"),
    ("kvm-b", "resumed migrated"),
    ("kvm-a", "stopped migrated"),
)


def test_an_ordinary_move_has_nothing_to_say() -> None:
    assert reason(NOTHING, RUNS, *MOVE) == ""
    failed = (("kvm-b", "stopped failed"), ("kvm-a", "resumed migrated"))
    assert reason(RUNS, NOTHING, ("kvm-a", "suspended migrated"), *failed) == ""


def test_where_a_guest_shut_down_is_known_and_said() -> None:
    told = Told(replace(STATE, post_copy=True), cast("Any", Silent()), 0.0, time.time)
    meanwhile = Meanwhile(told, lambda: False)
    assert meanwhile.shut_down_at == ""
    meanwhile.take("kvm-b", "stopped shutdown")
    assert meanwhile.shut_down_at == "kvm-b"
    half = End("kvm-a", True, True, VmState.PAUSED, "post-copy")
    gone = End("kvm-b", True, False, VmState.SHUT_OFF, "shutdown")
    judgement = judge(replace(BEFORE, shut_down_at="kvm-b"), half, gone)
    assert judgement.outcome is Outcome.MOVED
    assert meanwhile.said(judgement).startswith("Its guest shut down on kvm-b, ")


def test_suspended_during_the_copy_it_goes_on_at_the_target() -> None:
    said = reason(NOTHING, RUNS, ("kvm-a", "suspended paused"), *MOVE)
    assert "suspended meanwhile by somebody else (on kvm-a, during the copy)" in said
    assert "go on" in said


def test_suspended_and_still_paused() -> None:
    moved = reason(NOTHING, PAUSED, *MOVE, ("kvm-b", "suspended paused"), phase=Phase.VERIFY)
    assert "by somebody else (on kvm-b, after the copy), and stays paused" in moved
    stayed = reason(PAUSED, NOTHING, ("kvm-a", "suspended paused"))
    assert "by somebody else (on kvm-a, during the copy), and stays paused" in stayed


def test_without_an_event_its_state_tells() -> None:
    assert "suspended meanwhile by somebody else, and" in reason(NOTHING, PAUSED)
    for word, said in (("crashed", "crashed"), ("shutdown", "shut down"), ("destroyed", "ended")):
        assert said in reason(off(word), NOTHING)
    assert reason(off("migrated"), RUNS) == ""


def test_resumed_again_it_is_as_before() -> None:
    twice = (("kvm-a", "suspended paused"), ("kvm-a", "resumed unpaused"))
    assert reason(NOTHING, RUNS, *twice, *MOVE) == ""


def test_our_own_suspend_is_not_somebody_elses() -> None:
    assert reason(NOTHING, RUNS, ("kvm-a", "suspended paused"), *MOVE, ours=True) == ""
    assert reason(PAUSED, NOTHING, ("kvm-a", "suspended paused"), ours=True) == ""


def test_a_vm_that_was_paused_before_stays_so_unsaid() -> None:
    assert reason(NOTHING, PAUSED, *MOVE[1:], state_before=VmState.PAUSED) == ""


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("crashed panicked", "Its guest crashed on kvm-a, during the copy."),
        ("stopped crashed", "Its guest crashed on kvm-a, during the copy."),
        ("shutdown by guest", "Its guest shut down on kvm-a, during the copy."),
        ("stopped destroyed", "Somebody else ended it on kvm-a, during the copy."),
        ("stopped failed", "Its QEMU ended by itself on kvm-a, during the copy."),
    ],
)
def test_how_it_ended(detail: str, said: str) -> None:
    assert reason(off("crashed"), NOTHING, ("kvm-a", detail)) == said


def test_the_first_word_of_an_end_counts() -> None:
    events = (("kvm-a", "shutdown by guest"), ("kvm-a", "stopped failed"))
    said = reason(off("shutdown"), NOTHING, *events)
    assert said.startswith("Its guest shut down")


def test_what_ends_at_the_target_counts_once_it_ran_there() -> None:
    assert reason(RUNS, NOTHING, ("kvm-b", "stopped destroyed")) == ""
    said = reason(NOTHING, off("crashed"), *MOVE, ("kvm-b", "stopped failed"), post_copy=True)
    assert said == "Its QEMU ended by itself on kvm-b, during post-copy."
    assert (
        judge(BEFORE, replace(NOTHING, host="kvm-a"), replace(off("crashed"), host="kvm-b")).outcome
        is Outcome.MOVED
    )
