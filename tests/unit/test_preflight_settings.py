"""Settings that cannot work or would not help, found before the start."""

from dataclasses import replace

import pytest

from backend.model import Band, Finding, Forecast, Host, HostState, MoveOptions, Severity, VmState
from backend.model import Vm as VmModel
from backend.plan.facts import Definition, Held, Reach, ReachProblem, Survey, Versions
from backend.plan.policy import BALANCED, BUILT_IN, GENTLE, MUST_FINISH
from backend.plan.preflight_settings import settings

VM = VmModel("u-1", "db-1", "kvm-a", VmState.RUNNING, memory_bytes=512 * 2**20)
OLD, NEW = Versions(9_000_000, 7_002_000), Versions(11_000_000, 10_001_000)
GOOD = Survey(
    vm=VM,
    source=Host("kvm-a", HostState.UP),
    target=Host("kvm-b", HostState.UP),
    migrate_uri="qemu+tls://kvm-b/system",
    definition=Definition("kvm", "q35", "/usr/bin/qemu", 512 * 2**20, (), ()),
    snapshots=0,
    checkpoints=0,
    managed_save=False,
    io_error=False,
    held=Held.NOTHING,
    reach=Reach(ReachProblem.NONE),
    cpu=None,
    machines=frozenset(),
    emulator_there=True,
    disks={},
    attachments={},
    files_missing=(),
    source_versions=OLD,
    target_versions=OLD,
)
FORECAST = Forecast(True, Band(10, 12, 15))


def found(
    facts: Survey = GOOD,
    policy: object = BALANCED,
    options: MoveOptions | None = None,
    forecast: Forecast = FORECAST,
    can_hold: bool = True,
) -> dict[str, Finding]:
    asked = options or MoveOptions()
    all_found = settings(facts, policy, asked, forecast, can_hold)  # type: ignore[arg-type]
    return {one.code: one for one in all_found}


@pytest.mark.parametrize("policy", BUILT_IN, ids=lambda policy: policy.name)
def test_every_built_in_policy_can_be_kept(policy: object) -> None:
    assert [one.severity for one in found(policy=policy).values()] == [Severity.OK]


def test_post_copy_with_several_streams_is_refused() -> None:
    policy = replace(MUST_FINISH, streams=4)
    one = found(policy=policy)["post-copy-streams"]
    assert one.severity is Severity.BLOCK
    assert "streams = 1" in one.remedy


def test_post_copy_of_a_paused_vm_or_of_huge_pages_is_warned_of() -> None:
    paused = replace(GOOD, vm=replace(VM, state=VmState.PAUSED))
    assert found(paused, MUST_FINISH)["post-copy-paused"].severity is Severity.WARN
    assert "post-copy-paused" not in found(paused, BALANCED)
    assert GOOD.definition is not None
    huge = replace(GOOD, definition=replace(GOOD.definition, hugepage_bytes=2**21))
    assert found(huge, MUST_FINISH)["post-copy-hugepages"].severity is Severity.WARN
    assert "post-copy-hugepages" not in found(huge, GENTLE)


def test_compression_with_streams_is_useless() -> None:
    one = found(policy=replace(BALANCED, compression=True, streams=2))["compression-streams"]
    assert one.severity is Severity.WARN
    assert one.remedy


def test_a_quiet_vm_cannot_be_held_and_at_is_offered() -> None:
    one = found(options=MoveOptions(hold=True), can_hold=False)["hold-quiet"]
    assert one.severity is Severity.BLOCK
    assert "10–15 s" in one.sentence
    assert "--at" in one.remedy
    assert "hold-quiet" not in found(options=MoveOptions(hold=True))
    nothing = found(options=MoveOptions(hold=True), can_hold=False, forecast=Forecast(True))
    assert "hold-quiet" in nothing


def test_what_will_not_converge_says_what_would_help() -> None:
    one = found(forecast=Forecast(False, needs="writes 60 MB/s"))["will-not-converge"]
    assert one.severity is Severity.WARN
    assert "balanced" in one.sentence
    assert "60 MB/s" in one.sentence


def test_a_vm_that_names_a_policy_there_is_not() -> None:
    named = replace(GOOD, vm=replace(VM, policy="nightly"))
    one = found(named)["policy-unknown"]
    assert one.severity is Severity.WARN
    assert "'nightly'" in one.sentence
    assert "policy-unknown" not in found(named, options=MoveOptions(policy="balanced"))
    assert "policy-unknown" not in found(named, policy=replace(BALANCED, name="nightly"))


def test_a_pause_above_the_policy_s_is_told() -> None:
    likely = replace(FORECAST, pause_ms=Band(200, 400, 700))
    one = found(forecast=likely)["pause-above"]
    assert one.severity is Severity.WARN
    assert "300 ms" in one.sentence
    assert "pause-above" not in found(forecast=replace(FORECAST, pause_ms=Band(50, 120, 400)))
    assert "pause-above" not in found(forecast=replace(likely, converges=False, needs="a pause"))
