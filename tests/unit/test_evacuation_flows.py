"""What a run makes of the throughput of its moves: faster and slower wires than was thought."""

from dataclasses import replace

import pytest

from backend.model import Migration, Policy, Sample
from backend.plan.queue import LinkMap, QueuedMove, QueueState, Stage, next_to_start
from backend.plan.queue_types import Going
from backend.plan.shares import completed
from backend.plan.shortfalls import Flow, Wire, WireKind, lowered, shortfalls
from backend.run.evacuation_flows import KEPT_S, SLOW_S, SPAN_S, Flows
from tests.unit.test_queue import live

MB = 1e6
TICK_S = 2.0
THOUGHT = LinkMap({("a", "b"): 25 * MB, ("a", "c"): 25 * MB}, {"a": 50 * MB})
PAIRS = {"x": ("a", "b"), "y": ("a", "c"), "z": ("a", "b")}


def move(name: str) -> QueuedMove:
    source, target = PAIRS[name]
    return QueuedMove(name, name, source, target, disk_bytes=int(500 * MB))


def sample(t_s: float, memory_mb: float, disk_mb: float = 0.0) -> Sample:
    return Sample(
        t_s=t_s,
        pass_number=1,
        remaining_bytes=0,
        total_bytes=0,
        sent_bytes=int((memory_mb + disk_mb) * MB),
        rate_bytes_s=0.0,
        dirty_bytes_s=None,
        disk_sent_bytes=int(disk_mb * MB),
    )


class Seen:
    """A run of which every two seconds is looked at."""

    def __init__(self, links: LinkMap = THOUGHT) -> None:
        self.flows = Flows()
        self.known = links
        self.now_s = 1000.0
        self.said: list[str] = []
        self._sent: dict[str, tuple[float, float]] = {}

    @property
    def links(self) -> LinkMap:
        return self.flows.links(self.known, self.now_s)

    def go(
        self,
        span_s: float,
        memory_mb_s: dict[str, float],
        disk_mb_s: dict[str, float] | None = None,
    ) -> "Seen":
        """All of these move for so long, at so much."""
        disk_mb_s = disk_mb_s or {}
        names = {*memory_mb_s, *disk_mb_s}
        for _ in range(round(span_s / TICK_S) + 1):
            migrations = {}
            for name in names:
                memory, disk = self._sent.get(name, (0.0, 0.0))
                memory += TICK_S * memory_mb_s.get(name, 0.0)
                disk += TICK_S * disk_mb_s.get(name, 0.0)
                self._sent[name] = memory, disk
                source, target = PAIRS[name]
                migrations[name] = Migration(
                    f"m-{name}", name, name, source, target, 0.0, Policy("balanced", 300)
                )
                migrations[name] = replace(
                    migrations[name], sample=sample(self.now_s, memory, disk)
                )
            going = tuple(Going(move(name), 5.0) for name in sorted(names))
            state = QueueState((), going, self.links)
            self.said += self.flows.take(state, migrations, self.now_s)
            self.now_s += TICK_S
        return self


def test_what_goes_as_thought_changes_nothing() -> None:
    seen = Seen().go(60, {"x": 24.5, "y": 25.3})
    assert seen.links == THOUGHT
    assert seen.said == []


def test_a_host_that_sends_more_than_was_thought_has_a_faster_way_out() -> None:
    seen = Seen(replace(THOUGHT, uplinks={})).go(SPAN_S, {"x": 24.0, "y": 24.0})
    assert seen.links.uplinks == {"a": pytest.approx(48 * MB)}
    assert seen.said == ["a sends 48.0 MB/s, more than was thought of its link"]
    seen.go(10, {"x": 12.0})
    assert seen.links.uplinks == {"a": pytest.approx(48 * MB)}, "also when less is sent later"


def test_a_faster_way_out_lets_the_next_begin() -> None:
    """A heavy writer has its link alone: how much that is, is what was measured."""
    narrow = replace(THOUGHT, uplinks={"a": 25 * MB})
    hot = Going(live("hot", "b", 250, 60, 48), 5.0, left_s=20.0)
    seen = Seen(narrow)
    assert next_to_start(QueueState((move("y"),), (hot,), seen.links)) == ()
    seen.go(SPAN_S, {"x": 24.0, "y": 24.0})
    starts = next_to_start(QueueState((move("y"),), (hot,), seen.links))
    assert [one.id for one in starts] == ["y"]


def test_holes_of_a_disk_are_no_throughput() -> None:
    seen = Seen(replace(THOUGHT, uplinks={})).go(20, {}, {"x": 400.0, "y": 24.0})
    assert seen.links.uplinks == {}


def test_a_way_that_carries_less_is_believed_only_after_a_while() -> None:
    seen = Seen().go(SLOW_S - TICK_S, {"x": 10.0})
    assert seen.links.pairs["a", "b"] == 25 * MB
    seen.go(SPAN_S + TICK_S, {"x": 10.0})
    assert seen.links.pairs["a", "b"] == pytest.approx(10 * MB)
    assert seen.links.pairs["a", "c"] == 25 * MB, "nobody knows it of the other way"
    assert seen.said == ["the way from a to b carries 10.0 MB/s, less than was thought"]


def test_a_slow_way_is_as_before_when_it_carries_more_again_or_nobody_looks() -> None:
    slow = Seen().go(20, {"x": 10.0})
    assert slow.links.pairs["a", "b"] == pytest.approx(10 * MB)
    assert slow.go(8, {"x": 24.0}).links == THOUGHT
    slow = Seen().go(20, {"x": 10.0})
    slow.now_s += KEPT_S
    assert slow.links == THOUGHT


def test_one_slow_span_among_others_says_nothing() -> None:
    """A pass over empty pages sends little for a moment."""
    seen = Seen()
    for _ in range(6):
        seen.go(4, {"x": 10.0}).go(4, {"x": 25.0})
    assert seen.links == THOUGHT


def test_a_link_that_is_down_is_not_a_slow_one() -> None:
    assert Seen().go(40, {"x": 0.0}).links == THOUGHT


def test_a_host_whose_moves_all_fall_short_has_a_slower_way_out() -> None:
    seen = Seen().go(20, {"x": 12.0, "y": 13.0})
    assert seen.links.uplinks == {"a": pytest.approx(25 * MB, rel=0.01)}
    assert seen.links.pairs == THOUGHT.pairs


def test_only_what_explains_it_is_slower() -> None:
    links = completed(THOUGHT, (move("x"), move("y"), move("z")))
    short = shortfalls(links, [Flow(move("x"), 10 * MB), Flow(move("y"), 24 * MB)])
    assert short == {Wire(WireKind.PAIR, ("a", "b")): 10 * MB}
    both = shortfalls(links, [Flow(move("x"), 5 * MB), Flow(move("z"), 4 * MB)])
    assert both == {Wire(WireKind.PAIR, ("a", "b")): 9 * MB}, "it may be the other end's"
    into = [Flow(replace(move("x"), source=host), 5 * MB) for host in ("a", "d")]
    links = completed(LinkMap({("a", "b"): 25 * MB, ("d", "b"): 25 * MB}), [f.move for f in into])
    assert shortfalls(links, into) == {Wire(WireKind.IN, ("", "b")): 10 * MB}
    assert lowered(links, shortfalls(links, into)).downlinks["b"] == 10 * MB


def test_what_has_ended_its_copying_is_not_looked_at() -> None:
    flows = Flows()
    for at_s in (0.0, 2.0, 4.0, 6.0):
        moved = Migration("m", "x", "x", "a", "b", 0.0, Policy("balanced", 300))
        moved = replace(moved, sample=sample(at_s, 200 * at_s))
        state = QueueState((), (Going(move("x"), at_s, Stage.FINISHING),), THOUGHT)
        assert flows.take(state, {"x": moved}, at_s) == ()
    assert flows.links(THOUGHT, 6.0) == THOUGHT
