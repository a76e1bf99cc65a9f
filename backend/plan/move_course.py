"""What one queued move takes at a given rate of its link, by its plan's own forecast. Pure."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log

from backend.model import Band, Policy, Tuning
from backend.plan.disk_time import HASHED_BYTES_S, SETUP_S
from backend.plan.forecast import forecast_before
from backend.plan.outset import Outset, Views
from backend.plan.queue_types import QueuedMove
from backend.plan.simulate import FINISH_S, STARTUP_S, Scenario
from backend.plan.tuning import WRITE_TARGET

UNDISTURBED_PART = 0.93
"""Of what it gets alone: less is not told from the noise of a measured link."""
NOTICED_PART = 1.1
NOTICED_MS = 15.0
"""A pause forecast longer than alone by more than both together is noticeably longer."""
MORE_BYTES_PART = 1.1
STANDING_BYTES = 1.5e6
"""Sent while the VM stands still, whatever is left of its memory: the state of its devices. An idle
VM's pause was 79, 133, 274 ms at 25, 12.5, 6.25 MB/s (QEMU 7.2), each alone on its link."""
LIVE_START_S = 0.5
"""Of a running VM whose plan is ready: from its confirm to its first byte, at the least."""
CALL_S = 0.3
"""Of that, after it was made ready: the hosts' own beginning, until the first byte."""
IDLE_START_S = 2.0
"""Of a VM that is shut off: what is asked and made at both ends before its disk's first byte."""
IDLE_END_S = 3.0
"""Of the same: beside the reading, until it is defined at one end and gone from the other. Of 29 s
that one of 310 MB took at 24 MB/s on busy hosts, 6 were before it and 9 after."""
IMAGE_END_S = 2.0
"""Of a running VM with disks: what becomes of its old images."""
LEAST_S = 0.05
"""Of copying, however little there is."""
_STEP = log(1.02)


@dataclass(frozen=True, slots=True)
class MoveCourse:
    """One move at one rate."""

    copying_s: float
    """From its first byte to its last, or to its VM's pause; above 0."""
    sent_bytes: float
    pause_ms: Band | None
    start_s: float = LIVE_START_S
    """Before the first byte, if it is planned; the link is free."""
    finish_s: float = FINISH_S.mid
    """After the last byte, or the pause, to the verdict; the link is free again."""
    converges: bool = True
    throttled: bool = False
    standing_ms: float = 0.0
    """Of its pause, what its devices' state takes at this rate. A plan's pauses were seen at the
    rate of one move alone: they have it in them, and do not grow with a smaller share."""


def course_at(move: QueuedMove, rate_bytes_s: float) -> MoveCourse:
    """The likely course if the link gives it so much all the way."""
    disks_s = SETUP_S.mid + move.disk_bytes / rate_bytes_s if move.disk_bytes else 0.0
    if move.memory is None or move.policy is None or move.tuning is None:
        return _without_memory(move, rate_bytes_s)
    memory = _memory(
        replace(move.memory, rate_bytes_s=_even(rate_bytes_s)),
        move.policy,
        move.tuning,
        move.deadline_s,
        move.pauses_ms,
    )
    finish_s = memory.finish_s + (IMAGE_END_S if move.disk_bytes else 0.0)
    return replace(
        memory,
        copying_s=memory.copying_s + disks_s,
        sent_bytes=memory.sent_bytes + move.disk_bytes,
        standing_ms=1000 * STANDING_BYTES / rate_bytes_s,
        finish_s=finish_s,
    )


def is_heavy(move: QueuedMove, alone_bytes_s: float) -> bool:
    """Half of the link would lengthen its pause, or cost bytes: it is to have its link alone."""
    if (move.memory is not None or move.runs) and move.disk_bytes:
        return True  # a mirror is drained in the pause: beside two others it was 467 ms, alone 131
    return writes_much(move, alone_bytes_s)


def writes_much(move: QueuedMove, alone_bytes_s: float) -> bool:
    """Heavy by what its VM writes: its end is not known to the second."""
    memory = move.memory
    if memory is None:
        return False
    if move.tuning is not None and move.tuning.switch is not None:
        return True
    if memory.writing.rate_bytes_s > WRITE_TARGET * alone_bytes_s:
        return True
    alone, half = course_at(move, alone_bytes_s), course_at(move, alone_bytes_s / 2)
    if alone.throttled or costs_bytes(alone, half):
        return True
    # What stands still whatever is written makes a VM's pause longer, not what it writes heavier.
    return not bearable(move, replace(alone, standing_ms=0.0), replace(half, standing_ms=0.0))


def costs_bytes(alone: MoveCourse, shared: MoveCourse) -> bool:
    """What it writes meanwhile is sent once more, and that is noticeable."""
    return shared.sent_bytes > MORE_BYTES_PART * alone.sent_bytes


def bearable(move: QueuedMove, alone: MoveCourse, shared: MoveCourse) -> bool:
    """Its pause stays within its policy, and about what it would be alone, all of it counted."""
    if alone.pause_ms is None:
        return True
    if not shared.converges or shared.pause_ms is None:
        return False
    allowed = move.policy.pause_ms if move.policy else 0.0
    longer_ms = shared.standing_ms - alone.standing_ms
    pause_ms = shared.pause_ms.mid + longer_ms
    within = pause_ms <= max(float(allowed), alone.pause_ms.mid)
    return within and pause_ms <= NOTICED_PART * alone.pause_ms.mid + NOTICED_MS


def _without_memory(move: QueuedMove, rate_bytes_s: float) -> MoveCourse:
    """Disks are sent and then read at both ends; of an unknown move only its plan's time is known,
    and nothing of its pause."""
    if move.disk_bytes:
        finish_s = IDLE_END_S + move.disk_bytes / HASHED_BYTES_S
        copying_s = max(LEAST_S, move.disk_bytes / rate_bytes_s)
        return MoveCourse(copying_s, move.disk_bytes, None, IDLE_START_S, finish_s)
    known_s = move.alone_s.mid - STARTUP_S.mid - FINISH_S.mid if move.alone_s else 0.0
    return MoveCourse(max(LEAST_S, known_s), 0.0, None)


@lru_cache(maxsize=4096)
def _memory(
    scenario: Scenario,
    policy: Policy,
    tuning: Tuning,
    deadline_s: float | None,
    pauses_ms: tuple[float, ...],
) -> MoveCourse:
    outset = Outset(0, pauses_ms=pauses_ms)
    seen = Views(scenario, scenario, scenario, "")
    found = forecast_before(outset, seen, policy, tuning, deadline_s)
    if not found.converges or found.total_s is None:
        first_s = scenario.first_pass_bytes / scenario.rate_bytes_s
        lost_s = max(LEAST_S, 4 * first_s if deadline_s is None else deadline_s)
        return MoveCourse(lost_s, lost_s * scenario.rate_bytes_s, None, converges=False)
    copying_s = found.total_s.mid - STARTUP_S.mid - FINISH_S.mid
    throttled = found.throttle_percent is not None
    sent = float(found.sent_bytes or 0)
    return MoveCourse(max(LEAST_S, copying_s), sent, found.pause_ms, throttled=throttled)


def _even(rate_bytes_s: float) -> float:
    """To steps of 2 %, so that few rates are looked at."""
    return exp(round(log(max(rate_bytes_s, 1.0)) / _STEP) * _STEP)
