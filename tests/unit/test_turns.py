"""The turns of a migration's course, and how it stood at any moment by them."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backend.model import (
    Band,
    Decision,
    Migration,
    Outcome,
    Outlook,
    Phase,
    PhaseState,
    Policy,
    Sample,
    Verdict,
    Word,
)
from backend.run.turns import MOST_TURNS, Turns
from tui.replay import Recording

START = 1_790_000_000.0
M = 1 << 20
WAITING = dict.fromkeys(Phase, PhaseState.WAITING)
BEGUN = Migration("m-1", "db-1", "u", "a", "b", START, Policy("balanced", 300), phases=WAITING)
PREPARING = replace(BEGUN, phases={**WAITING, Phase.PREPARE: PhaseState.ACTIVE})
COPYING = replace(
    PREPARING,
    phase=Phase.MEMORY,
    phases={
        **WAITING,
        Phase.PREPARE: PhaseState.DONE,
        Phase.DISK: PhaseState.SKIPPED,
        Phase.MEMORY: PhaseState.ACTIVE,
    },
    called_at=START + 1.0,
)
VERDICT = Verdict("m-1", "db-1", "a", "b", Outcome.MOVED, "b", "It runs on b.", 10.0, 12.0)
ENDED = replace(
    COPYING,
    phase=Phase.VERIFY,
    phases=dict.fromkeys(Phase, PhaseState.DONE),
    verdict=VERDICT,
    decisions=(
        Decision(0.5, START + 1.5, "pause-limit", "as agreed"),
        Decision(8.0, START + 9.0, "note", "pass 3 ended"),
    ),
)
SAMPLES = tuple(
    Sample(float(t), 1 + t // 4, (10 - t) * M, 10 * M, t * M, 1e6, 1e5, 300) for t in range(10)
)


def saying(state: Migration, number: int, word: Word = Word.CONVERGING) -> Migration:
    return replace(state, outlook=Outlook(word, f"say {number}", Band(9, 10, 11)))


def test_turns_come_with_the_phases_and_not_with_every_word() -> None:
    turns = Turns()
    state = turns.follow(BEGUN, PREPARING, START)
    assert [turn.phase for turn in state.turns] == [Phase.PREPARE]
    copying = turns.follow(state, replace(COPYING, turns=state.turns), START + 1)
    said = turns.follow(copying, saying(copying, 1), START + 2)
    assert said.turns == copying.turns
    ended = turns.follow(said, replace(ENDED, turns=said.turns), START + 12)
    assert [turn.at - START for turn in ended.turns] == [0, 1, 2, 12]
    assert ended.turns[2].outlook == said.outlook


def test_nothing_new_is_no_turn() -> None:
    turns = Turns()
    state = turns.follow(BEGUN, PREPARING, START)
    again = turns.follow(state, replace(state, virsh="virsh"), START + 1)
    assert again.turns == state.turns
    assert len(turns.follow(again, replace(COPYING, turns=again.turns), START + 2).turns) == 2


def test_a_long_one_keeps_every_word_and_phase_but_not_every_figure() -> None:
    turns = Turns()
    state = turns.follow(BEGUN, PREPARING, START)
    state = turns.follow(state, COPYING, START + 1)
    for second in range(3000):
        word = Word.WILL_NOT_CONVERGE if second == 1500 else Word.CONVERGING
        state = turns.follow(state, saying(state, second, word), START + 2 + second)
    state = turns.follow(state, replace(state, phases=ENDED.phases), START + 3100)
    assert len(state.turns) <= MOST_TURNS
    assert [turn.phase for turn in state.turns[:2]] == [Phase.PREPARE, Phase.MEMORY]
    words = [turn.outlook.word for turn in state.turns if turn.outlook]
    assert Word.WILL_NOT_CONVERGE in words
    assert [turn.at for turn in state.turns] == sorted(turn.at for turn in state.turns)


def test_an_engine_that_takes_over_goes_on_with_the_turns_there_are() -> None:
    first = Turns()
    state = first.follow(BEGUN, PREPARING, START)
    state = first.follow(state, replace(COPYING, turns=state.turns), START + 1)
    ended = Turns(state.turns).follow(state, replace(ENDED, turns=state.turns), START + 12)
    assert [turn.at - START for turn in ended.turns] == [0, 1, 12]


def test_before_the_end_nothing_is_known_of_it() -> None:
    view = Recording(ENDED, SAMPLES).view(5.0)
    m = view.migration
    assert m.verdict is None
    assert m.sample is SAMPLES[4]
    assert view.samples == SAMPLES[:5]
    assert [decision.reason for decision in m.decisions] == ["as agreed"]
    assert view.elapsed_s == 4.0
    assert m.controls == ()


def test_without_turns_the_times_of_the_phases_tell() -> None:
    recording = Recording(replace(ENDED, phases=COPYING.phases), SAMPLES)
    assert recording.view(0.5).migration.phase is Phase.PREPARE
    assert recording.view(0.5).migration.called_at is None
    assert recording.view(5.0).migration.phases == COPYING.phases
    with_disks = replace(ENDED, memory_at=START + 6)
    assert Recording(with_disks, SAMPLES).view(5.0).migration.phase is Phase.DISK
    assert Recording(with_disks, SAMPLES).view(7.0).migration.phase is Phase.MEMORY


def test_what_was_left_then_becomes_less_until_the_next_turn() -> None:
    turns = Turns()
    state = turns.follow(BEGUN, COPYING, START + 1)
    state = turns.follow(state, saying(state, 1), START + 2)
    state = turns.follow(state, replace(ENDED, turns=state.turns), START + 12)
    outlook = Recording(state, SAMPLES).view(5.0).migration.outlook
    assert outlook is not None
    assert outlook.left_s == Band(6, 7, 8)


def test_the_end_is_the_report() -> None:
    recording = Recording(ENDED, SAMPLES)
    assert recording.length_s == 12.0
    assert recording.view(12.0).migration is ENDED
    assert recording.view(1e9).samples == SAMPLES


def test_one_without_a_verdict_lasts_as_long_as_it_is_known() -> None:
    assert Recording(replace(ENDED, verdict=None), SAMPLES).length_s == 10.0
    assert Recording(BEGUN).length_s == 0.0
    assert Recording(BEGUN).view(0.0).migration is BEGUN


@given(st.lists(st.floats(0, 15), min_size=2, max_size=30))
def test_later_never_shows_less(times: list[float]) -> None:
    recording = Recording(ENDED, SAMPLES)
    views = [recording.view(t_s) for t_s in sorted(times)]
    for before, after in pairwise(views):
        assert after.samples[: len(before.samples)] == before.samples
        assert len(after.migration.decisions) >= len(before.migration.decisions)
        assert after.progress >= before.progress
