"""A migration that has ended as it stood at any moment of it: the one source of every replay.

Pure. A moment is told in seconds since the operator's confirm; what was known then comes from the
migration's turns, decisions and samples, none of it from later.
"""

from bisect import bisect_right
from dataclasses import dataclass, fields, replace

from backend.model import Band, Migration, Outlook, Phase, PhaseState, Sample, Turn
from tui.render.migration_lines import MigrationView
from tui.store import Track

_TURNING = tuple(field.name for field in fields(Turn) if field.name != "at")


@dataclass(frozen=True, slots=True)
class Recording:
    """One migration with its whole chart."""

    migration: Migration
    samples: tuple[Sample, ...] = ()

    @property
    def length_s(self) -> float:
        """From the confirm to the verdict, or to the last that is known of it."""
        m = self.migration
        if m.verdict is not None:
            return max(m.verdict.wall_s, 0.0)
        ends = [turn.at for turn in m.turns] + [decision.at for decision in m.decisions]
        ends += [_zero(m) + sample.t_s for sample in self.samples[-1:]]
        return max([end - m.started for end in ends] + [0.0])

    def moments(self) -> tuple[float, ...]:
        """When something turned, was decided or a pass began: where to step to."""
        m = self.migration
        times = {turn.at - m.started for turn in m.turns if turn.phases}
        times |= {decision.at - m.started for decision in m.decisions}
        return tuple(sorted(t for t in times if 0 < t < self.length_s))

    def view(self, t_s: float) -> MigrationView:
        """What its screen showed `t_s` after the confirm; from the verdict on, the report."""
        m = self.migration
        if t_s >= self.length_s:
            return _viewed(m, m.started + self.length_s, self.samples)
        now = m.started + t_s
        samples = self.samples[: bisect_right(self.samples, now - _zero(m), key=_of)]
        return _viewed(_as_of(m, samples, now), now, samples)


def _of(sample: Sample) -> float:
    return sample.t_s


def _zero(m: Migration) -> float:
    """Epoch seconds of the zero of every `t_s`."""
    return m.called_at if m.called_at is not None else m.started


def _viewed(m: Migration, now: float, samples: tuple[Sample, ...]) -> MigrationView:
    """With its progress, which is what the samples make of it one by one."""
    track = Track(m)
    track.history(samples)
    track.renew(m)
    return MigrationView(m, now, samples, track.progress, track.pass_progress)


def _as_of(m: Migration, samples: tuple[Sample, ...], now: float) -> Migration:
    turn = _turn_at(m, now)
    sample = samples[-1] if samples else None
    limit_ms = sample.pause_limit_ms if sample else None
    was = replace(
        m,
        **{name: getattr(turn, name) for name in _TURNING},
        called_at=_by(m.called_at, now),
        memory_at=_by(m.memory_at, now),
        sample=sample,
        decisions=tuple(one for one in m.decisions if one.at <= now),
        controls=(),
        verdict=None,
    )
    outlook = _aged(was.outlook, now - turn.at)
    return replace(was, outlook=outlook, pause_limit_ms=limit_ms or was.pause_limit_ms)


def _by(at: float | None, now: float) -> float | None:
    return at if at is not None and at <= now else None


def _turn_at(m: Migration, now: float) -> Turn:
    """The last one by then; where none was kept, what the times of the phases tell."""
    past = [turn for turn in m.turns if turn.at <= now]
    return past[-1] if past else _told_by_times(m, now)


def _told_by_times(m: Migration, now: float) -> Turn:
    skipped = m.phases.get(Phase.DISK) is PhaseState.SKIPPED
    phase = Phase.PREPARE
    if m.called_at is not None and m.called_at <= now:
        disks = not skipped and (m.memory_at is None or m.memory_at > now)
        phase = Phase.DISK if disks else Phase.MEMORY
    order = list(Phase)
    states = {
        one: PhaseState.DONE if order.index(one) < order.index(phase) else PhaseState.WAITING
        for one in order
    }
    states[phase] = PhaseState.ACTIVE
    if skipped and phase is not Phase.PREPARE:
        states[Phase.DISK] = PhaseState.SKIPPED
    return Turn(now, phase, states)


def _aged(outlook: Outlook | None, by_s: float) -> Outlook | None:
    """Some turns with nothing but new figures are not kept: what was left has become less."""
    if outlook is None or outlook.left_s is None:
        return outlook
    left = outlook.left_s
    low, mid, high = (max(one - by_s, 0.0) for one in (left.low, left.mid, left.high))
    return replace(outlook, left_s=Band(low, mid, high))
