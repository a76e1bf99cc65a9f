"""Who owns the VM: every pair of what two hosts can say, and the figures that go with it."""

from dataclasses import replace
from itertools import product

import pytest

from backend.model import Outcome, VmState
from backend.run.verdict import Before, End, judge

BEFORE = Before("vm", "src", "dst", persistent=True)
NOTHING = End("", defined=False, active=False)
DEFINED = End("", defined=True, active=False, state=VmState.SHUT_OFF)
RUNNING = End("", defined=True, active=True, state=VmState.RUNNING)
PAUSED = End("", defined=True, active=True, state=VmState.PAUSED)


def at(host: str, end: End) -> End:
    return replace(end, host=host)


@pytest.mark.parametrize(
    ("source", "target", "outcome", "owner"),
    [
        (NOTHING, RUNNING, Outcome.MOVED, "dst"),
        (DEFINED, RUNNING, Outcome.MOVED, "dst"),
        (RUNNING, NOTHING, Outcome.STAYED, "src"),
        (RUNNING, DEFINED, Outcome.STAYED, "src"),
        (DEFINED, NOTHING, Outcome.STAYED, "src"),
        (NOTHING, DEFINED, Outcome.MOVED, "dst"),
        (DEFINED, DEFINED, Outcome.UNKNOWN, None),
        (RUNNING, RUNNING, Outcome.SPLIT, None),
        (RUNNING, PAUSED, Outcome.STAYED, "src"),
        (PAUSED, PAUSED, Outcome.UNKNOWN, None),
        (NOTHING, NOTHING, Outcome.LOST, None),
    ],
)
def test_the_owner(source: End, target: End, outcome: Outcome, owner: str | None) -> None:
    judgement = judge(BEFORE, at("src", source), at("dst", target))
    assert (judgement.outcome, judgement.owner) == (outcome, owner)


@pytest.mark.parametrize("other", [NOTHING, DEFINED, RUNNING, PAUSED])
def test_a_silent_end_is_never_guessed(other: End) -> None:
    for ends in ((None, at("dst", other)), (at("src", other), None), (None, None)):
        judgement = judge(BEFORE, *ends)
        assert (judgement.outcome, judgement.owner) == (Outcome.UNKNOWN, None)
        assert not judgement.settled


def test_a_job_that_runs_is_waited_for() -> None:
    busy = replace(at("src", RUNNING), job="migration out")
    assert not judge(BEFORE, busy, at("dst", PAUSED)).settled


def test_a_stale_definition_is_a_leftover_with_its_remedy() -> None:
    moved = judge(BEFORE, at("src", DEFINED), at("dst", RUNNING))
    assert moved.leftovers == ("its definition on src: virsh undefine vm there",)
    stayed = judge(BEFORE, at("src", RUNNING), at("dst", DEFINED))
    assert stayed.leftovers == ("a stale definition on dst: virsh undefine vm there",)


def test_a_clean_end_leaves_nothing() -> None:
    assert judge(BEFORE, at("src", NOTHING), at("dst", RUNNING)).leftovers == ()
    assert judge(BEFORE, at("src", RUNNING), at("dst", NOTHING)).leftovers == ()


def test_a_persistent_vm_that_arrives_transient_is_told() -> None:
    transient = replace(at("dst", RUNNING), defined=False)
    assert "no stored definition" in judge(BEFORE, at("src", NOTHING), transient).leftovers[0]


def test_an_owner_always_has_the_vm() -> None:
    ends = [NOTHING, DEFINED, RUNNING, PAUSED, None]
    for source, target in product(ends, ends):
        judgement = judge(
            BEFORE,
            at("src", source) if source else None,
            at("dst", target) if target else None,
        )
        if judgement.owner is not None:
            owner = source if judgement.owner == "src" else target
            assert owner is not None
            assert not owner.absent
