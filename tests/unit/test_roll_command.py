"""`roll` and `rolls`: what they ask, print and end with."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from backend.model import (
    Evacuation,
    EvacuationChoice,
    EvacuationMove,
    EvacuationNote,
    EvacuationState,
    EvacuationWish,
    HookEnd,
    Migration,
    MoveState,
    Outcome,
    Policy,
    Roll,
    RollControl,
    RollHost,
    RollState,
    RollStep,
    RollWish,
    Verdict,
    Way,
)
from backend.service.client import BadInput
from backend.service.protocol import (
    Change,
    Done,
    EvacuationChanged,
    FleetChoice,
    ListRolls,
    MigrationChanged,
    PlanRoll,
    Reply,
    Request,
    RollChanged,
    RollReply,
    RollsReply,
    StartRoll,
    SteerRoll,
    Watch,
)
from tui import command
from tui.commands import roll as verbs

CHOICE = FleetChoice(uris=("test:///default",))
MOVE = EvacuationMove("web-1", "u1", "kvm-a", Way.LIVE, "kvm-c", reason="most room")
FIRST = Evacuation("e1", EvacuationWish("kvm-a"), moves=(MOVE,))
WISH = RollWish(("kvm-a", "kvm-b"), "make it so")
HOSTS = (RollHost("kvm-a"), RollHost("kvm-b"))
PLANNED = Roll("o1", WISH, hosts=HOSTS, first=FIRST)
NOTE = EvacuationNote(1_795_551_434.0, "the hook runs on kvm-a: make it so")


def begun(step: RollStep, state: RollState = RollState.RUNNING, **fields: object) -> Roll:
    host = RollHost("kvm-a", step, runs=("e1",), **fields)  # type: ignore[arg-type]
    return replace(PLANNED, state=state, hosts=(host, HOSTS[1]), first=None, started=1.0)


STOPPED = replace(
    begun(RollStep.HOOK, RollState.STOPPED, hook=HookEnd(4, 2.0, ("too old", "\x1b[2Jno"))),
    trouble="The hook on kvm-a ended with exit code 4. kvm-a is empty.",
    notes=(NOTE,),
)


@dataclass
class Engine:
    """Answers as it was told to, and publishes what it was given."""

    planned: Roll = PLANNED
    started: Roll = field(default_factory=lambda: begun(RollStep.EMPTYING))
    published: list[Change] = field(default_factory=list)
    known: tuple[Roll, ...] = ()
    steered: tuple[Roll, ...] = ()
    """What is known once it has been steered."""
    asked: list[Request] = field(default_factory=list)

    async def call(self, request: Request) -> Reply:
        self.asked.append(request)
        match request:
            case PlanRoll(wish=wish):
                return RollReply(replace(self.planned, wish=wish))
            case StartRoll():
                return RollReply(self.started)
            case ListRolls():
                return RollsReply(self.known)
            case Watch():
                self.published = [*map(RollChanged, self.known), *self.published]
            case SteerRoll():
                self.known = self.steered or self.known
        return Done()

    async def changes(self) -> AsyncIterator[Change]:
        for change in self.published:
            yield change

    def of(self, kind: type[Request]) -> list[Request]:
        return [one for one in self.asked if isinstance(one, kind)]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """In the real one's place."""
    made = Engine()

    @asynccontextmanager
    async def connected(_choice: object) -> AsyncIterator[Engine]:
        yield made

    monkeypatch.setattr(verbs, "connected", connected)
    return made


async def run(*words: str) -> int:
    given = command._parser().parse_args(list(words))
    verb = {"roll": verbs.roll, "rolls": verbs.rolls}[given.verb]
    return await verb(given, CHOICE)


async def test_a_plan_says_what_is_decided_when_and_starts_nothing(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--hook", "make it so", "--hook-within", "10min", "--back-within", "90s")
    assert await run("roll", "kvm-a", "kvm-b", *words, "--plan") == 0
    told = capsys.readouterr().out
    assert "each is emptied, `make it so` runs there (10 m 00 s at most)" in told
    assert "it is to answer within 1 m 30 s" in told
    assert "web-1" in told
    assert "kvm-b: planned when its turn comes, by what is true then." in told
    assert not engine.of(StartRoll)


async def test_what_is_wanted_goes_to_the_engine(engine: Engine) -> None:
    words = ("--hook", "x", "--reboots", "--to", "kvm-c", "--policy", "gentle", "--remove-source")
    await run("roll", "kvm-a", "kvm-b", *words, "--plan")
    (asked,) = engine.of(PlanRoll)
    assert isinstance(asked, PlanRoll)
    wish = asked.wish
    assert (wish.hosts, wish.hook, wish.reboots) == (("kvm-a", "kvm-b"), "x", True)
    assert (wish.hook_within_s, wish.back_within_s) == (1800.0, 900.0)
    assert wish.targets == ("kvm-c",)
    assert (wish.options.policy, wish.options.remove_source) == ("gentle", True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--hook", "  "), "no command in it"),
        (("--hook-within", "soon"), "--hook-within: 'soon' is not a span"),
        (("--back-within", "0"), "--back-within: A span of time lies between"),
    ],
)
async def test_bad_words_are_refused_before_the_engine_is_asked(
    engine: Engine, words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        await run("roll", "kvm-a", *words)
    assert not engine.asked


async def test_a_plan_with_trouble_is_refused(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.planned = replace(PLANNED, trouble="kvm-a cannot be emptied: gpu-1: it has a GPU")
    assert await run("roll", "kvm-a") == 2
    assert "gpu-1: it has a GPU" in capsys.readouterr().err
    assert not engine.of(StartRoll)


async def test_the_reviewed_plan_is_what_is_started(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.started = replace(PLANNED, changed="db-1 has come to kvm-a")
    assert await run("roll", "kvm-a", "kvm-b", "--hook", "make it so") == 2
    (asked,) = engine.of(StartRoll)
    assert isinstance(asked, StartRoll)
    assert asked.wish.reviewed == (EvacuationChoice("u1", "kvm-c"),)
    assert "db-1 has come to kvm-a. Nothing was touched." in capsys.readouterr().err


async def test_it_is_followed_until_it_stops_with_what_the_hook_said(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    moving = replace(FIRST, state=EvacuationState.RUNNING, started=2.0)
    gone = replace(moving, state=EvacuationState.ENDED, ended=3.0)
    engine.published = [
        RollChanged(begun(RollStep.EMPTYING)),
        EvacuationChanged(moving),
        EvacuationChanged(replace(gone, moves=(replace(MOVE, state=MoveState.MOVED),))),
        RollChanged(STOPPED),
        RollChanged(replace(STOPPED, trouble="later")),
    ]
    assert await run("roll", "kvm-a", "kvm-b", "--hook", "make it so") == 1
    told = capsys.readouterr().out
    assert "1 of 1 moved" in told
    assert "the hook runs on kvm-a: make it so" in told
    assert "0 of 2 hosts done. The hook on kvm-a ended with exit code 4. kvm-a is empty." in told
    assert "kvm-a: hook: exit code 4" in told
    assert "    too old" in told
    assert "\x1b" not in told
    assert "later" not in told


async def test_json_has_a_line_for_each_change(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    done = replace(begun(RollStep.DONE), state=RollState.ENDED, ended=9.0, hosts=())
    engine.published = [RollChanged(begun(RollStep.HOOK)), RollChanged(done)]
    assert await run("roll", "kvm-a", "kvm-b", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["plan", "roll", "roll", "roll"]
    assert lines[0]["first"]["moves"][0]["vm"] == "web-1"
    assert lines[2]["hosts"][0]["step"] == "hook"
    assert (lines[-1]["state"], lines[-1]["exit_code"]) == ("ended", 0)


async def test_the_way_home_of_a_vm_is_told_once(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    there = replace(FIRST, state=EvacuationState.RUNNING, started=2.0)
    back = replace(there, id="e2", started=20.0)
    home = Migration("m2", "web-1", "u1", "kvm-c", "kvm-a", 21.0, Policy("balanced", 300))
    verdict = Verdict("m2", "web-1", "kvm-c", "kvm-a", Outcome.MOVED, "kvm-a", "x", 1.0, 1.0)
    both = begun(RollStep.RETURNING)
    both = replace(both, hosts=(replace(both.hosts[0], runs=("e1", "e2")), HOSTS[1]))
    engine.published = [
        RollChanged(both),
        EvacuationChanged(there),
        EvacuationChanged(replace(there, state=EvacuationState.ENDED, ended=3.0)),
        EvacuationChanged(back),
        MigrationChanged(home),
        MigrationChanged(replace(home, verdict=verdict)),
        RollChanged(STOPPED),
    ]
    await run("roll", "kvm-a", "kvm-b", "--json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines if line["event"] == "verdict"] == ["m2"]


async def test_rolls_lists_them_and_says_how_to_go_on(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("rolls") == 0
    assert "No hosts have been rolled." in capsys.readouterr().out
    engine.known = (STOPPED,)
    assert await run("rolls") == 0
    told = capsys.readouterr().out
    assert "kvm-a hook: exit code 4 · kvm-b waiting" in told
    assert "The hook on kvm-a ended with exit code 4." in told


@pytest.mark.parametrize("action", ["resume", "skip", "abort"])
async def test_the_open_one_is_steered_and_followed(engine: Engine, action: str) -> None:
    engine.known = (begun(RollStep.BACK),)
    engine.published = [RollChanged(replace(STOPPED, needs_you=True))]
    assert await run("rolls", action) == 3
    assert engine.of(SteerRoll) == [SteerRoll(RollControl(action))]


async def test_how_it_stood_before_it_goes_on_is_not_taken_for_its_end(engine: Engine) -> None:
    engine.known, engine.steered = (STOPPED,), (begun(RollStep.BACK),)
    done = replace(begun(RollStep.DONE), state=RollState.ENDED, ended=9.0, hosts=())
    engine.published = [RollChanged(done)]
    assert await run("rolls", "resume") == 0


async def test_one_that_waits_for_the_operator_is_not_waited_for(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.known = (begun(RollStep.HOOK, RollState.PAUSED),)
    assert await run("rolls", "watch") == 1
    assert "`virt-ferry rolls resume` goes on with it" in capsys.readouterr().err
