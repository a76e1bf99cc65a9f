"""The second attempt of a migration that lost its link: when there is one, and how it ends."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from backend.model import (
    Control,
    Host,
    HostState,
    Migration,
    MoveOptions,
    Outcome,
    Sample,
    Verdict,
)
from backend.plan.policy import BALANCED
from backend.run import again as again_module
from backend.run.again import LEAST_LEFT_S, SecondAttempt, lost_its_link, promise
from backend.run.controls import available
from backend.run.told import Told
from backend.run.verdict import Judgement

M = 1 << 20
STATE = Migration("a1", "db-1", "u-1", "kvm-a", "kvm-b", 1000.0, BALANCED)
STAYED = Judgement(Outcome.STAYED, "kvm-a", "It runs on kvm-a.")
PROMISED = Verdict(
    "a1",
    "db-1",
    "kvm-a",
    "kvm-b",
    Outcome.STAYED,
    "kvm-a",
    f"It runs on kvm-a. {promise('kvm-a', 'kvm-b')}",
    40.0,
    42.0,
    again=True,
)
ERROR = "The connection was closed."


class Silent:
    """A publisher nobody listens to."""

    def migration(self, _state: Migration) -> None: ...
    def decision(self, _id: str, _decision: object) -> None: ...


@dataclass
class Watch:
    """A host as far as a second attempt asks for it."""

    name: str
    host: Host

    def __init__(self, name: str) -> None:
        self.name, self.host = name, Host(name, HostState.UP)


def attempt(**changes: Any) -> tuple[Told, SecondAttempt]:
    told = Told(replace(STATE, **changes), cast("Any", Silent()), 0.0, time.time, available)
    return told, SecondAttempt(told, cast("Any", Watch("kvm-a")), cast("Any", Watch("kvm-b")))


def samples(quiet_s: float, remaining: int = 40 * M) -> list[Sample]:
    """Sending for ten seconds, then nothing for `quiet_s`."""
    sending = [Sample(float(n), 1, remaining, 512 * M, n * 20 * M, 2e7, None) for n in range(11)]
    return [*sending, replace(sending[-1], t_s=10.0 + quiet_s)]


@pytest.mark.parametrize(
    ("judgement", "quiet_s", "remaining", "error", "again"),
    [
        (STAYED, 29.0, 40 * M, ERROR, True),
        (STAYED, 1.0, 40 * M, ERROR, False),
        (STAYED, 29.0, 0, ERROR, False),
        (STAYED, 29.0, 40 * M, "", False),
        (replace(STAYED, outcome=Outcome.UNKNOWN), 29.0, 40 * M, ERROR, False),
        (replace(STAYED, outcome=Outcome.MOVED), 29.0, 40 * M, ERROR, False),
    ],
)
def test_only_what_stayed_because_nothing_could_be_sent(
    judgement: Judgement, quiet_s: float, remaining: int, error: str, again: bool
) -> None:
    why = lost_its_link(judgement, samples(quiet_s, remaining), error)
    assert bool(why) == again
    assert not again or "29 s" in why


def test_once_never_after_an_abort_and_within_the_deadline() -> None:
    now_s = time.monotonic()
    assert attempt()[1].allowed(False, now_s)
    assert not attempt()[1].allowed(True, now_s)
    assert not attempt(after="a0")[1].allowed(False, now_s)
    assert not attempt(suspended=True)[1].allowed(False, now_s)
    assert attempt(deadline_s=300.0)[1].allowed(False, now_s - 40)
    assert not attempt(deadline_s=45.0)[1].allowed(False, now_s - 40)


def test_what_was_unknown_meanwhile_is_not_tried_again_and_says_so() -> None:
    unknown = replace(PROMISED, outcome=Outcome.UNKNOWN, again=False)
    second = attempt(verdict=unknown)[1]
    assert not second.allowed(False, time.monotonic())
    assert "not tried again by itself" in second.withheld(ERROR, "the link was cut")
    assert second.withheld(ERROR, "") == ERROR
    assert attempt(verdict=unknown, abort_asked=True)[1].withheld(ERROR, "cut") == ERROR
    assert attempt()[1].withheld(ERROR, "cut") == ERROR


def test_it_is_asked_for_alike_with_what_is_left_of_the_deadline() -> None:
    asked = MoveOptions(policy="gentle", pause_ms=200, at=123.0, hold=True)
    first = attempt(deadline_s=300.0, hold=True)[1]
    second = first.options(asked, time.monotonic() - 40)
    assert second is not None
    assert second.deadline_s == pytest.approx(260 - LEAST_LEFT_S, abs=1)
    assert replace(second, deadline_s=None) == replace(asked, at=None)
    assert first.options(asked, time.monotonic() - 300) is None


def test_what_was_changed_meanwhile_holds_for_the_second_attempt_too() -> None:
    soon = time.time() + 60
    changed = {"hold": True, "bandwidth_bytes_s": 5_000_000, "at": soon}
    second = attempt(**changed)[1].options(MoveOptions(), 0.0)
    assert second == MoveOptions(hold=True, bandwidth_bytes_s=5_000_000, at=soon)
    released = attempt(hold=False)[1].options(MoveOptions(hold=True), 0.0)
    assert released == MoveOptions()


async def test_it_waits_until_the_source_reaches_the_target(monkeypatch: Any) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(again_module, "LOOK_EVERY_S", 0.001)

    async def reaches(*_: object) -> bool:
        return next(answers)

    monkeypatch.setattr(again_module, "reaches", reaches)
    told, second = attempt(verdict=PROMISED)
    assert await second.link_is_back()
    second.begun("b2")
    assert not second.wanted
    assert told.state.decisions[-1].reason == "tried again: migration b2"
    assert told.state.verdict is not None
    assert told.state.verdict.reason == "It runs on kvm-a. It was tried again: migration b2."


async def test_an_operator_can_call_it_off(monkeypatch: Any) -> None:
    async def reaches(*_: object) -> bool:
        return False

    monkeypatch.setattr(again_module, "reaches", reaches)
    told, second = attempt(verdict=PROMISED)
    told.update()
    assert told.state.controls == (Control.ABORT,)
    waiting = asyncio.create_task(second.link_is_back())
    await asyncio.sleep(0)
    second.call_off()
    assert not await asyncio.wait_for(waiting, 1)
    assert told.state.verdict is not None
    assert not told.state.verdict.again
    assert not told.state.controls


async def test_a_link_that_does_not_come_back_is_told(monkeypatch: Any) -> None:
    monkeypatch.setattr(again_module, "WAIT_S", 0.0)
    told, second = attempt(verdict=PROMISED)
    assert not await second.link_is_back()
    assert "did not reach kvm-b again" in told.state.decisions[-1].reason
    assert told.state.verdict is not None
    assert "It was not tried again: kvm-a did not reach" in told.state.verdict.reason
    assert "once more" not in told.state.verdict.reason, "a promise that does not hold any more"


async def test_a_promise_of_an_engine_before_this_one_ends_as_early() -> None:
    told, second = attempt(verdict=PROMISED)
    assert not await second.link_is_back(again_module.WAIT_S + 1)
    assert "did not reach kvm-b again" in told.state.decisions[-1].reason
