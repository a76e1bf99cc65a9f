"""Links and migrations played in small steps, to try an order of moves against: no part of it
is what the order is computed with.

Each step of 20 ms the flows share the wires, passes go on, and at their ends QEMU's rule decides:
what the VM wrote meanwhile fits into the pause limit, or goes again.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from backend.plan.forecast import best_limit_ms
from backend.plan.precopy import course
from backend.plan.queue import (
    Going,
    LinkMap,
    QueuedMove,
    QueueState,
    Stage,
    next_to_start,
)
from backend.plan.queue_types import Start
from backend.plan.shares import completed, fair_shares
from backend.plan.simulate import throttled

STEP_S = 0.02
EXTRA_MS = 60.0
BYTELESS_S = 0.3
"""From when its link is free to a move's first byte, at the least."""
GIVEN_UP_S = 3600.0


class Doing(Enum):
    STARTING = 0
    DISKS = 1
    MEMORY = 2
    PAUSED = 3
    FINISHING = 4
    ENDED = 5


@dataclass
class Moving:
    """One migration as it goes."""

    move: QueuedMove
    begun_s: float
    start_left_s: float
    finish_left_s: float
    doing: Doing = Doing.STARTING
    left_bytes: float = 0.0
    pass_s: float = 0.0
    passes: int = 0
    rate_bytes_s: float = 0.0
    sent_bytes: float = 0.0
    pause_s: float = 0.0
    ended_s: float = 0.0
    after: tuple["Moving", ...] = ()

    @property
    def waits_for(self) -> tuple["Moving", ...]:
        """Made ready, it sends when these have left its link."""
        over = (Doing.FINISHING, Doing.ENDED)
        return tuple(one for one in self.after if one.doing not in over)

    @property
    def sends(self) -> bool:
        return self.doing in (Doing.DISKS, Doing.MEMORY, Doing.PAUSED)

    def step(self, now_s: float) -> None:
        if self.doing is Doing.STARTING:
            least_s = BYTELESS_S if self.waits_for else 0.0
            self.start_left_s = max(min(self.start_left_s, least_s), self.start_left_s - STEP_S)
            if self.start_left_s <= 0:
                self._begin()
        elif self.doing is Doing.FINISHING:
            self.finish_left_s -= STEP_S
            if self.finish_left_s <= 0:
                self.doing, self.ended_s = Doing.ENDED, now_s
        else:
            sent = min(self.left_bytes, self.rate_bytes_s * STEP_S)
            self.left_bytes -= sent
            self.sent_bytes += sent
            self._sending()

    def _begin(self) -> None:
        if self.move.disk_bytes:
            self.doing, self.left_bytes = Doing.DISKS, float(self.move.disk_bytes)
        elif self.move.memory:
            self.doing, self.left_bytes = Doing.MEMORY, self.move.memory.first_pass_bytes
        else:
            self.doing = Doing.FINISHING

    def _sending(self) -> None:
        if self.doing is Doing.DISKS:
            if self.left_bytes <= 0 and self.move.memory:
                self.doing, self.left_bytes = Doing.MEMORY, self.move.memory.first_pass_bytes
            elif self.left_bytes <= 0:
                self.doing = Doing.FINISHING
        elif self.doing is Doing.MEMORY:
            self._memory()
        else:
            self.pause_s += STEP_S
            if self.left_bytes <= 0:
                self.doing = Doing.FINISHING

    def limit_ms(self) -> int:
        memory, policy, tuning = self.move.memory, self.move.policy, self.move.tuning
        assert memory is not None
        assert policy is not None
        assert tuning is not None
        return _limit_ms(replace(memory, rate_bytes_s=_even(self.rate_bytes_s)), policy, tuning)

    def _memory(self) -> None:
        self.pass_s += STEP_S
        share = self.rate_bytes_s * self.limit_ms() / 1000
        if self.left_bytes > share:
            return
        memory, tuning = self.move.memory, self.move.tuning
        assert memory is not None
        assert tuning is not None
        self.passes += 1
        percent = tuning.throttle_start_percent if self.passes > 2 else None
        writing = throttled(memory.writing, memory.cpu_part, percent or 0)
        self.left_bytes += writing.dirtied(self.pass_s)
        self.pass_s = 0.0
        if self.left_bytes <= share:
            self.doing = Doing.PAUSED


_limit_ms = lru_cache(maxsize=None)(best_limit_ms)
"""What steering ends with."""


def _even(rate: float) -> float:
    return max(1e6, round(rate / 5e5) * 5e5)


@dataclass
class World:
    """What has happened."""

    links: LinkMap
    dice: random.Random
    now_s: float = 0.0
    moving: list[Moving] = field(default_factory=list)
    ended: list[Moving] = field(default_factory=list)

    def start(self, move: QueuedMove, after: Sequence[str] = ()) -> None:
        begins, finishes = self.dice.uniform(0.4, 0.8), self.dice.uniform(0.9, 1.9)
        if move.memory is None:
            begins, finishes = begins + 1.5, finishes + 1.6 + move.disk_bytes / 400e6
        before = tuple(one for one in self.moving if one.move.id in after)
        self.moving.append(Moving(move, self.now_s, begins, finishes, after=before))

    def step(self) -> None:
        sending = [one for one in self.moving if one.sends]
        moves = [one.move for one in sending]
        for one, rate in zip(sending, fair_shares(moves, self.links), strict=True):
            one.rate_bytes_s = rate
        self.now_s += STEP_S
        for one in self.moving:
            one.step(self.now_s)
        self.ended += [one for one in self.moving if one.doing is Doing.ENDED]
        self.moving = [one for one in self.moving if one.doing is not Doing.ENDED]


Chooser = Callable[[World, Sequence[QueuedMove]], Sequence[Start]]


def capped(most: int) -> Chooser:
    """A fixed number at once, in the order given."""

    def choose(world: World, waiting: Sequence[QueuedMove]) -> Sequence[Start]:
        return [Start(one.id, "") for one in waiting[: max(0, most - len(world.moving))]]

    return choose


def computed(world: World, waiting: Sequence[QueuedMove]) -> Sequence[Start]:
    """What the queue says."""
    going = tuple(_going(one, world.now_s) for one in world.moving)
    state = QueueState(tuple(waiting), going, world.links)
    return next_to_start(state)


def _going(one: Moving, now_s: float) -> Going:
    stage = Stage.FINISHING if one.doing is Doing.FINISHING else Stage.COPYING
    left_s = None
    if one.doing is Doing.MEMORY and one.move.memory and one.passes:
        writing = one.move.memory.writing
        left_s = course(one.left_bytes, one.rate_bytes_s, writing, one.limit_ms()).seconds
    after = tuple(other.move.id for other in one.waits_for)
    return Going(one.move, now_s - one.begun_s, stage, left_s, one.rate_bytes_s or None, after)


@dataclass(frozen=True)
class Played:
    total_s: float
    worst_pause_ms: float
    pauses_ms: dict[str, float]
    sent_bytes: float
    most_at_once: int


def play(moves: Sequence[QueuedMove], links: LinkMap, choose: Chooser, seed: int = 1) -> Played:
    """All moves, from the first start to the last end."""
    world = World(completed(links, moves), random.Random(seed))
    waiting = list(moves)
    most, asked_s, changes = 0, -1.0, -1
    while waiting or world.moving:
        states = sum(hash((one.move.id, one.doing.value)) for one in world.moving)
        if states != changes or world.now_s - asked_s >= 1.0:
            changes, asked_s = states, world.now_s
            for chosen in choose(world, waiting):
                move = next(one for one in waiting if one.id == chosen.id)
                waiting.remove(move)
                world.start(move, chosen.after)
            most = max(most, len(world.moving))
        world.step()
        assert world.now_s < GIVEN_UP_S, [one.move.id for one in world.moving]
    pauses = {one.move.id: 1000 * one.pause_s + EXTRA_MS for one in world.ended if one.move.memory}
    return Played(
        world.now_s,
        max(pauses.values(), default=0.0),
        pauses,
        sum(one.sent_bytes for one in world.ended),
        most,
    )


def least_s(moves: Sequence[QueuedMove], links: LinkMap) -> float:
    """What the wires need for what must be sent once."""
    sent: dict[tuple[str, str], float] = {}
    for one in moves:
        first = one.memory.first_pass_bytes if one.memory else 0.0
        pair = (one.source, one.target)
        sent[pair] = sent.get(pair, 0.0) + first + one.disk_bytes
    spans = [count / links.pairs[pair] for pair, count in sent.items()]
    for end, rates in ((0, links.uplinks), (1, links.downlinks)):
        for host, rate in rates.items():
            spans.append(sum(count for pair, count in sent.items() if pair[end] == host) / rate)
    for wire in links.bottlenecks:
        spans.append(sum(count for p, count in sent.items() if p in wire.pairs) / wire.rate_bytes_s)
    return max(spans)
