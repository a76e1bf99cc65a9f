"""Who is measured when: never with a job, never more than a few, sooner when asked."""

from collections.abc import Mapping

from backend.fleet.write_turns import AGAIN_S, REST_S, SHORT_REST_S, Measurable, Turns

MIB = 2**20
VM = Measurable(512 * MIB)


def turns_of(*uuids: str, now_s: float = 0.0) -> Turns:
    turns = Turns()
    turns.see(dict.fromkeys(uuids, VM), frozenset(uuids), now_s)
    return turns


def begin(turns: Turns, now_s: float) -> Mapping[str, int]:
    due = turns.due(now_s)
    for uuid in due:
        turns.begun(uuid, now_s)
    return due


def one_cycle(turns: Turns, uuid: str, now_s: float, rate_mib_s: int = 10) -> float:
    for period_s in (1, 2, 4, 8):
        assert begin(turns, now_s) == {uuid: period_s}
        now_s += period_s
        assert turns.ended(now_s) == {uuid: period_s}
        assert turns.measured(uuid, rate_mib_s * MIB, now_s, now_s)
    return now_s


def test_a_cycle_then_a_rest_and_a_longer_one_once_it_is_steady() -> None:
    turns = turns_of("a")
    now_s = one_cycle(turns, "a", 0.0)
    assert begin(turns, now_s + SHORT_REST_S - 1) == {}
    assert turns.next_s() == now_s + SHORT_REST_S
    now_s = one_cycle(turns, "a", now_s + SHORT_REST_S)
    assert turns.next_s() == now_s + REST_S
    assert [one.period_s for one in turns.readings("a", now_s)] == [1, 2, 4, 8] * 2


def test_no_more_than_four_at_once_and_then_the_others() -> None:
    turns = turns_of(*"abcdef")
    assert begin(turns, 0.0) == dict.fromkeys("abcd", 1)
    assert begin(turns, 0.5) == {}
    for uuid in turns.ended(1.0):
        turns.measured(uuid, 0, 1.0, 1.0)
    assert {"e", "f"} < set(begin(turns, 1.0))


def test_who_is_asked_for_comes_first_and_once() -> None:
    turns = turns_of(*"abcdef")
    turns.ask("f", 3)
    assert begin(turns, 0.0) == {"f": 4, "a": 1, "b": 1, "c": 1}
    turns.measured("f", 0, 4.0, 4.0)
    assert begin(turns, 4.0)["d"] == 1


def test_asked_in_a_rest() -> None:
    turns = turns_of("a")
    now_s = one_cycle(turns, "a", 0.0)
    turns.ask("a", 2)
    assert turns.next_s() == 0.0
    assert begin(turns, now_s) == {"a": 2}
    turns.measured("a", 0, now_s + 2, now_s + 2)
    assert begin(turns, now_s + 2) == {}


def test_a_vm_with_a_job_is_left_alone_and_what_ran_is_thrown_away() -> None:
    turns = turns_of("a")
    begin(turns, 0.0)
    turns.see({}, frozenset("a"), 0.5)
    assert not turns.able("a")
    assert turns.due(0.6) == {}
    turns.see({"a": VM}, frozenset("a"), 0.9)
    assert not turns.measured("a", 0, 1.0, 1.0)
    assert turns.readings("a", 1.0) == ()
    assert begin(turns, 1.0) == {"a": 1}


def test_after_a_job_it_is_measured_at_once() -> None:
    turns = turns_of("a")
    now_s = one_cycle(turns, "a", 0.0)
    turns.see({}, frozenset("a"), now_s + 1)
    turns.see({"a": VM}, frozenset("a"), now_s + 2)
    assert begin(turns, now_s + 2) == {"a": 1}


def test_a_refusal_may_pass_or_not() -> None:
    turns = turns_of("a", "b")
    begin(turns, 0.0)
    turns.refused("a", 0.0)
    turns.refused("b", 0.0, never=True)
    assert turns.due(AGAIN_S - 1) == {}
    assert turns.due(AGAIN_S) == {"a": 1}
    assert not turns.able("b")


def test_shared_memory_is_sampled_only_when_asked() -> None:
    turns = Turns()
    turns.see({"a": Measurable(MIB, only_asked=True)}, frozenset("a"), 0.0)
    assert turns.due(5.0) == {}
    assert turns.next_s() is None
    turns.ask("a", 1)
    assert turns.due(5.0) == {"a": 1}


def test_who_is_gone_is_forgotten() -> None:
    turns = turns_of("a")
    one_cycle(turns, "a", 0.0)
    turns.see({}, frozenset(), 16.0)
    assert turns.readings("a", 16.0) == ()
    assert turns.next_s() is None
