"""Holds, controls and the helm: who does what when, and what a host's refusal leaves."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from backend.errors import BadInput, CallTimedOut, FerryError, HypervisorError
from backend.model import Control, Decision, Migration, Moment, Phase, Sample, Tuning, Verdict
from backend.model import Outcome as End
from backend.plan.policy import BALANCED, GENTLE, MUST_FINISH
from backend.plan.running import Prior
from backend.plan.writes import Count
from backend.run import controls as controls_module
from backend.run import helm as helm_module
from backend.run.changed import ChangedParameters
from backend.run.controls import ABORT_AGAIN_S, ENGINE, Controls, available
from backend.run.helm import Helm
from backend.run.hold import BRAKE_PART, FAR_S, HOLD_PAUSE_MS, LEAST_BYTES_S, NEAR_S, brake
from backend.run.told import MOST_DECISIONS, Told
from backend.run.watching import Watching

MB = 1_000_000
VERDICT = Verdict("a1", "db-1", "kvm-a", "kvm-b", End.MOVED, "kvm-b", "", 1.0, 1.0)
STATE = Migration(
    "a1",
    "db-1",
    "u-1",
    "kvm-a",
    "kvm-b",
    1000.0,
    BALANCED,
    phase=Phase.MEMORY,
    called_at=1000.0,
    pause_limit_ms=50,
    tuning=Tuning(50, post_copy=True),
    can_hold=True,
)


class Clock:
    """The engine's, and stands in for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s


@dataclass
class Host:
    """A source whose answers are scripted; knows what was last set."""

    name: str = "kvm-a"
    error: FerryError | None = None
    pause_ms: int | None = None
    bandwidth_bytes_s: int | None = None
    asked: list[str] = field(default_factory=list)

    async def call(
        self, _function: Callable[..., Any], timeout_s: float = 10.0, what: str = ""
    ) -> bool:
        self.asked.append(what)
        if self.error is not None:
            raise self.error
        return True

    async def set_pause_limit(self, pause_ms: int) -> None:
        await self.call(lambda: None, what=f"pause {pause_ms}")
        self.pause_ms = pause_ms

    async def set_bandwidth(self, rate_bytes_s: int | None) -> None:
        await self.call(lambda: None, what=f"bandwidth {rate_bytes_s}")
        self.bandwidth_bytes_s = rate_bytes_s


class Published:
    """Counts what clients are told."""

    def __init__(self) -> None:
        self.migrations = 0
        self.decisions: list[Decision] = []

    def migration(self, _state: Migration) -> None:
        self.migrations += 1

    def decision(self, _id: str, decision: Decision) -> None:
        self.decisions.append(decision)


@dataclass
class Watched:
    samples: list[Sample] = field(default_factory=list)


class Desk:
    """A helm with all that it holds, on a migration of 25 MB/s."""

    def __init__(self, clock: Clock, state: Migration, tuning: Tuning) -> None:
        self.clock = clock
        self.host, self.published, self.watched = Host(), Published(), Watched()
        self.told = Told(state, cast("Any", self.published), clock.now_s, clock.time, available)
        self.controls = Controls(
            self.told, cast("Any", self.host), cast("ChangedParameters", self.host)
        )
        counts = tuple(Count(s, 10.0 * MB * s, 2.0 * MB) for s in (1.0, 2.0, 4.0, 8.0))
        prior = Prior(counts=counts, most_bytes=300.0 * MB, link_bytes_s=25.0 * MB)
        watching = cast("Watching", self.watched)
        self.helm = Helm(self.told, self.controls, watching, tuning, prior)

    async def tick(self, left: int = 100 * MB, pass_number: int = 1, new: bool = True) -> None:
        """A fifth of a second; `new`: with a sample."""
        self.clock.now_s += 0.2
        samples = self.watched.samples
        ended = bool(samples) and pass_number != samples[-1].pass_number
        if new:
            sample = Sample(
                t_s=self.clock.now_s - 1000,
                pass_number=pass_number,
                remaining_bytes=left,
                total_bytes=512 * 2**20,
                sent_bytes=5 * MB * (len(samples) + 1),
                rate_bytes_s=25.0 * MB,
                dirty_bytes_s=10.0 * MB if pass_number > 1 else None,
                pause_limit_ms=self.told.state.pause_limit_ms,
            )
            samples.append(sample)
            self.told.state = replace(self.told.state, sample=sample)
        await self.helm.steer(ended and new)

    def said(self, action: str) -> int:
        return sum(one.action == action for one in self.published.decisions)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(helm_module, "time", clock)
    monkeypatch.setattr(controls_module, "time", clock)
    return clock


def desk(clock: Clock, tuning: Tuning | None = None, **changes: Any) -> Desk:
    return Desk(clock, replace(STATE, **changes), tuning or Tuning(50))


# -- the brake ----------------------------------------------------------------------------------


def test_two_rates_take_turns_far_apart() -> None:
    full, writes = 25.0 * MB, 10.0 * MB
    near, between, far = (round(full * s) for s in (NEAR_S / 2, 2 * NEAR_S, FAR_S + 1))
    assert brake(near, full, writes, braked=False) == round(BRAKE_PART * writes)
    assert brake(between, full, writes, braked=False) is None
    assert brake(between, full, writes, braked=True) == round(BRAKE_PART * writes)
    assert brake(far, full, writes, braked=True) is None


def test_nothing_slower_than_libvirt_can_set() -> None:
    assert brake(0, 25.0 * MB, 0.0, braked=False) == LEAST_BYTES_S
    assert brake(0, 0.0, 10.0 * MB, braked=False) is None


async def test_a_hold_brakes_near_the_end_and_lets_go_far_from_it(clock: Clock) -> None:
    at = desk(clock, hold=True, pause_limit_ms=HOLD_PAUSE_MS)
    for _ in range(10):
        await at.tick(left=200 * MB)
    assert at.host.asked == []
    for _ in range(10):
        await at.tick(left=10 * MB, pass_number=2)
    assert len(at.host.asked) == 1, "set once"
    assert at.host.bandwidth_bytes_s is not None
    assert at.host.bandwidth_bytes_s < 10 * MB
    for _ in range(5):
        await at.tick(left=200 * MB, pass_number=3)
    assert at.host.bandwidth_bytes_s is None


async def test_a_bandwidth_set_while_held_does_not_lift_the_brake(clock: Clock) -> None:
    at = desk(clock, hold=True, pause_limit_ms=HOLD_PAUSE_MS)
    for _ in range(8):
        await at.tick(left=10 * MB, pass_number=2)
    braked = at.host.bandwidth_bytes_s
    await at.controls.set_bandwidth(50 * MB)
    assert at.host.bandwidth_bytes_s == braked
    assert at.told.state.bandwidth_bytes_s == 50 * MB
    await at.controls.switch("now")
    assert at.host.bandwidth_bytes_s == 50 * MB


async def test_a_second_hold_brakes_again(clock: Clock) -> None:
    at = desk(clock)
    for _ in range(2):
        await at.controls.hold()
        for _ in range(8):
            await at.tick(left=10 * MB, pass_number=2)
        assert at.host.bandwidth_bytes_s is not None
        await at.controls.switch("now")
        assert at.host.bandwidth_bytes_s is None
        await at.tick(left=10 * MB, pass_number=2)


async def test_the_limit_before_the_hold_comes_back(clock: Clock) -> None:
    at = desk(clock)
    await at.controls.set_pause_limit(170)
    await at.controls.hold()
    assert at.host.pause_ms == HOLD_PAUSE_MS
    with pytest.raises(BadInput):
        await at.controls.set_pause_limit(300)
    await at.controls.switch("now")
    assert at.host.pause_ms == at.told.state.pause_limit_ms == 170
    begun = desk(clock, hold=True, pause_limit_ms=HOLD_PAUSE_MS)
    await begun.controls.switch("now")
    assert begun.host.pause_ms == 50


async def test_a_switch_that_the_host_does_not_take_leaves_it_held(clock: Clock) -> None:
    at = desk(clock, hold=True, pause_limit_ms=HOLD_PAUSE_MS)
    at.host.error = CallTimedOut("kvm-a did not answer.")
    with pytest.raises(CallTimedOut):
        await at.controls.switch("now")
    assert at.told.state.hold
    assert Control.SWITCH in at.told.state.controls


async def test_a_hold_ends_by_itself_at_its_time_and_says_a_failure_once(clock: Clock) -> None:
    at = desk(clock, hold=True, at=1010.0, pause_limit_ms=HOLD_PAUSE_MS)
    for _ in range(40):
        await at.tick(left=200 * MB)
    assert at.told.state.hold
    at.host.error = CallTimedOut("kvm-a did not answer.")
    for _ in range(30):
        await at.tick(left=200 * MB)
    assert at.told.state.hold
    assert at.said("note") == 1
    at.host.error = None
    await at.tick(left=200 * MB)
    assert not at.told.state.hold
    assert at.published.decisions[-1].by == ENGINE


async def test_an_hour_of_hold_is_not_the_deadlines(clock: Clock) -> None:
    at = desk(clock, policy=GENTLE, deadline_s=60.0)
    for _ in range(20):
        await at.tick()
    await at.controls.hold()
    for _ in range(5):
        await at.tick(left=200 * MB, pass_number=2)
    clock.now_s += 3600
    await at.tick(left=200 * MB, pass_number=2)
    await at.controls.switch("now")
    for n in range(50):
        await at.tick(left=200 * MB, pass_number=3 + n // 10)
    assert not at.told.state.abort_asked


@pytest.mark.parametrize("control", [Control.POST_COPY, Control.SUSPEND])
async def test_what_finishes_ends_the_hold_and_its_brake(clock: Clock, control: Control) -> None:
    at = desk(clock, hold=True, pause_limit_ms=HOLD_PAUSE_MS)
    for _ in range(8):
        await at.tick(left=10 * MB, pass_number=2)
    assert at.host.bandwidth_bytes_s is not None
    await at.controls.operate(control)
    assert at.host.bandwidth_bytes_s is None
    assert not at.told.state.hold


# -- the helm -----------------------------------------------------------------------------------


async def test_no_abort_on_what_was_seen_before_the_source_fell_silent(clock: Clock) -> None:
    at = desk(clock, policy=GENTLE, deadline_s=30.0)
    for _ in range(20):
        await at.tick()
    clock.now_s += 60
    for _ in range(20):
        await at.tick(new=False)
    assert not at.told.state.abort_asked


async def test_a_deadline_that_is_over_aborts_once_and_is_delivered_later(clock: Clock) -> None:
    at = desk(clock, policy=GENTLE, deadline_s=10.0)
    at.host.error = CallTimedOut("kvm-a did not answer.")
    for _ in range(100):
        await at.tick(left=500 * MB)
    assert at.told.state.abort_asked
    assert len(at.host.asked) == 1
    assert not at.controls.abort_delivered
    assert "given up" in at.controls.abort_reason
    at.host.error = None
    await at.controls.deliver_abort()
    assert len(at.host.asked) == 1, "what hangs is not asked again at once"
    clock.now_s += ABORT_AGAIN_S
    await at.controls.deliver_abort()
    await at.controls.deliver_abort()
    assert at.controls.abort_delivered
    assert len(at.host.asked) == 2


async def test_nothing_is_steered_outside_the_memory_phase(clock: Clock) -> None:
    for changes in (
        {"phase": Phase.DISK},
        {"phase": Phase.SWITCHOVER},
        {"phase": Phase.VERIFY},
        {"abort_asked": True},
    ):
        at = desk(clock, policy=GENTLE, deadline_s=1.0, **changes)
        for _ in range(40):
            await at.tick()
        assert at.host.asked == []


async def test_an_hour_of_copying_disks_is_not_the_deadlines(clock: Clock) -> None:
    at = desk(clock, policy=GENTLE, deadline_s=60.0, phase=Phase.DISK)
    for _ in range(5):
        await at.tick()
    clock.now_s += 3600
    await at.tick()
    assert at.host.asked == []
    at.told.enter(Phase.MEMORY)
    for _ in range(50):
        await at.tick(left=200 * MB)
    assert not at.told.state.abort_asked
    clock.now_s += 60
    for _ in range(50):
        await at.tick(left=200 * MB)
    assert at.told.state.abort_asked


async def test_post_copy_at_once_begins_at_once(clock: Clock) -> None:
    at = desk(clock, Tuning(50, post_copy=True, switch=Moment.AT_ONCE), policy=MUST_FINISH)
    await at.tick()
    assert at.told.state.post_copy
    assert at.said("post-copy") == 1


async def test_a_refusal_is_told_once_a_silence_tried_again(clock: Clock) -> None:
    tuning = Tuning(50, post_copy=True, switch=Moment.AT_ONCE)
    for error, tries in ((HypervisorError("No."), 1), (CallTimedOut("Silent."), 3)):
        at = desk(clock, tuning, policy=MUST_FINISH)
        at.host.error = error
        for _ in range(100):
            await at.tick()
        assert len(at.host.asked) == tries
        assert at.said("note") == tries


async def test_clients_are_told_a_few_times_a_second_at_most(clock: Clock) -> None:
    """A pass with every sample: what steering itself publishes is next to nothing."""
    at = desk(clock)
    for n in range(250):
        await at.tick(left=10 * MB, pass_number=1 + n)
    assert at.published.migrations <= 50


# -- what is offered ----------------------------------------------------------------------------

SAMPLED = replace(STATE, sample=Sample(1.0, 1, MB, MB, MB, 25.0 * MB, None))
ALL = {Control.BANDWIDTH, Control.PAUSE_LIMIT, Control.POST_COPY, Control.SUSPEND}


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        (replace(STATE, called_at=None), {Control.ABORT}),
        (SAMPLED, {*ALL, Control.HOLD, Control.ABORT}),
        (replace(SAMPLED, can_hold=False), {*ALL, Control.ABORT}),
        (
            replace(SAMPLED, hold=True),
            {*ALL, Control.SWITCH, Control.ABORT} - {Control.PAUSE_LIMIT},
        ),
        (replace(SAMPLED, tuning=Tuning(50)), {*ALL, Control.HOLD, Control.ABORT}
         - {Control.POST_COPY}),
        (replace(SAMPLED, suspended=True),
         {Control.BANDWIDTH, Control.PAUSE_LIMIT, Control.ABORT}),
        (replace(SAMPLED, post_copy=True), {Control.BANDWIDTH}),
        (replace(SAMPLED, abort_asked=True), {Control.BANDWIDTH}),
        (replace(SAMPLED, post_copy=True, recoverable=True), {Control.RECOVER}),
        (replace(SAMPLED, phase=Phase.VERIFY), set()),
        (replace(SAMPLED, verdict=VERDICT), set()),
    ],
)  # fmt: skip
def test_what_is_offered(state: Migration, offered: set[Control]) -> None:
    found = available(state)
    assert set(found) == offered
    assert len(found) == len(offered)


async def test_what_is_not_offered_is_refused(clock: Clock) -> None:
    at = desk(clock)
    for control in (Control.SWITCH, Control.RECOVER, Control.POST_COPY, Control.SUSPEND):
        with pytest.raises(BadInput):
            await at.controls.operate(control)
    assert at.host.asked == []


async def test_what_was_done_is_told_to_the_end(clock: Clock) -> None:
    at = desk(clock)
    at.told.note("post-copy", "done once")
    for n in range(1000):
        at.told.note("note", f"pass {n} ended")
    kept = at.told.state.decisions
    assert len(kept) == MOST_DECISIONS
    assert kept[0].action == "post-copy"
    assert kept[-1].reason == "pass 999 ended"
