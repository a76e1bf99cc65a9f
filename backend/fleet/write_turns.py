"""Pure: which VM is measured next, over which period, and what has been measured.

Times called `now_s` are of a clock that never jumps; `at` is epoch seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.fleet.readings import PERIODS_S, reading, recent, steady
from backend.model import Reading

AT_ONCE = 4
"""Measured together on one host."""
REST_S = 45.0
"""Between two cycles of a VM that writes steadily,"""
SHORT_REST_S = 10.0
"""or of one that does not."""
AGAIN_S = 15.0
"""After a refusal that may pass."""
TOGETHER_S = 0.25
"""What is due so soon is taken along: fewer calls."""


@dataclass(frozen=True, slots=True)
class Measurable:
    """A VM that may be measured now."""

    memory_bytes: int
    only_asked: bool = False
    """Sampling allocates the pages of shared memory that it looks at: not in the background."""


@dataclass(slots=True)
class _Turn:
    vm: Measurable
    next_s: float
    step: int = 0
    running: tuple[int, float] | None = None
    """Period, and when it ends."""
    asked_s: int = 0
    """A period somebody waits for; 0: nobody."""
    spoiled: bool = False
    """A job ran meanwhile: what is being measured now is of no use."""
    never: bool = False
    readings: list[Reading] = field(default_factory=list)


class Turns:
    """All VMs of one host."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        self._able: Mapping[str, Measurable] = {}

    def see(self, able: Mapping[str, Measurable], known: frozenset[str], now_s: float) -> None:
        """Who may be measured now, and who is on the host at all; the others are forgotten."""
        self._turns = {uuid: turn for uuid, turn in self._turns.items() if uuid in known}
        for uuid, turn in self._turns.items():
            turn.spoiled |= uuid not in able
            if uuid not in able and not turn.running:
                turn.step, turn.next_s = 0, now_s
        for uuid, vm in able.items():
            self._turns.setdefault(uuid, _Turn(vm, now_s)).vm = vm
        self._able = able

    def able(self, uuid: str) -> bool:
        """It may be measured now, as far as is known."""
        turn = self._turns.get(uuid)
        return turn is not None and uuid in self._able and not turn.never

    def ask(self, uuid: str, period_s: int) -> None:
        """Somebody waits for a reading of at least this period."""
        if uuid in self._turns:
            self._turns[uuid].asked_s = max(self._turns[uuid].asked_s, period_s)

    def due(self, now_s: float) -> dict[str, int]:
        """What to start now: UUID -> seconds. Who was asked for comes first."""
        free = AT_ONCE - sum(turn.running is not None for turn in self._turns.values())
        waiting = sorted(
            (not turn.asked_s, turn.next_s, uuid)
            for uuid, turn in self._turns.items()
            if self.able(uuid) and turn.running is None and _is_due(turn, now_s)
        )
        return {uuid: _period(self._turns[uuid]) for _, _, uuid in waiting[: max(0, free)]}

    def begun(self, uuid: str, now_s: float) -> None:
        """It was started."""
        turn = self._turns[uuid]
        period_s = _period(turn)
        turn.running, turn.spoiled = (period_s, now_s + period_s), False

    def refused(self, uuid: str, now_s: float, never: bool = False) -> None:
        """It could not be started, or not be read."""
        turn = self._turns.get(uuid)
        if turn is not None:
            turn.running, turn.asked_s, turn.never = None, 0, never
            turn.next_s, turn.step = now_s + AGAIN_S, 0

    def ended(self, now_s: float) -> dict[str, int]:
        """What can be read now: UUID -> seconds it was started for."""
        return {
            uuid: turn.running[0]
            for uuid, turn in self._turns.items()
            if turn.running is not None and turn.running[1] <= now_s
        }

    def running(self) -> tuple[str, ...]:
        """Those that are being measured."""
        return tuple(uuid for uuid, turn in self._turns.items() if turn.running is not None)

    def wait(self, uuid: str, more_s: float) -> None:
        """It is still being measured: look again a little later."""
        turn = self._turns[uuid]
        if turn.running is not None:
            turn.running = (turn.running[0], turn.running[1] + more_s)

    def measured(self, uuid: str, rate_bytes_s: int, at: float, now_s: float) -> bool:
        """Take its figure; False if it was spoiled."""
        turn = self._turns[uuid]
        assert turn.running is not None
        period_s, turn.running = turn.running[0], None
        if turn.spoiled:
            turn.step, turn.next_s = 0, now_s
            return False
        new = reading(at, period_s, rate_bytes_s, turn.vm.memory_bytes)
        turn.readings = [*recent(turn.readings, at), new]
        if period_s >= turn.asked_s:
            turn.asked_s = 0
        self._next(turn, period_s, now_s)
        return True

    def _next(self, turn: _Turn, period_s: int, now_s: float) -> None:
        if period_s != PERIODS_S[turn.step]:  # asked for out of turn
            turn.next_s = max(turn.next_s, now_s)
            return
        turn.step = (turn.step + 1) % len(PERIODS_S)
        rest_s = REST_S if steady(turn.readings) else SHORT_REST_S
        turn.next_s = now_s + (rest_s if turn.step == 0 else 0.0)

    def readings(self, uuid: str, now: float) -> tuple[Reading, ...]:
        """Of the last 90 s, oldest first. `now` in epoch seconds."""
        turn = self._turns.get(uuid)
        return recent(turn.readings, now) if turn is not None else ()

    def next_s(self) -> float | None:
        """When there is something to start or to read; None: not as things are."""
        running = [turn.running[1] for turn in self._turns.values() if turn.running is not None]
        due = [
            0.0 if turn.asked_s else turn.next_s
            for uuid, turn in self._turns.items()
            if turn.running is None and self.able(uuid) and (turn.asked_s or not turn.vm.only_asked)
        ]
        times = running + (due if len(running) < AT_ONCE else [])
        return min(times) if times else None


def _is_due(turn: _Turn, now_s: float) -> bool:
    if turn.asked_s:
        return True
    return not turn.vm.only_asked and turn.next_s <= now_s + TOGETHER_S


def _period(turn: _Turn) -> int:
    """What was asked for, as one of the cycle's periods; else the next of the cycle."""
    if not turn.asked_s:
        return PERIODS_S[turn.step]
    return next((p for p in PERIODS_S if p >= turn.asked_s), PERIODS_S[-1])
