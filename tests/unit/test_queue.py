"""In which order several moves go, and how many at once, against links played in small steps."""

import random
from dataclasses import replace
from statistics import median

import pytest

from backend.model import Band
from backend.plan.admission import Crowd, First, Gate
from backend.plan.move_course import course_at, is_heavy
from backend.plan.outset import Outset, Views
from backend.plan.policy import BALANCED, MUST_FINISH
from backend.plan.precopy import Writing
from backend.plan.queue import (
    Going,
    LinkMap,
    QueuedMove,
    QueueState,
    Stage,
    as_measured,
    forecast_whole,
    next_to_start,
)
from backend.plan.shares import completed, fair_shares
from backend.plan.simulate import Scenario
from backend.plan.tuning import choose
from tests.unit.link_world import EXTRA_MS, capped, computed, least_s, play

MB = 1e6
LINK = 25 * MB
TWO_TARGETS = LinkMap({("a", "b"): LINK, ("a", "c"): LINK}, {"a": 2 * LINK}, {"b": LINK, "c": LINK})
"""An uplink of 400 Mbit/s, targets of 200 Mbit/s each."""
ONE_WIRE = replace(TWO_TARGETS, uplinks={"a": LINK})


def live(
    name: str, target: str, first_mb: float, writes_mb: float = 0.2, set_mb: float = 20
) -> QueuedMove:
    """A running VM: what its first pass sends, how fast it writes, over how much."""
    writing = Writing(writes_mb * MB, 0.0, set_mb * MB)
    memory = Scenario(first_mb * MB, LINK, writing, 0.5)
    tuning = choose(Outset(512 * 2**20), BALANCED, Views(memory, memory, memory, ""))
    return QueuedMove(name, name, "a", target, memory, 0, BALANCED, tuning, 600.0)


def cold(name: str, target: str, disk_mb: float) -> QueuedMove:
    return QueuedMove(name, name, "a", target, disk_bytes=int(disk_mb * MB))


def six_mixed() -> tuple[QueuedMove, ...]:
    """As a lab's host has them, by name; placed evenly."""
    return (
        cold("batch-1", "b", 350),
        live("cache-1", "b", 260, 60, 48),
        live("db-1", "c", 240, 5, 40),
        replace(live("files-1", "c", 140), disk_bytes=int(500 * MB)),
        live("idle-1", "b", 120),
        live("web-1", "b", 150, 1),
    )


def mixed(seed: int) -> tuple[QueuedMove, ...]:
    """Six others: one writes faster than the link sends, one has a disk, one is shut off."""
    dice = random.Random(seed)
    moves = [
        live("hot", "b", dice.uniform(100, 400), 60, 48),
        replace(live("disk", "b", dice.uniform(80, 300)), disk_bytes=int(dice.uniform(2e8, 1e9))),
        cold("cold", "b", dice.uniform(100, 800)),
        *(
            live(
                f"v{n}", "b", dice.uniform(80, 400), dice.choice((0.1, 1, 4)), dice.uniform(10, 60)
            )
            for n in range(3)
        ),
    ]
    load = {"b": 0.0, "c": 0.0}
    placed = {}
    for move in sorted(moves, key=lambda one: -_sent(one)):
        target = min(load, key=lambda host: load[host])
        load[target] += _sent(move)
        placed[move.id] = replace(move, target=target)
    dice.shuffle(moves)
    return tuple(placed[move.id] for move in moves)


def _sent(move: QueuedMove) -> float:
    return move.disk_bytes + (move.memory.first_pass_bytes if move.memory else 0.0)


def started(state: QueueState) -> list[str]:
    return [one.id for one in next_to_start(state)]


def test_two_targets_are_sent_to_at_once_well_below_fixed_caps() -> None:
    one, two, ours = (
        play(six_mixed(), TWO_TARGETS, how) for how in (capped(1), capped(2), computed)
    )
    assert ours.total_s <= 0.85 * min(one.total_s, two.total_s)
    assert ours.worst_pause_ms <= min(one.worst_pause_ms, two.worst_pause_ms) + 20


def test_over_many_fleets_it_is_never_worse_than_a_fixed_cap() -> None:
    ratios = []
    for seed in range(8):
        moves = mixed(seed)
        caps = [play(moves, TWO_TARGETS, capped(most), seed) for most in (1, 2)]
        ours = play(moves, TWO_TARGETS, computed, seed)
        ratios.append(ours.total_s / min(cap.total_s for cap in caps))
        assert ours.total_s <= 1.35 * least_s(moves, TWO_TARGETS)
    assert max(ratios) <= 1.02
    assert median(ratios) <= 0.85


@pytest.mark.parametrize("seed", range(6))
def test_a_single_wire_is_used_as_well_as_it_can_be(seed: int) -> None:
    moves = mixed(seed)
    caps = [play(moves, ONE_WIRE, capped(most), seed) for most in (1, 2)]
    ours = play(moves, ONE_WIRE, computed, seed)
    assert ours.total_s <= 1.05 * min(cap.total_s for cap in caps)
    assert ours.total_s <= 1.2 * least_s(moves, ONE_WIRE)


@pytest.mark.parametrize("links", [TWO_TARGETS, ONE_WIRE], ids=["two targets", "one wire"])
@pytest.mark.parametrize("seed", range(4))
def test_no_pause_is_longer_than_agreed_or_noticeably_longer_than_alone(
    links: LinkMap, seed: int
) -> None:
    moves = mixed(seed)
    ours = play(moves, links, computed, seed)
    for move in moves:
        if move.memory is None:
            continue
        alone = play((move,), links, capped(1), seed).pauses_ms[move.id]
        assert ours.pauses_ms[move.id] <= min(BALANCED.pause_ms, 1.1 * alone + 30)
        assert ours.pauses_ms[move.id] >= EXTRA_MS


def test_a_link_too_slow_for_the_devices_of_several_vms_is_not_shared() -> None:
    slow = LinkMap(pairs={("a", "b"): 6e6}, uplinks={"a": 6e6}, downlinks={"b": 6e6})
    first, second = live("one", "b", 90), live("two", "b", 90)
    starts = next_to_start(QueueState((first, second), links=slow))
    assert [one.id for one in starts] == ["one"], "half of it is 250 ms of devices' state alone"


def test_a_heavy_writer_has_its_link_alone() -> None:
    hot, light = live("hot", "b", 250, 60, 48), live("light", "b", 250)
    assert is_heavy(hot, LINK)
    assert not is_heavy(light, LINK)
    running = Going(hot, 5.0, left_s=20.0, rate_bytes_s=LINK)
    assert started(QueueState((light,), (running,), ONE_WIRE)) == []
    assert started(QueueState((hot,), (replace(running, move=light),), ONE_WIRE)) == []
    elsewhere = replace(light, target="c")
    assert started(QueueState((elsewhere,), (running,), ONE_WIRE)) == []
    assert started(QueueState((elsewhere,), (running,), TWO_TARGETS)) == ["light"]


def test_two_ways_measured_a_little_short_are_not_one_wire() -> None:
    hot, light = live("hot", "b", 250, 2, 200), live("light", "c", 250)
    assert is_heavy(replace(hot, disk_bytes=10**8), LINK)
    hot = replace(hot, disk_bytes=10**8)
    short = replace(TWO_TARGETS, uplinks={"a": 1.8 * LINK})
    running = Going(hot, 5.0, left_s=20.0, rate_bytes_s=LINK)
    assert started(QueueState((light,), (running,), short)) == ["light"]
    shorter = replace(TWO_TARGETS, uplinks={"a": 1.5 * LINK})
    assert started(QueueState((light,), (running,), shorter)) == []


def test_a_running_vm_with_a_disk_to_copy_has_its_link_alone() -> None:
    light = live("light", "b", 250)
    disk = replace(live("disk", "b", 250), disk_bytes=10**9)
    assert not is_heavy(light, 10 * LINK)
    assert is_heavy(disk, 10 * LINK)
    assert not is_heavy(cold("off", "b", 1000), LINK), "it has no pause"
    unknown = replace(cold("unknown", "b", 1000), runs=True)
    assert is_heavy(unknown, LINK), "it has one, whatever is known of its memory"


def test_no_pause_is_made_longer_by_what_its_devices_have_to_send() -> None:
    first, second = live("one", "b", 250), live("two", "b", 250)
    running = Going(first, 2.0, left_s=8.0, rate_bytes_s=LINK)
    assert started(QueueState((second,), (running,), ONE_WIRE)) == []
    fast = replace(TWO_TARGETS, pairs={("a", "b"): 5 * LINK}, uplinks={}, downlinks={})
    for links, may in ((ONE_WIRE, False), (fast, True)):
        gate = Gate(completed(links, (first, second)))
        assert gate.may_start(second, (first,), Crowd(2, First.HEAVY)) is may


def test_a_vm_that_fetches_its_memory_over_the_link_has_it_alone() -> None:
    move = live("hot", "b", 250, 60, 48)
    assert move.memory is not None
    views = Views(move.memory, move.memory, move.memory, "")
    tuning = choose(Outset(512 * 2**20), MUST_FINISH, views)
    assert tuning.switch is not None
    assert is_heavy(replace(move, policy=MUST_FINISH, tuning=tuning), 10 * LINK)


def test_the_next_begins_when_the_vm_runs_at_the_target() -> None:
    hot, light = live("hot", "b", 250, 60, 48), live("light", "b", 250)
    state = QueueState((light,), (Going(hot, 30.0, Stage.FINISHING),), ONE_WIRE)
    assert started(state) == ["light"]
    assert next_to_start(state)[0].reason == "the link from a to b is free"


def test_the_next_is_made_ready_while_another_still_has_its_link() -> None:
    light, other = live("light", "b", 250), live("other", "b", 250)
    nearly = Going(light, 9.0, left_s=2.0, rate_bytes_s=LINK)
    [start] = next_to_start(QueueState((other,), (nearly,), ONE_WIRE))
    assert start.after == ("light",)
    assert start.reason == "made ready now, it sends once light has left its link"
    later = replace(nearly, left_s=30.0)
    assert started(QueueState((other,), (later,), ONE_WIRE)) == []
    sooner = replace(later, sooner_s=28.0)
    [start] = next_to_start(QueueState((other,), (sooner,), ONE_WIRE))
    assert start.after == ("light",)
    elsewhere = replace(other, target="c")
    [start] = next_to_start(QueueState((elsewhere,), (nearly,), TWO_TARGETS))
    assert start.after == (), "they share nothing"
    assert started(QueueState((other,), (replace(nearly, left_s=9.0),), ONE_WIRE)) == []


def test_one_that_waits_for_its_link_lets_no_other_go_before_it() -> None:
    hot, light = live("hot", "b", 250, 60, 48), live("light", "b", 250)
    sends = Going(hot, 30.0, left_s=1.0, rate_bytes_s=LINK)
    waits = Going(light, 1.0, after=("hot",))
    assert started(QueueState((live("other", "b", 250),), (sends, waits), ONE_WIRE)) == []
    told = forecast_whole(QueueState((), (sends, waits), ONE_WIRE))
    ends = {slot.id: slot.end_s.mid for slot in told.slots}
    assert ends["light"] == pytest.approx(1.0 + 0.3 + 250 / 25 + 1.4, rel=0.1)


def test_a_paused_queue_starts_nothing_and_still_tells_the_whole() -> None:
    state = QueueState((live("v", "b", 250),), (), ONE_WIRE, paused=True)
    assert started(state) == []
    assert forecast_whole(state).total_s.mid == pytest.approx(250 / 25 + 2.4, rel=0.1)


def test_the_operators_order_goes_before_the_computed_one() -> None:
    moves = (live("long", "b", 900), replace(live("short", "b", 100), rank=-1))
    assert started(QueueState(moves, (), ONE_WIRE))[0] == "short"
    assert started(QueueState((moves[0],), (), ONE_WIRE)) == ["long"]
    both = (live("x", "c", 100), replace(live("y", "b", 900), rank=1))
    busy = (Going(live("hot", "c", 250, 60, 48), 5.0, left_s=20.0),)
    assert started(QueueState(both, busy, TWO_TARGETS)) == []


def test_no_more_at_once_than_told() -> None:
    hosts = [f"t{n}" for n in range(20)]
    links = LinkMap({("a", host): LINK for host in hosts}, {"a": 20 * LINK})
    moves = tuple(live(f"v{n}", host, 250) for n, host in enumerate(hosts))
    assert len(started(QueueState(moves, (), links))) == 8
    assert len(started(QueueState(moves, (), links, most_at_once=3))) == 3


@pytest.mark.parametrize("cap", [1, 2])
def test_a_fixed_cap_takes_them_as_planned_whatever_their_links(cap: int) -> None:
    moves = six_mixed()
    state = QueueState(moves, (), ONE_WIRE, fixed_cap=cap)
    assert started(state) == [move.id for move in moves[:cap]]
    hot = live("hot", "b", 250, 60, 48)
    running = replace(state, going=(Going(hot, 5.0, left_s=20.0),))
    assert started(running) == [move.id for move in moves[: cap - 1]]
    finishing = replace(state, going=(Going(hot, 5.0, Stage.FINISHING),))
    assert len(started(finishing)) == cap - 1, "until its verdict it counts"
    told = forecast_whole(state)
    assert [slot.id for slot in told.slots] == [move.id for move in moves]
    went = play(moves, ONE_WIRE, capped(cap))
    assert told.total_s.low <= went.total_s <= told.total_s.high


def test_the_whole_is_foretold() -> None:
    moves = six_mixed()
    told = forecast_whole(QueueState(moves, (), TWO_TARGETS))
    went = play(moves, TWO_TARGETS, computed)
    assert told.total_s.low <= went.total_s <= told.total_s.high
    assert {slot.id for slot in told.slots} == {move.id for move in moves}
    assert [slot.begin_s for slot in told.slots] == sorted(slot.begin_s for slot in told.slots)
    assert told.worst_pause_ms is not None
    assert told.worst_pause_ms.mid <= BALANCED.pause_ms
    assert {slot.id for slot in told.slots if slot.pause_ms is None} == {"batch-1"}


def test_a_move_that_runs_already_is_foretold_from_where_it_is() -> None:
    move = live("v", "b", 250)
    fresh = forecast_whole(QueueState((), (Going(move, 0.0),), ONE_WIRE)).total_s.mid
    later = forecast_whole(QueueState((), (Going(move, 6.0, left_s=4.0),), ONE_WIRE)).total_s.mid
    last = forecast_whole(QueueState((), (Going(move, 11.0, Stage.FINISHING),), ONE_WIRE))
    assert fresh == pytest.approx(12.4, rel=0.1)
    assert later == pytest.approx(5.4, rel=0.1)
    assert last.total_s.mid == pytest.approx(1.4)
    assert last.slots[0].begin_s == -11.0


def test_a_failure_or_a_skip_leaves_the_rest_as_it_would_be() -> None:
    """What has ended is not in the state: the rest is planned as if it had never been."""
    moves = six_mixed()
    for gone in range(len(moves)):
        rest = moves[:gone] + moves[gone + 1 :]
        assert started(QueueState(rest, (), TWO_TARGETS))
        told = forecast_whole(QueueState(rest, (), TWO_TARGETS))
        assert {slot.id for slot in told.slots} == {move.id for move in rest}


def test_the_same_state_has_the_same_answer() -> None:
    state = QueueState(six_mixed(), (), TWO_TARGETS)
    assert next_to_start(state) == next_to_start(state)
    assert forecast_whole(state) == forecast_whole(state)


def test_an_operators_bandwidth_leaves_room_for_others() -> None:
    slow = replace(live("slow", "b", 250), most_bytes_s=0.4 * LINK)
    hot = live("hot", "c", 250, 60, 48)
    links = completed(ONE_WIRE, (slow, hot))
    assert fair_shares((slow, replace(slow, id="2")), links) == [0.4 * LINK] * 2
    assert fair_shares((slow, hot), links) == pytest.approx([0.4 * LINK, 0.6 * LINK])


def test_what_is_not_known_of_a_link_is_taken_from_its_fastest_pair() -> None:
    moves = (live("x", "b", 100), live("y", "c", 100))
    links = completed(LinkMap({("a", "b"): LINK, ("a", "c"): 2 * LINK}), moves)
    assert links.uplinks == {"a": 2 * LINK}
    assert fair_shares(moves, links) == pytest.approx([LINK, LINK])


def test_an_uplink_that_carries_more_than_thought_is_learned() -> None:
    links = LinkMap({("a", "b"): LINK, ("a", "c"): LINK})
    sent = ((("a", "b"), 0.98 * LINK), (("a", "c"), 0.97 * LINK))
    learned = as_measured(links, sent)
    assert learned.uplinks == {"a": pytest.approx(1.95 * LINK)}
    assert learned.downlinks == {}
    half = ((("a", "b"), 0.5 * LINK), (("a", "c"), 0.5 * LINK))
    assert as_measured(links, half).uplinks == {}
    assert as_measured(learned, half).uplinks == learned.uplinks


def test_a_move_of_which_little_is_known_takes_what_its_plan_said() -> None:
    unknown = QueuedMove("u", "u", "a", "b", alone_s=Band(10, 20, 40))
    assert forecast_whole(QueueState((unknown,), (), ONE_WIRE)).total_s.mid == pytest.approx(
        20, abs=0.6
    )
    definition = QueuedMove("d", "d", "a", "b")
    assert forecast_whole(QueueState((definition,), (), ONE_WIRE)).total_s.mid < 4


def test_a_vm_that_will_not_converge_holds_its_link_and_no_more() -> None:
    stubborn = live("v", "b", 250, 60, 400)
    stubborn = replace(stubborn, tuning=replace(stubborn.tuning, throttle_start_percent=None))  # type: ignore[type-var]
    assert not course_at(stubborn, LINK).converges
    assert is_heavy(stubborn, LINK)
    told = forecast_whole(QueueState((stubborn, live("w", "c", 250)), (), TWO_TARGETS))
    assert told.slots[0].pause_ms is None or told.slots[1].pause_ms is None
