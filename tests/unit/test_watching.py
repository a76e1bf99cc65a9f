"""Samples of a QEMU that does not answer: asked for ever more seldom."""

from typing import Any, cast

import pytest

from backend.errors import CallTimedOut, FerryError, HostUnreachable
from backend.model import Migration, Phase
from backend.plan.policy import BALANCED
from backend.run import watching as watching_module
from backend.run.told import Told
from backend.run.watching import MOST_STUCK_S, Watching

STATE = Migration("a1", "db-1", "u-1", "kvm-a", "kvm-b", 1000.0, BALANCED, phase=Phase.MEMORY)


class Silent:
    """A publisher nobody listens to."""

    def migration(self, _state: Migration) -> None: ...
    def decision(self, _id: str, _decision: object) -> None: ...


class Source:
    """Gives lanes on which every call ends so."""

    name = "kvm-a"
    alive = True

    def __init__(self, error: FerryError | None) -> None:
        self.error = error
        self.asked = 0

    async def open_lane(self, _purpose: str) -> "Source":
        return self

    async def close(self) -> None: ...

    async def call(self, *_: object) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


class Clock:
    """Goes on by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(watching_module, "time", self)

    def monotonic(self) -> float:
        return self.now_s


async def asked_within(seconds: int, source: Source, clock: Clock) -> int:
    told = Told(STATE, cast("Any", Silent()), 0.0, lambda: 1000.0)
    watching = Watching(told, cast("Any", source), cast("Any", Silent()))
    for _ in range(seconds * 5):
        await watching.sample()
        clock.now_s += 0.2
    return source.asked


async def test_one_that_is_stuck_is_asked_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Source(CallTimedOut("kvm-a did not say how far it is within 3 s."))
    asked = await asked_within(100, source, Clock(monkeypatch))
    assert 100 / MOST_STUCK_S <= asked <= 4 + 100 / MOST_STUCK_S


@pytest.mark.parametrize("error", [None, HostUnreachable("kvm-a is not reachable now.")])
async def test_else_it_is_looked_at_with_every_sample(
    monkeypatch: pytest.MonkeyPatch, error: FerryError | None
) -> None:
    assert await asked_within(10, Source(error), Clock(monkeypatch)) == 50
