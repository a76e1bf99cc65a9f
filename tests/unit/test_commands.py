"""What the commands print, and what they ask of the engine."""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from backend.model import (
    Band,
    Control,
    Forecast,
    Migration,
    MoveOptions,
    Outcome,
    Outlook,
    Phase,
    Plan,
    Policy,
    Sample,
    TrackRecord,
    Verdict,
    Word,
)
from backend.plan.policy import BUILT_IN
from backend.service.client import BadInput
from backend.service.protocol import (
    Done,
    FleetChoice,
    GetMigration,
    MigrationChanged,
    MigrationReply,
    Operate,
    PoliciesReply,
    Reply,
    Request,
    SampleArrived,
    SetBandwidth,
    SetPauseLimit,
)
from tui import command
from tui.commands import moves, steer, wanted
from tui.commands.follow import Follower
from tui.commands.jobs import job_json

M = 1 << 20
FORECAST = Forecast(True, Band(24, 27, 31), Band(60, 84, 110), 5, 530 * M, basis="6 readings")
RECORD = TrackRecord(12, 8.0, 92.0)
RUNNING = Migration(
    "m-1",
    "db-1",
    "u-1",
    "kvm-a",
    "kvm-b",
    1000.0,
    Policy("balanced", 300),
    phase=Phase.MEMORY,
    called_at=1001.0,
    forecast=FORECAST,
    record=RECORD,
    controls=(Control.BANDWIDTH, Control.PAUSE_LIMIT, Control.HOLD, Control.ABORT),
)
VERDICT = Verdict(
    "m-1",
    "db-1",
    "kvm-a",
    "kvm-b",
    Outcome.MOVED,
    "kvm-b",
    "It runs on kvm-b.",
    27.4,
    28.1,
    384,
    outage_ms=412,
    forecast=FORECAST,
    record=RECORD,
    network="its MAC is on br0",
)


def sample(t_s: float, number: int = 1) -> Sample:
    return Sample(t_s, number, 40 * M, 512 * M, 412 * M, 23.8e6, 18.1e6)


def foreseen(left_s: float, at: Sample) -> MigrationChanged:
    outlook = Outlook(Word.CONVERGING, f"in {left_s} s", Band(left_s, left_s, left_s), None, 3)
    return MigrationChanged(replace(RUNNING, outlook=outlook, sample=at))


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_outlooks_come_once_a_second_and_at_the_end_of_a_pass(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follower = Follower([RUNNING], as_json=True)
    for index in range(20):
        at = sample(index / 5, 1 if index < 12 else 2)
        follower.take(SampleArrived("m-1", at))
        follower.take(foreseen(30.0 - index, at))
    told = [line for line in printed(capsys) if line["event"] == "outlook"]
    assert [line["t_s"] for line in told] == [0.0, 1.0, 2.0, 2.4, 3.4]
    expected: dict[str, object] = {
        "event": "outlook",
        "id": "m-1",
        "vm": "db-1",
        "t_s": 0.0,
        "word": "CONVERGING",
        "reason": "in 30.0 s",
        "left_s": {"low": 30.0, "mid": 30.0, "high": 30.0},
        "pause_ms": None,
        "passes_left": 3,
    }
    assert told[0].items() >= expected.items()


def test_an_outlook_that_does_not_change_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    follower = Follower([RUNNING], as_json=True)
    for index in range(20):
        follower.take(foreseen(30.0, sample(index, index)))
    assert len(printed(capsys)) == 1


def test_the_end_in_words_has_the_outage_and_the_forecast(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follower = Follower([RUNNING], as_json=False)
    follower.foretell([RUNNING])
    before = capsys.readouterr().out
    for part in ("forecast: 24–31 s, pause 60–110 ms", "6 readings", "over 12 moves: off by 8 %"):
        assert part in before
    follower.take(MigrationChanged(replace(RUNNING, verdict=VERDICT)))
    text = capsys.readouterr().out
    for part in (
        "pause 384 ms, outage 412 ms, ",
        "total 27.4 s, forecast 24–31 s: inside the band",
        "pause 384 ms, forecast 60–110 ms: outside the band",
        "forecasts so far: over 12 moves",
        "its MAC is on br0",
    ):
        assert part in text


def test_an_outage_that_was_not_measured_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    blind = replace(VERDICT, outage_ms=None)
    ended = replace(RUNNING, verdict=blind, probe="10.0.0.5 does not answer kvm-a")
    Follower([RUNNING], as_json=False).take(MigrationChanged(ended))
    assert "outage not measured: 10.0.0.5 does not answer kvm-a" in capsys.readouterr().out


def test_jobs_have_their_outlook() -> None:
    now = Outlook(Word.CONVERGING, "switchover in 12 s", Band(10, 12, 14))
    outlook = job_json(replace(RUNNING, outlook=now))["outlook"]
    assert isinstance(outlook, dict)
    assert (outlook["word"], outlook["left_s"]["mid"]) == ("CONVERGING", 12)


def test_a_plan_in_words_has_basis_remarks_and_record(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan("db-1", "u-1", "kvm-a", "kvm-b", (), RUNNING.policy, forecast=FORECAST)
    moves._print_plan(replace(plan, remarks=("The VM is slowed.",), record=RECORD))
    text = capsys.readouterr().out
    for part in (
        "forecast   24–31 s, most likely 27 s, then a pause of 60–110 ms",
        "means      The VM is slowed.",
        "rests on   6 readings",
        "so far     over 12 moves: off by 8 % in the middle, 92 % inside the band",
    ):
        assert part in text


class Engine:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def call(self, request: Request) -> Reply:
        """As the engine would."""
        self.asked.append(request)
        if isinstance(request, GetMigration):
            return MigrationReply(RUNNING, ())
        return PoliciesReply(BUILT_IN) if "Policies" in type(request).__name__ else Done()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine()

    @asynccontextmanager
    async def connected(_choice: object) -> AsyncIterator[Engine]:
        yield found

    monkeypatch.setattr(steer, "connected", connected)
    return found


def parsed(*words: str) -> argparse.Namespace:
    return command._parser().parse_args(list(words))


async def test_steer_sends_each_control_that_was_named(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    words = parsed("steer", "db-1", "hold", "--bandwidth", "none", "--pause-ms", "120")
    assert await steer.steer(words, FleetChoice()) == 0
    assert engine.asked[1:] == [
        SetBandwidth("m-1", None),
        SetPauseLimit("m-1", 120),
        Operate("m-1", Control.HOLD),
    ]
    out = capsys.readouterr().out.splitlines()
    expected = ["bandwidth unlimited", "pause limit 120 ms", "hold, as asked"]
    assert out == [f"db-1: {said}" for said in expected]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "steer what"),
        (("post-copy",), "does not permit post-copy"),
        (("recover",), "Nothing is broken"),
        (("hold", "--bandwidth", "fast"), "not a rate"),
    ],
)
async def test_what_cannot_be_steered_is_refused_before_anything_is_sent(
    engine: Engine, words: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        await steer.steer(parsed("steer", "db-1", *words), FleetChoice())
    assert len(engine.asked) == 1


async def test_steer_in_json_is_the_job(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    await steer.steer(parsed("steer", "db-1", "--pause-ms", "90", "--json"), FleetChoice())
    (job,) = printed(capsys)
    assert job["id"] == "m-1"
    assert isinstance(engine.asked[-1], GetMigration)


async def test_policies_as_a_table_and_as_objects(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    await steer.policies(parsed("policies"), FleetChoice())
    table = capsys.readouterr().out
    for part in ("NAME", "must-finish", "10 m 00 s/GiB", "90 %", "never"):
        assert part in table
    await steer.policies(parsed("policies", "--json"), FleetChoice())
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [policy["name"] for policy in found] == [policy.name for policy in BUILT_IN]
    assert found[0]["pause_ms"] == 300


def test_what_was_asked_for_is_typed() -> None:
    words = ("--policy", "gentle", "--deadline", "10min", "--bandwidth", "50MB/s", "--hold")
    options = wanted.move_options(parsed("plan", "db-1", *words))
    assert options == MoveOptions("gentle", None, 600.0, 50_000_000, True)
    assert wanted.move_options(parsed("plan", "db-1")) == MoveOptions()
    at = wanted.move_options(parsed("plan", "db-1", "--at", "2030-01-01 02:00")).at
    assert at is not None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--deadline", "soon"), "--deadline: 'soon' is not a span of time"),
        (("--deadline", "0"), "--deadline: A span of time lies between"),
        (("--at", "25:00"), "--at: '25:00' is not a time"),
        (("--bandwidth", "fast"), "--bandwidth: fast is not a rate"),
    ],
)
def test_what_cannot_be_typed_names_its_option(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        wanted.move_options(parsed("plan", "db-1", *words))


def test_a_second_attempt_is_followed_to_its_own_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stayed = replace(VERDICT, outcome=Outcome.STAYED, owner="kvm-a", again=True)
    follower = Follower([RUNNING], as_json=True)
    follower.take(MigrationChanged(replace(RUNNING, verdict=stayed)))
    assert follower.open_ids == ("m-1",)
    second = replace(RUNNING, id="m-2", after="m-1")
    follower.take(MigrationChanged(second))
    follower.take(MigrationChanged(replace(RUNNING, verdict=replace(stayed, again=False))))
    assert follower.open_ids == ("m-2",)
    follower.take(MigrationChanged(replace(second, verdict=replace(VERDICT, id="m-2"))))
    assert not follower.open_ids
    assert follower.exit_code == 0
    verdicts = [line for line in printed(capsys) if line["event"] == "verdict"]
    assert [line["outcome"] for line in verdicts] == ["stayed", "moved"]


def test_a_second_attempt_that_does_not_come_ends_it() -> None:
    stayed = replace(VERDICT, outcome=Outcome.STAYED, owner="kvm-a", again=True)
    follower = Follower([RUNNING], as_json=True)
    follower.take(MigrationChanged(replace(RUNNING, verdict=stayed)))
    follower.take(MigrationChanged(replace(RUNNING, verdict=replace(stayed, again=False))))
    assert (follower.open_ids, follower.exit_code) == ((), 1)
