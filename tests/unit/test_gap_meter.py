"""The arithmetic of silence: against a plain model, and where clocks and networks misbehave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.run.gap_meter import GapMeter

STEP_S = 0.02
EPOCH_S = 1_795_492_839.0


def meter(window: bool = True) -> GapMeter:
    made = GapMeter(20)
    if window:
        made.open_window()
    return made


def play(made: GapMeter, answers: list[tuple[float, int]], late_s: float = 0.0) -> GapMeter:
    """Answers as (time, number); they arrive `late_s` after they were printed."""
    for at_s, number in answers:
        made.feed(EPOCH_S + at_s, number % 65536, True, at_s + late_s)
    return made


def steady(first: int, last: int) -> list[tuple[float, int]]:
    return [(number * STEP_S, number) for number in range(first, last + 1)]


def test_a_vm_that_answers_at_once_has_no_silence() -> None:
    made = play(meter(), steady(1, 100))
    assert (made.longest_gap_ms, made.sent, made.lost) == (0, 100, 0)


def test_the_longest_silence_is_between_two_answers_less_one_interval() -> None:
    made = play(meter(), steady(1, 50) + steady(57, 90) + steady(94, 120))
    assert made.longest_gap_ms == 120
    assert (made.sent, made.lost) == (120, 9)


def test_before_the_first_answer_there_is_no_silence() -> None:
    made = meter()
    for number in range(1, 50):
        made.feed(EPOCH_S + number * STEP_S, number, False, number * STEP_S)
    assert made.longest_gap_ms == 0
    assert made.first_answer_s is None
    play(made, steady(50, 60))
    assert (made.longest_gap_ms, made.lost) == (0, 49)


def test_a_silence_that_still_lasts_is_shown() -> None:
    made = play(meter(), steady(1, 10))
    for number in range(11, 41):
        made.feed(EPOCH_S + (number + 1) * STEP_S, number, False, number * STEP_S)
    assert made.longest_gap_ms == pytest.approx(600, abs=1)
    assert made.lost == 30
    play(made, steady(42, 43))
    assert made.longest_gap_ms == pytest.approx(620, abs=1)


def test_what_was_before_the_window_does_not_count_what_goes_on_counts_whole() -> None:
    made = play(meter(window=False), steady(1, 5) + steady(50, 60))
    assert made.longest_gap_ms == pytest.approx(880, abs=1)
    made.open_window()
    assert (made.longest_gap_ms, made.sent, made.lost) == (0, 0, 0)
    play(made, steady(66, 70))
    assert made.longest_gap_ms == pytest.approx(100, abs=1)
    assert (made.sent, made.lost) == (10, 5)


def test_late_answers_end_the_silence_when_they_come_and_are_not_lost() -> None:
    held = [(1.0, number) for number in range(11, 51)]
    made = play(meter(), steady(1, 10) + held + steady(51, 60))
    assert made.longest_gap_ms == pytest.approx(780, abs=1)
    assert made.lost == 0


def test_numbers_that_come_in_disorder_make_no_silence_of_their_own() -> None:
    held = [(1.0, number) for number in [50, *range(11, 50)]]
    made = play(meter(), steady(1, 10) + held + steady(51, 60))
    assert made.longest_gap_ms == pytest.approx(780, abs=1)
    assert made.lost == 0


def test_numbers_begin_anew_after_65535() -> None:
    made = meter(window=False)
    play(made, [(n * STEP_S, 65_500 + n) for n in range(30)])
    made.open_window()
    play(made, [(n * STEP_S, 65_500 + n) for n in range(30, 100)])
    assert (made.longest_gap_ms, made.sent, made.lost) == (0, 70, 0)


@pytest.mark.parametrize("jump_s", [-3600.0, -5.0, 5.0, 3600.0])
def test_a_clock_that_is_set_makes_no_silence(jump_s: float) -> None:
    made = meter()
    for number in range(1, 101):
        at_s = EPOCH_S + number * STEP_S + (jump_s if number > 50 else 0.0)
        made.feed(at_s, number, True, number * STEP_S)
    assert made.longest_gap_ms <= 1


def test_a_real_silence_over_which_the_clock_was_set_back_is_told_by_the_numbers() -> None:
    made = play(meter(), steady(1, 10))
    for number in range(111, 121):
        made.feed(EPOCH_S - 60 + number * STEP_S, number, True, number * STEP_S)
    assert made.longest_gap_ms == pytest.approx(2000, abs=1)


def test_lines_that_arrive_late_in_one_heap_are_no_silence() -> None:
    made = play(meter(), steady(1, 50))
    for number in range(51, 401):
        made.feed(EPOCH_S + number * STEP_S, number, True, 8.0)
    assert made.longest_gap_ms == 0


def test_it_is_steady_from_the_end_on_by_answers_sent_after_it() -> None:
    made = play(meter(), steady(1, 50))
    made.mark_end(1.5)
    for number in range(51, 75):  # from before the end, come late
        made.feed(EPOCH_S + number * STEP_S, number, True, 1.6)
    assert made.answered_after_s is None
    assert made.steady_s == 0.0
    play(made, steady(78, 100))
    assert made.answered_after_s == pytest.approx(0.06, abs=0.001)
    assert made.steady_s == pytest.approx(0.5, abs=0.001)
    play(made, steady(120, 130))
    assert made.steady_s == pytest.approx(0.2, abs=0.001)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["answer", "lost", "again"]), st.floats(0.0, 0.9)), max_size=60
)


@given(EVENTS)
def test_whatever_is_lost_late_or_doubled_it_is_the_longest_time_between_answers(
    events: list[tuple[str, float]],
) -> None:
    made = meter()
    made.feed(EPOCH_S, 1, True, 0.0)
    now_s, number, answers, lost = 0.0, 1, [0.0], 0
    last = 1
    for kind, wait_s in events:
        now_s += wait_s
        if kind == "again":
            made.feed(EPOCH_S + now_s, last, True, now_s)
            continue
        number += 1
        made.feed(EPOCH_S + now_s, number, kind == "answer", now_s)
        if kind == "answer":
            answers.append(now_s)
            last = number
        else:
            lost += 1
    until = [*answers[1:], now_s]
    gaps = [later - earlier for earlier, later in zip(answers, until, strict=True)]
    assert made.longest_gap_ms == pytest.approx(max(0.0, max(gaps) - STEP_S) * 1000, abs=1)
    assert (made.sent, made.lost) == (number, lost)


@given(st.permutations(range(2, 12)), st.lists(st.integers(2, 11), max_size=5))
def test_neither_order_nor_doubles_change_what_was_lost(order: list[int], more: list[int]) -> None:
    made = meter()
    for at, number in enumerate([1, *order, *more]):
        made.feed(EPOCH_S + at * STEP_S, number, True, at * STEP_S)
    assert (made.sent, made.lost) == (11, 0)
    assert made.longest_gap_ms <= len(more) * 20


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.integers(0, 65535), st.booleans())))
def test_nonsense_is_borne(lines: list[tuple[float, int, bool]]) -> None:
    made = meter()
    for at, (at_s, number, answered) in enumerate(lines[:20]):
        made.feed(at_s, number, answered, float(at))
    assert made.longest_gap_ms >= 0
    assert 0 <= made.lost <= max(made.sent, 1)
