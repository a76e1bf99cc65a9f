"""A whole queue played through: who starts when, at what rate, until the last has ended. Pure.

A move is its start (nothing is sent), its copying, and its finish (nothing is sent); how far the
copying gets in a second depends on the rate that the others leave it: 1 / (the copying's length at
that rate).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from backend.model import Band
from backend.plan.admission import Crowd, First, Gate
from backend.plan.move_course import CALL_S, IDLE_START_S, LIVE_START_S, course_at
from backend.plan.queue_types import Going, QueuedMove, QueueState, Slot, Stage, Timeline
from backend.plan.shares import fair_shares
from backend.plan.simulate import FINISH_S

EARLY_S = 6.0
"""So much longer than its start is forecast a move may be made ready while others have its link: it
waits for them. On hosts that were busy with them 0.5 to 2.2 s went by from the confirm of a live
one to its call, 4.5 s to the first byte of an idle one; and where a writer is throttled, its end is
seen only as late."""
ASKED = 24
"""Kinds of moves that are asked for at one moment: of many targets, the most loaded."""
_LOW_PART = 0.85
_HIGH_PART = 1.3
"""Of the time to an end; what the ones before it are off adds up, and partly evens out."""

LEAST_SPAN_S = 0.001
"""Time passes with every step: a play comes to its end whatever its figures are."""


@dataclass(slots=True)
class Played:
    """One move in the play."""

    move: QueuedMove
    begin_s: float
    start_left_s: float
    part_left: float = 1.0
    """Of the copying."""
    finish_left_s: float = FINISH_S.mid
    rate_bytes_s: float = 0.0
    least_bytes_s: float = float("inf")
    end_s: float = 0.0
    after: tuple["Played", ...] = ()
    """Those that it lets leave its link before it sends."""
    sooner_s: float = 0.0
    """By so much its end may come before it is played."""

    @property
    def held(self) -> bool:
        """It is ready, or will be, and waits for its link."""
        return any(one.part_left > 0 for one in self.after)

    @property
    def sends(self) -> bool:
        """It uses its link now."""
        return self.start_left_s <= 0 and self.part_left > 0

    @property
    def ended(self) -> bool:
        return self.start_left_s <= 0 and self.part_left <= 0 and self.finish_left_s <= 0

    @property
    def _least_start_s(self) -> float:
        """Of its start, what comes after its link is free."""
        return min(CALL_S, self.start_left_s) if self.held else 0.0

    def left_s(self) -> float:
        """To its next change; 0 while it waits for that of another."""
        if self.start_left_s > 0:
            return self.start_left_s - self._least_start_s
        if self.part_left > 0:
            return self.part_left * course_at(self.move, self.rate_bytes_s).copying_s
        return self.finish_left_s

    def pass_time(self, span_s: float) -> None:
        if self.start_left_s > 0:
            least_s = self._least_start_s
            self.start_left_s = least_s + _less(self.start_left_s - least_s, span_s)
        elif self.part_left > 0:
            whole_s = course_at(self.move, self.rate_bytes_s).copying_s
            self.part_left = _less(self.part_left, span_s / whole_s)
        else:
            self.finish_left_s = _less(self.finish_left_s, span_s)


@dataclass(slots=True)
class Play:
    """The state of the play."""

    gate: Gate
    crowd: Crowd
    waiting: list[QueuedMove]
    running: list[Played]
    most_at_once: int
    now_s: float = 0.0
    ended: list[Played] = field(default_factory=list)

    def start_all(self) -> list[Played]:
        """Start what may start now; which they are, in their order."""
        started: list[Played] = []
        while self.waiting and len(self.running) < self.most_at_once:
            found = self._next()
            if found is None:
                break
            self.waiting.remove(found)
            course = self.gate.alone(found).course
            begun = Played(
                found,
                self.now_s,
                course.start_s,
                finish_left_s=course.finish_s,
                after=self._before(found),
            )
            started.append(begun)
            self.running.append(begun)
        return started

    def _before(self, move: QueuedMove) -> tuple[Played, ...]:
        """Those beside which it may not send: they are about to leave its link."""
        start_s = self.gate.alone(move).course.start_s
        return tuple(
            one
            for one in self.running
            if one.part_left > 0
            and self._leaves(one, start_s)
            and not self.gate.may_start(move, [one.move], self.crowd)
        )

    def _next(self) -> QueuedMove | None:
        """The first in the order that may start; of moves alike for their links, one is asked."""
        tried: set[tuple[str, str, float | None, bool, bool]] = set()
        for move in self.waiting:
            if move.rank != self.waiting[0].rank:
                break
            heavy = self.gate.alone(move).heavy
            idle = move.memory is None
            kind = (move.source, move.target, move.most_bytes_s, heavy, idle)
            if kind not in tried and self.gate.may_start(move, self._beside(move), self.crowd):
                return move
            tried.add(kind)
            if len(tried) >= ASKED:
                break
        return None

    def _beside(self, move: QueuedMove) -> list[QueuedMove]:
        """Those that will be sending when it is."""
        start_s = self.gate.alone(move).course.start_s
        return [one.move for one in self.running if not self._leaves(one, start_s)]

    def _leaves(self, one: Played, start_s: float) -> bool:
        """Its link is free, or will be about when another that takes so long to its first byte is
        ready."""
        if one.part_left <= 0:
            return True
        if one.start_left_s > 0:
            return False
        rate = one.rate_bytes_s or self.gate.alone(one.move).rate_bytes_s
        left_s = one.part_left * course_at(one.move, rate).copying_s
        return left_s - one.sooner_s <= start_s + EARLY_S

    def step(self) -> None:
        """To the next change of any move."""
        self._share()
        lefts_s = (one.left_s() for one in self.running)
        changes_s = [*(left_s for left_s in lefts_s if left_s > 0), *self._chances_s()]
        span_s = max(LEAST_SPAN_S, min(changes_s, default=0.0))
        for one in self.running:
            one.pass_time(span_s)
        self.now_s += span_s
        for one in [one for one in self.running if one.ended]:
            one.end_s = self.now_s
            self.running.remove(one)
            self.ended.append(one)

    def _chances_s(self) -> Iterator[float]:
        """Until one that is sending is so near to its end that another may start."""
        for one in self.running if self.waiting else ():
            if one.sends:
                left_s = one.left_s() - one.sooner_s
                for start_s in (LIVE_START_S, IDLE_START_S):
                    if start_s + EARLY_S < left_s - LEAST_SPAN_S:
                        yield left_s - start_s - EARLY_S

    def _share(self) -> None:
        sending = [one for one in self.running if one.sends]
        moves = [one.move for one in sending]
        for one, share in zip(sending, fair_shares(moves, self.gate.links), strict=True):
            one.rate_bytes_s = share
            one.least_bytes_s = min(one.least_bytes_s, share)


def play(state: QueueState, gate: Gate, crowd: Crowd) -> tuple[list[Played], list[Played]]:
    """What starts now, and how all of it goes."""
    running = _all_resumed(state, gate)
    waiting = in_order(state.waiting, gate, crowd)
    most = state.most_at_once if state.fixed_cap is None else state.fixed_cap
    stage = Play(gate, crowd, waiting, running, max(1, most))
    first = stage.start_all()
    while stage.running:
        stage.step()
        stage.start_all()
    return first, stage.ended


def _all_resumed(state: QueueState, gate: Gate) -> list[Played]:
    known = {one.move.id: _resumed(one, gate) for one in state.going}
    for one in state.going:
        known[one.move.id].after = tuple(known[id] for id in one.after if id in known)
    return list(known.values())


def in_order(moves: Iterable[QueuedMove], gate: Gate, crowd: Crowd) -> list[QueuedMove]:
    """By rank; then those of the most loaded target first, of them the longest, or those that take
    the longest after their last byte; as given where the order is fixed."""
    moves = list(moves)
    if crowd.fixed:
        return sorted(moves, key=lambda move: move.rank)
    load_s: dict[str, float] = {}
    for move in moves:
        took_s = gate.alone(move).course.copying_s
        load_s[move.target] = load_s.get(move.target, 0.0) + took_s

    def urgency(move: QueuedMove) -> tuple[int, bool, float, float, float]:
        alone = gate.alone(move)
        tail_s = alone.course.finish_s if crowd.first is First.TAILS else 0.0
        late = crowd.first is not First.TAILS and alone.heavy is not (crowd.first is First.HEAVY)
        return move.rank, late, -load_s[move.target], -tail_s, -alone.course.copying_s

    return sorted(moves, key=urgency)


def _resumed(one: Going, gate: Gate) -> Played:
    """A move that runs already, as far as it is known to have come."""
    alone = gate.alone(one.move).rate_bytes_s
    known = gate.alone(one.move).course
    start_s = max(CALL_S if one.after else 0.0, known.start_s - one.since_s)
    played = Played(one.move, -one.since_s, start_s, finish_left_s=known.finish_s)
    if one.stage is Stage.FINISHING:
        played.start_left_s = played.part_left = 0.0
        return played
    whole_s = course_at(one.move, one.rate_bytes_s or alone).copying_s
    left_s = one.left_s
    if left_s is None:
        left_s = max(0.1 * whole_s, whole_s - max(0.0, one.since_s - known.start_s))
    played.part_left = min(1.0, left_s / whole_s) if played.start_left_s <= 0 else 1.0
    played.rate_bytes_s = one.rate_bytes_s or alone
    played.sooner_s = one.sooner_s
    return played


def timeline(played: Sequence[Played]) -> Timeline:
    """The play as a forecast, with bands."""
    slots = tuple(_slot(one) for one in sorted(played, key=lambda one: one.begin_s))
    pauses = [slot.pause_ms for slot in slots if slot.pause_ms is not None]
    return Timeline(
        slots,
        _around(max((one.end_s for one in played), default=0.0)),
        max(pauses, key=lambda pause: pause.mid, default=None),
    )


def _slot(one: Played) -> Slot:
    rate = one.least_bytes_s if one.least_bytes_s < float("inf") else one.rate_bytes_s
    pause = course_at(one.move, rate).pause_ms if rate > 0 else None
    return Slot(one.move.id, one.begin_s, _around(one.end_s), pause, rate)


def _around(end_s: float) -> Band:
    return Band(_LOW_PART * end_s, end_s, _HIGH_PART * end_s)


def _less(left: float, by: float) -> float:
    rest = left - by
    return rest if rest > 1e-9 else 0.0
