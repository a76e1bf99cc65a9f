"""What an ended migration teaches the next forecast."""

from statistics import median

from backend.model import Migration, Mode, Outcome, Sample
from backend.plan.passes import PassSeen, of_memory, passes_seen
from backend.run.history import PastMove
from backend.run.migration import MigrationRun

PAGE_BYTES = 4096
TELLING_BYTES = 32 << 20
"""A shorter copy is mostly its beginning and end."""
TELLING_S = 0.4
"""A shorter pass is too few samples long to count what was written in it."""


def lesson(run: MigrationRun, in_use_bytes: int | None, now_s: float) -> PastMove | None:
    """None where it says nothing: nothing was sent, or nobody knows how it ended. Of one that an
    engine before this one began, what nobody watched is left out."""
    state, samples = run.state, tuple(of_memory(run.samples))
    verdict = state.verdict
    if verdict is None or not samples or verdict.outcome not in (Outcome.MOVED, Outcome.STAYED):
        return None
    passes = passes_seen(samples, state.pause_limit_ms or state.policy.pause_ms)
    forecast = state.forecast
    actions = {decision.action for decision in state.decisions}
    held = state.hold or not actions.isdisjoint(("hold", "switch"))
    limited = held or "bandwidth" in actions
    return PastMove(
        uuid=state.uuid,
        source=state.source,
        target=state.target,
        ended=now_s,
        moved=verdict.outcome is Outcome.MOVED,
        mode=state.mode,
        total_s=verdict.total_s,
        pause_ms=verdict.pause_ms,
        pause_limit_ms=None if state.post_copy or state.suspended else state.pause_limit_ms,
        passes=tuple(
            (round(one.took_s, 3), round(one.dirty_bytes_s * one.took_s))
            for one in passes
            if one.took_s
            and one.took_s >= TELLING_S
            and not any(_within(one, gap) for gap in state.gaps)
            and one.dirty_bytes_s is not None
            and one.throttle_percent == 0
            and not state.post_copy
            and not state.suspended
        )[:8],
        empty_bytes=None if state.post_copy else _empty_bytes(samples, in_use_bytes),
        link_bytes_s=None if limited else _rate(samples),
        forecast_s=forecast.total_s if forecast else None,
        forecast_pause_ms=forecast.pause_ms if forecast else None,
        changed_by_hand=run.by_hand or held,
    )


def _within(one: PassSeen, gap: tuple[float, float]) -> bool:
    """Some of the pass was not seen: neither its end nor what was sent in it is known."""
    return one.start_s < gap[1] and one.start_s + (one.took_s or 0.0) > gap[0]


def rate_here(state: Migration) -> float | None:
    """What a copy between pools of a host got through; None where it says nothing."""
    verdict = state.verdict
    if state.mode is not Mode.STORAGE or state.idle or verdict is None:
        return None
    limited = any(decision.action == "bandwidth" for decision in state.decisions)
    whole = verdict.outcome is Outcome.MOVED and verdict.sent_bytes >= TELLING_BYTES
    if not whole or limited or state.bandwidth_bytes_s is not None or verdict.total_s <= 0:
        return None
    return verdict.sent_bytes / verdict.total_s


def _empty_bytes(samples: tuple[Sample, ...], in_use_bytes: int | None) -> float | None:
    """Held by QEMU, but zeros: the zero pages of the first pass, less those nobody ever touched."""
    ended = next((one for one in samples if one.pass_number == 2), None)
    if ended is None or in_use_bytes is None or samples[0].pass_number != 1:
        return None
    untouched = max(0, ended.total_bytes - in_use_bytes)
    return float(max(0, ended.pages_dup * PAGE_BYTES - untouched))


def _rate(samples: tuple[Sample, ...]) -> float | None:
    """The link's, where enough was sent to tell: the middle of what was sent a second."""
    rates = [sample.rate_bytes_s for sample in samples if sample.rate_bytes_s > 0]
    return median(rates) if len(rates) >= 8 else None
