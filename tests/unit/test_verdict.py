"""Who owns the VM: every pair of what two hosts can say, and the figures that go with it."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.model import Outcome, VmState
from backend.run.cleaning import may_end_half, may_store, may_undefine
from backend.run.verdict import Before, End, Standing, judge, standing

BEFORE = Before("vm", "src", "dst", persistent=True)
NOTHING = End("", defined=False, active=False)
DEFINED = End("", defined=True, active=False, state=VmState.SHUT_OFF)
RUNNING = End("", defined=True, active=True, state=VmState.RUNNING)
POST_COPY_OUT = End(
    "", True, True, VmState.PAUSED, "post-copy", "migration out"
)  # fmt: skip
FAILED_OUT = replace(POST_COPY_OUT, state_reason="post-copy failed")
POST_COPY_IN = End("", True, True, VmState.RUNNING, "post-copy", "migration in")
FAILED_IN = replace(POST_COPY_IN, state_reason="post-copy failed")
ARRIVED = End("", True, True, VmState.RUNNING, "migrated")
LEFT = End("", True, False, VmState.SHUT_OFF, "migrated")
DIED = End("", True, False, VmState.SHUT_OFF, "crashed")
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


@pytest.mark.parametrize(
    ("source", "target", "outcome", "owner", "stands"),
    [
        (POST_COPY_OUT, POST_COPY_IN, Outcome.UNKNOWN, None, Standing.GOING),
        # libvirt's keepalive gave up, QEMU's stream lives:
        (FAILED_OUT, POST_COPY_IN, Outcome.UNKNOWN, None, Standing.GOING),
        (POST_COPY_OUT, FAILED_IN, Outcome.UNKNOWN, None, Standing.GOING),
        (FAILED_OUT, FAILED_IN, Outcome.UNKNOWN, None, Standing.BROKEN),
        (FAILED_OUT, replace(FAILED_IN, state=VmState.PAUSED), Outcome.UNKNOWN, None,
         Standing.BROKEN),
        (FAILED_OUT, ARRIVED, Outcome.MOVED, "dst", Standing.OVER),
        (LEFT, ARRIVED, Outcome.MOVED, "dst", Standing.OVER),
        (LEFT, POST_COPY_IN, Outcome.UNKNOWN, None, Standing.OVER),
        (LEFT, FAILED_IN, Outcome.LOST, None, Standing.OVER),
        # The source's QEMU was killed: what is at the target waits for it, and does not know.
        (DIED, POST_COPY_IN, Outcome.LOST, None, Standing.OVER),
        (DIED, replace(POST_COPY_IN, state=VmState.PAUSED), Outcome.LOST, None, Standing.OVER),
        (DIED, ARRIVED, Outcome.MOVED, "dst", Standing.OVER),
        (NOTHING, FAILED_IN, Outcome.LOST, None, Standing.OVER),
        (FAILED_OUT, NOTHING, Outcome.LOST, None, Standing.OVER),
        (POST_COPY_OUT, DEFINED, Outcome.LOST, None, Standing.OVER),
    ],
)  # fmt: skip
def test_post_copy(
    source: End, target: End, outcome: Outcome, owner: str | None, stands: Standing
) -> None:
    judgement = judge(BEFORE, at("src", source), at("dst", target))
    assert (judgement.outcome, judgement.owner) == (outcome, owner)
    assert standing(at("src", source), at("dst", target)) is stands
    assert judgement.settled is (source in (LEFT, DIED) and target is ARRIVED)


def test_broken_names_both_hosts_and_forbids_to_destroy() -> None:
    reason = judge(BEFORE, at("src", FAILED_OUT), at("dst", FAILED_IN)).reason
    assert "src" in reason
    assert "dst" in reason
    assert "Destroy neither" in reason


ENDS = st.one_of(
    st.none(),
    st.sampled_from([NOTHING, DEFINED, RUNNING, PAUSED, LEFT, ARRIVED]),
    st.sampled_from([POST_COPY_OUT, FAILED_OUT, POST_COPY_IN, FAILED_IN]),
    st.builds(
        End,
        st.just(""),
        defined=st.booleans(),
        active=st.booleans(),
        state=st.sampled_from(list(VmState)),
        state_reason=st.sampled_from(["", "post-copy", "post-copy failed", "migrated", "user"]),
        job=st.sampled_from([None, "migration out", "migration in", "save"]),
    ),
)


@given(ENDS, ENDS)
def test_nobody_owns_what_is_on_two_hosts(source: End | None, target: End | None) -> None:
    """While the target needs pages that the source holds, nothing is settled, nobody named."""
    ends = at("src", source) if source else None, at("dst", target) if target else None
    judgement, stands = judge(BEFORE, *ends), standing(*ends)
    if target is not None and target.in_post_copy:
        assert judgement.owner is None
        assert not judgement.settled
    if stands in (Standing.GOING, Standing.BROKEN, Standing.SILENT):
        assert not judgement.settled
    if stands is Standing.BROKEN:
        assert judgement.outcome is Outcome.UNKNOWN
    if source is None or target is None:
        assert stands is not Standing.BROKEN
        assert judgement.outcome is Outcome.UNKNOWN
    stays = "resume" in judgement.reason.lower() or "resume" in " ".join(judgement.leftovers)
    if source is not None and source.in_post_copy and source.state is not VmState.RUNNING:
        assert judgement.outcome is not Outcome.STAYED
        assert not stays or "Do not resume" in judgement.reason or "neither" in judgement.reason


@given(ENDS, ENDS, st.booleans())
def test_only_a_handed_over_definition_of_a_vm_that_runs_elsewhere_is_cleaned(
    source: End | None, target: End | None, persistent: bool
) -> None:
    before = replace(BEFORE, persistent=persistent)
    if may_undefine(before, source, target):
        assert source is not None
        assert target is not None
        assert (source.active, source.state_reason) == (False, "migrated")
        assert (target.state, target.defined, target.active) == (VmState.RUNNING, True, True)
        judgement = judge(before, at("src", source), at("dst", target))
        assert (judgement.outcome, judgement.owner) == (Outcome.MOVED, "dst")
    if may_store(before, target):
        assert target is not None
        assert target.active
        assert not target.in_post_copy
    assert may_undefine(BEFORE, LEFT, ARRIVED)
    assert not may_undefine(BEFORE, DEFINED, ARRIVED)


def test_a_half_is_ended_only_where_its_guest_shut_down_at_the_target() -> None:
    before = replace(BEFORE, shut_down_at="kvm-b")
    half = End("kvm-a", True, True, VmState.PAUSED, "post-copy failed")
    off = End("kvm-b", True, False, VmState.SHUT_OFF, "shutdown")
    assert may_end_half(before, half, off)
    assert not may_end_half(BEFORE, half, off), "nobody saw it shut down"
    assert not may_end_half(before, replace(half, state=VmState.RUNNING), off)
    assert not may_end_half(before, replace(half, state_reason="migrated"), off)
    assert not may_end_half(before, half, replace(off, active=True, state=VmState.RUNNING))
    assert not may_end_half(before, half, replace(off, defined=False))
    assert not may_end_half(before, half, None)
    assert not may_end_half(before, None, off)
