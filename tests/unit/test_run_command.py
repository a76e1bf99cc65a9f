"""What `run` decides of the rules' advice, what it asks of the engine, and what it logs."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadInput
from backend.model import (
    Advice,
    AdvisedMove,
    Advising,
    Band,
    Evacuation,
    EvacuationMove,
    EvacuationNote,
    EvacuationState,
    Finding,
    Forecast,
    Migration,
    MoveState,
    Outcome,
    Plan,
    Policy,
    RuleKind,
    RuleLevel,
    Severity,
    Verdict,
    Way,
)
from backend.service.client import EngineUnavailable, only_run
from backend.service.protocol import (
    EvacuationChanged,
    EvacuationReply,
    FleetChoice,
    MigrationChanged,
    PlanEvacuation,
    Refused,
    Reply,
    Request,
    Start,
    Started,
    StartEvacuation,
)
from tui.commands.run_log import RunLog
from tui.commands.run_orders import Order, automatic, order_json, why_not
from tui.commands.run_seen import Seen
from tui.commands.run_work import Work

FORECAST = Forecast(True, Band(4, 5, 6), Band(60, 80, 100))
POLICY = Policy("balanced", 300)
ROOT = Path(__file__).resolve().parents[2]


def move(name: str, source: str = "a", target: str = "b") -> AdvisedMove:
    return AdvisedMove(f"id-{name}", name, source, target, FORECAST)


def advice(*moves: AdvisedMove, rule: str = "even", **more: Any) -> Advice:
    made = Advice(
        rule, RuleKind.BALANCE, RuleLevel.AUTOMATIC, moves, "memory of a was high", "a 90 → 60 %"
    )
    return replace(made, **more)


BALANCE = advice(move("x"))
PAIR = advice(move("x"), move("y"), rule="home", kind=RuleKind.FOLLOW)
DRAIN = advice(rule="night", kind=RuleKind.DRAIN, drain="a", until=9e9)
PACK = advice(move("x"), move("y", target="c"), rule="pack", kind=RuleKind.CONSOLIDATE)


def planned(of: Advice, *states: MoveState) -> Evacuation:
    assert of.wish is not None
    moves = tuple(
        EvacuationMove(name, f"id-{name}", "a", Way.LIVE, "b", state=state, reason="because")
        for name, state in zip("xyz", states, strict=False)
    )
    return Evacuation("r1", of.wish, moves=moves)


# -- deciding -----------------------------------------------------------------------------------


def decided(*given: Advice, busy: tuple[Advice, ...] = (), **more: Any) -> list[str]:
    wanted = {"not_now": (), "one_at_a_time": True, **more}
    return [one.rule for one in automatic(Advising(advice=given), busy, **wanted)]


def test_only_what_is_automatic_is_done() -> None:
    told = replace(BALANCE, level=RuleLevel.ADVISE)
    asked = replace(BALANCE, level=RuleLevel.ASK)
    assert decided(told, asked) == []
    assert decided(BALANCE) == ["even"]


def test_moves_go_one_advice_after_the_other_and_hosts_are_not_shared() -> None:
    other = advice(move("z", "c", "d"), rule="two")
    assert decided(BALANCE, other) == ["even"]
    assert decided(BALANCE, other, one_at_a_time=False) == ["even", "two"]
    assert decided(other, busy=(BALANCE,)) == []
    assert decided(DRAIN, other) == ["night", "two"]
    assert decided(BALANCE, busy=(DRAIN,)) == [], "a is being emptied"
    assert decided(DRAIN, busy=(DRAIN,)) == []


def test_what_was_refused_a_moment_ago_is_not_asked_for_again() -> None:
    same = replace(BALANCE, reason="memory of a was higher still")
    assert decided(same, not_now=(BALANCE.key,)) == []


def test_a_bundle_goes_in_one_request() -> None:
    assert Order(PAIR).request == Start(("a/id-x", "a/id-y"), "b")


def test_a_run_is_asked_for_exactly_as_it_was_planned() -> None:
    run = planned(DRAIN, MoveState.WAITING, MoveState.CANNOT)
    order = Order(DRAIN, run)
    assert isinstance(order.request, StartEvacuation)
    assert order.request.wish.choices == run.pinned
    assert order.request.wish.until == DRAIN.until
    told = order_json(order)
    assert [one["vm"] for one in told["moves"]] == ["x"]  # type: ignore[attr-defined]
    assert told["stays"] == [{"vm": "y", "uuid": "id-y", "reason": "because"}]


def test_a_consolidated_host_is_emptied_whole_and_stays_open() -> None:
    wish = PACK.wish
    assert wish is not None
    assert (wish.host, wish.targets, wish.maintenance) == ("a", ("b", "c"), False)
    assert {one.uuid: one.target for one in wish.choices} == {"id-x": "b", "id-y": "c"}
    whole = planned(PACK, MoveState.WAITING, MoveState.WAITING)
    assert why_not(PACK, whole) == ""
    part = planned(PACK, MoveState.WAITING, MoveState.CANNOT)
    assert why_not(PACK, part) == "a would not be empty (y: because)"
    assert why_not(DRAIN, replace(part, wish=DRAIN.wish)) == ""  # type: ignore[arg-type]


def test_a_drain_of_which_nothing_can_go_is_not_begun() -> None:
    nothing = planned(DRAIN, MoveState.LEFT_OUT)
    assert why_not(DRAIN, nothing) == "no VM of a can go (x: because)"


# -- doing --------------------------------------------------------------------------------------


class Asked:
    """The engine's answers, as the test says; it keeps what it was asked."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._came = asyncio.Event()

    async def call(self, request: Request) -> Reply:
        self.requests.append(request)
        self._came.set()
        return self.answer(request)

    async def until(self, count: int) -> None:
        """So many were asked."""
        while len(self.requests) < count:
            self._came.clear()
            await self._came.wait()


def migration(name: str, outcome: Outcome | None = None, **more: Any) -> Migration:
    verdict = None
    if outcome is not None:
        owner = "b" if outcome is Outcome.MOVED else "a"
        verdict = Verdict(f"m-{name}", name, "a", "b", outcome, owner, "seen", 5.0, 6.0)
    made = Migration(f"m-{name}", name, f"id-{name}", "a", "b", 1.0, POLICY, verdict=verdict)
    return replace(made, **more)


def started(request: Request) -> Reply:
    assert isinstance(request, Start)
    return Started(tuple(migration(name.removeprefix("a/id-")) for name in request.vms))


def work(
    answer: Callable[[Request], Reply], once: bool = True, dry: bool = False
) -> tuple[Work, Seen, Asked]:
    seen, asked = Seen(), Asked(answer)
    made = Work(RunLog(as_json=True), seen, once=once, dry=dry)
    made.call = asked.call
    return made, seen, asked


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def finished(wait: Awaitable[None]) -> None:
    async with asyncio.timeout(5):
        await wait


async def test_a_move_is_logged_from_its_reason_to_its_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doing, seen, asked = work(started)
    await doing.take(Advising(advice=(BALANCE,)))
    await finished(asked.until(1))
    await seen.take(MigrationChanged(migration("x", Outcome.MOVED)))
    await finished(doing.done())
    order, began, verdict = lines(capsys)
    assert (order["event"], order["reason"]) == ("order", "memory of a was high")
    assert (began["event"], began["id"], began["rule"]) == ("started", "m-x", "even")
    assert (verdict["event"], verdict["outcome"], verdict["owner"]) == ("verdict", "moved", "b")
    assert all(line["at"] > 0 for line in (order, began, verdict))
    assert doing.code == 0


async def test_an_end_that_is_told_before_the_start_is_answered_is_heard() -> None:
    doing, seen, _ = work(started)
    await seen.take(MigrationChanged(migration("x", Outcome.STAYED)))
    await doing.take(Advising(advice=(BALANCE,)))
    await finished(doing.done())
    assert doing.code == 1


async def test_a_second_attempt_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    doing, seen, asked = work(started)
    await doing.take(Advising(advice=(BALANCE,)))
    await finished(asked.until(1))
    first = migration("x", Outcome.STAYED)
    assert first.verdict is not None
    await seen.take(MigrationChanged(replace(first, verdict=replace(first.verdict, again=True))))
    assert doing.doing == (BALANCE,)
    await seen.take(MigrationChanged(migration("x", Outcome.MOVED, id="m-2", after="m-x")))
    await finished(doing.done())
    assert lines(capsys)[-1]["outcome"] == "moved"
    assert doing.code == 0


async def test_a_dry_run_prints_the_same_order_and_asks_for_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = planned(DRAIN, MoveState.WAITING)

    def answer(request: Request) -> Reply:
        if isinstance(request, StartEvacuation):
            return EvacuationReply(
                replace(run, state=EvacuationState.ENDED, started=1.0, ended=2.0)
            )
        return EvacuationReply(run)

    dry, _, asked = work(answer, dry=True)
    said = Advising(advice=(DRAIN, advice(move("q", "c", "d"))))
    await dry.take(said)
    await finished(dry.done())
    assert [type(one) for one in asked.requests] == [PlanEvacuation]
    told = lines(capsys)
    assert [one["event"] for one in told] == ["order", "order"]
    wet, seen, asked = work(lambda r: started(r) if isinstance(r, Start) else answer(r))
    await wet.take(said)
    await finished(asked.until(3))
    await seen.take(MigrationChanged(migration("q", Outcome.MOVED)))
    for line in lines(capsys)[:2]:
        same = told.pop(0)
        for key in ("rule", "moves", "stays", "host", "until", "reason"):
            assert line[key] == same[key]
    await wet.leave()


async def test_a_refusal_is_said_once_and_not_tried_each_round(
    capsys: pytest.CaptureFixture[str],
) -> None:
    finding = Finding("memory", "memory", Severity.BLOCK, "b has no room for x")
    refused = Refused((Plan("x", "id-x", "a", "b", (finding,), POLICY),))
    doing, _, asked = work(lambda _: refused, once=False)
    for _ in range(3):
        await doing.take(Advising(advice=(BALANCE,)))
        await finished(doing.done())
    assert len(asked.requests) == 1
    (_, told) = lines(capsys)
    assert (told["event"], told["why"]) == ("refused", "x: b has no room for x")
    assert doing.code == 1


async def test_a_plan_that_is_not_true_any_more_is_not_begun() -> None:
    run = planned(DRAIN, MoveState.WAITING)

    def answer(request: Request) -> Reply:
        changed = "x has gone" if isinstance(request, StartEvacuation) else ""
        return EvacuationReply(replace(run, changed=changed))

    doing, _, _ = work(answer)
    await doing.take(Advising(advice=(DRAIN,)))
    await finished(doing.done())
    assert doing.code == 1


async def draining() -> tuple[Work, Seen, Evacuation]:
    """A drain that was advised and has begun."""
    plan = planned(DRAIN, MoveState.WAITING)
    going = replace(plan, state=EvacuationState.RUNNING, started=1.0)
    doing, seen, asked = work(
        lambda r: EvacuationReply(going if isinstance(r, StartEvacuation) else plan)
    )
    await doing.take(Advising(advice=(DRAIN,)))
    await finished(asked.until(2))
    return doing, seen, going


async def test_a_run_is_followed_by_its_notes_to_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doing, seen, going = await draining()
    note = EvacuationNote(2.0, "x is on b now")
    moved = replace(going.moves[0], state=MoveState.MOVED)
    ended = replace(going, state=EvacuationState.ENDED, ended=9.0, notes=(note,), moves=(moved,))
    await seen.take(EvacuationChanged(ended))
    await finished(doing.done())
    told = lines(capsys)
    assert [one["event"] for one in told] == ["order", "started", "note", "ended"]
    assert told[2]["sentence"] == "x is on b now"
    assert told[3]["exit_code"] == doing.code == 0


async def test_an_interrupted_run_is_left_to_the_operator(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doing, seen, going = await draining()
    await seen.take(EvacuationChanged(replace(going, state=EvacuationState.INTERRUPTED)))
    await finished(doing.done())
    assert "virt-ferry evacuations resume a" in lines(capsys)[-1]["sentence"]
    assert doing.code == 3


async def test_what_was_asked_for_when_the_engine_went_is_not_called_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def gone(_: Request) -> Reply:
        raise EngineUnavailable("The engine is gone.")

    doing, _, _ = work(gone)
    await doing.take(Advising(advice=(BALANCE,)))
    await finished(doing.done())
    assert lines(capsys)[-1]["event"] == "lost"
    assert doing.code == 3


async def test_what_is_only_told_is_told_once_while_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doing, _, asked = work(started, once=False)
    told = replace(BALANCE, level=RuleLevel.ADVISE)
    for said in ((told,), (replace(told, reason="91 %"),), (), (told,)):
        await doing.take(Advising(advice=said))
    assert [one["event"] for one in lines(capsys)] == ["advised", "advised"]
    assert asked.requests == []
    await doing.take(Advising(advice=(replace(told, level=RuleLevel.ASK),)))
    assert lines(capsys) == []


# -- the lock -----------------------------------------------------------------------------------


def test_two_do_not_act_for_one_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    fleet = tmp_path / "fleet.toml"
    fleet.write_text("")
    link = tmp_path / "link.toml"
    link.symlink_to(fleet)
    with only_run(FleetChoice(str(fleet))):
        with (
            pytest.raises(BadInput, match=f"pid {os.getpid()}") as caught,
            only_run(FleetChoice(str(link))),
        ):
            pytest.fail("two of them")
        assert caught.value.exit_code == 2
        with only_run(FleetChoice(str(tmp_path / "other.toml"))):
            pass
    with only_run(FleetChoice(str(fleet))):
        pass


def test_the_lock_goes_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    code = (
        "import sys; from backend.service.client import only_run\n"
        "from backend.service.protocol import FleetChoice\n"
        "with only_run(FleetChoice('/f.toml')): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BadInput, match=f"pid {holder.pid}"), only_run(FleetChoice("/f.toml")):
            pytest.fail("two of them")
        holder.kill()
        holder.wait(5)
    with only_run(FleetChoice("/f.toml")):
        pass
