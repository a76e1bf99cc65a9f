"""What the benches count, on made-up input: gaps, stops, work, forecasts against what happened."""

import pytest

from tests.bench import evacuation_report, judged
from tests.bench.cases import MEMORIES_MIB, all_cases, quick_cases
from tests.bench.evacuation_report import ONE_WIRE, TWO_TARGETS, Moved, Ran, Wire
from tests.bench.loads import MB, Driven, Load, steady
from tests.bench.measure import Measured
from tests.bench.migrate import ABOVE, IDLE, NEAR, quick_rounds
from tests.bench.movers import AUTO_CONVERGE, BALANCED, DEFAULT, MUST_FINISH
from tests.bench.outside import outage_ms, stopped
from tests.bench.report import Goal, goals


def test_outage_is_the_longest_gap_less_the_interval() -> None:
    answers = [
        f"[{at:.6f}] 64 bytes from 10.77.0.102: time=0.1 ms" for at in (1.0, 1.01, 1.13, 1.14)
    ]
    silence = "[1.05] no answer yet for icmp_seq=3"
    assert outage_ms([*answers[:2], silence, *answers[2:]]) == pytest.approx(110)
    assert outage_ms(answers[:1]) is None


def test_stop_is_from_source_to_target() -> None:
    changes = [(1.0, "a", "Suspended"), (1.1, "a", "Resumed"), (5.0, "a", "Suspended")]
    assert stopped([*changes, (5.09, "b", "Resumed")]) == (5.0, 5.09)
    assert stopped(changes) is None


def test_expected_work_follows_what_was_asked() -> None:
    asked = Driven([(0.0, 0), (10.0, 60), (20.0, 0)])
    assert asked.expected_bytes(5.0, 25.0, 50.0) == 10 * 50
    assert asked.expected_bytes(12.0, 14.0, 100.0) == 2 * 60


def test_loads_repeat_only_if_they_say_so() -> None:
    assert list(steady("web", 5, 100).rates()) == [(0.0, 5 * MB)]
    bursty = Load("bursty", MB, ((10, 0), (10, MB)), repeats=True).rates()
    assert [next(bursty)[1] for _ in range(4)] == [0, MB, 0, MB]


def test_cases_are_as_many_and_as_mixed_as_promised() -> None:
    cases = all_cases()
    gentle = [case for case in cases if case.policy == "gentle"]
    assert len(cases) >= 40
    assert cases == all_cases()
    assert sum(case.outruns_link for case in gentle) * 2 == len(gentle)
    assert all(case.over_mb <= 80 for case in cases if case.memory_mib == MEMORIES_MIB[0])
    assert len(quick_cases()) == 12
    assert len({cases[number - 1].memory_mib for number in quick_cases()}) == 1


def test_what_is_left_out_is_said() -> None:
    for load in (IDLE, ABOVE):
        tasks, left_out = quick_rounds(load, 3)
        assert left_out
        assert {BALANCED, MUST_FINISH, DEFAULT} <= {task.mover for task in tasks}
    tasks, left_out = quick_rounds(NEAR, 3)
    assert not left_out
    assert len(tasks) == 15


def _moved(mover: str, total_s: float, stopped: bool = False) -> Measured:
    return Measured(
        "above", mover, moved=not stopped, stopped=stopped, total_s=total_s, link_bytes_s=1.0
    )


def _goal(taken: list[Measured], begins: str) -> Goal:
    return next(goal for goal in goals(taken) if goal.what.startswith(begins))


def test_virsh_counts_from_the_limit_ours_must_arrive() -> None:
    theirs = _moved(AUTO_CONVERGE.name, 150.0, stopped=True)
    what = "above, balanced: total"
    assert _goal([theirs, _moved(BALANCED.name, 30.0)], what).met
    assert not _goal([theirs, _moved(BALANCED.name, 50.0)], what).met
    assert _goal([theirs, _moved(BALANCED.name, 30.0, stopped=True)], what).met is None


def _outcome(policy: str, converges: bool, moved: bool) -> judged.Outcome:
    band = {"low": 8.0, "mid": 10.0, "high": 12.0}
    return {
        "case": {"policy": policy},
        "forecast": {"converges": converges, "total_s": band, "pause_ms": None},
        "moved": moved,
        "total_s": 12.5,
        "pause_ms": 100,
        "failure": "",
        "second": {"t_s": 10.0, "end_s": 12.0},
    }


def test_forecasts_are_judged_by_what_happened() -> None:
    one = _outcome("gentle", converges=True, moved=True)
    assert judged.error_percent(one) == pytest.approx(-20)
    assert judged.held(one, "total_s") is False
    assert judged.held(one, "pause_ms") is None
    assert judged.width(one, "total_s") == pytest.approx(0.4)
    assert judged.second_error_percent(one) == pytest.approx(-20)
    assert judged.second_total_error_percent(one) == pytest.approx(-4)
    assert judged.judged_right(one) is True
    assert judged.judged_right(_outcome("gentle", converges=True, moved=False)) is False
    assert judged.judged_right(_outcome("balanced", converges=True, moved=True)) is None


def emptied(case: str, cap: int | None, total_s: float, pause_ms: int, sent: int = 500) -> Ran:
    moves = (
        Moved("db-1", "kvm-a", 0.0, total_s, pause_ms, sent * MB),
        Moved("off-1", "kvm-c", 0.0, 2.0, None, 0),
    )
    wires = (
        Wire("out", sent * MB, 200_000_000),
        Wire("in", sent * MB // 2, 100_000_000),
        Wire("in", sent * MB // 2, 400_000_000),
    )
    return Ran(case, 1, cap, 1.0, total_s, None, moves, wires)


def test_an_evacuation_is_judged_by_the_better_cap_and_by_the_busiest_wire() -> None:
    taken = [
        emptied(ONE_WIRE, None, 24.5, 90),
        emptied(ONE_WIRE, 1, 25.0, 80),
        emptied(ONE_WIRE, 2, 40.0, 200, sent=900),
    ]
    assert evacuation_report.limit_s(taken) == pytest.approx(20)
    found = {goal.what: goal.met for goal in evacuation_report.goals(taken)}
    assert found == {
        f"{ONE_WIRE}: of the better cap's time": True,
        f"{ONE_WIRE}: of the limit": False,
        f"{ONE_WIRE}: worst pause / the better cap's": False,
    }


def test_two_targets_are_to_be_well_below_the_better_cap() -> None:
    caps = [emptied(TWO_TARGETS, 1, 60.0, 80), emptied(TWO_TARGETS, 2, 40.0, 120)]
    for total_s, met in ((34.0, True), (34.1, False)):
        ours = [emptied(TWO_TARGETS, None, total_s, 80) for _ in range(3)]
        first, pause = evacuation_report.goals([*ours, *caps])
        assert (first.met, pause.met) == (met, True)
    assert evacuation_report.goals(ours) == [], "nothing to set it against"
