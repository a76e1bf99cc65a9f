"""What a migration will do, before it starts: three scenarios through `simulate`, as bands.

Bytes, bytes/s, seconds; pauses in ms. The likely scenario gives the middle; the lucky and the
unlucky one the ends. What is not known, or would be needed, is said in `Forecast.needs`.
"""

from dataclasses import replace

from backend.model import Band, Forecast, Moment, Policy, Tuning
from backend.plan.outlook import outlook, pass_ended_note
from backend.plan.outset import Outset, Views
from backend.plan.pause import predicted_pause
from backend.plan.progress import progress_fraction
from backend.plan.simulate import FINISH_S, STARTUP_S, Copied, Scenario, simulate
from backend.plan.tuning import candidates_ms, most_pause_limit_ms
from backend.plan.wording import rate, seconds, two_digits

__all__ = ["can_be_held", "forecast_before", "outlook", "pass_ended_note", "progress_fraction"]

POST_COPY_PAUSE_MS = Band(40, 90, 180)
"""Device state and the list of pages that are out of date; no memory."""
POST_COPY_COST = 1.04
"""Pages fetched out of turn, over those sent in order."""
LOW_PART = 0.7
HIGH_PART = 0.4
"""Of the way to the scenario where all goes well, or ill."""
WORTH_PART = 0.15
WORTH_S = 1.0
"""A longer pause must save so much time (both) to be taken."""
HELD_BYTES_S = 3e6
"""A VM that writes less falls below what QEMU can be slowed to, 1 MiB/s, now and then."""


def forecast_before(
    outset: Outset,
    views: Views | None,
    policy: Policy,
    tuning: Tuning,
    deadline_s: float | None,
) -> Forecast:
    """Time, pause, passes and bytes with their bands; whether it converges, else what would."""
    if views is None:
        return Forecast(
            True,
            pause_ms=predicted_pause(tuning.pause_limit_ms, outset.pauses_ms),
            needs=f"the link's speed is not known{outset.link_why}",
        )
    if tuning.switch is not None:
        return _by_post_copy(views, tuning)
    scenarios = (views.lucky, views.likely, views.unlucky)
    limits = [best_limit_ms(scenario, policy, tuning) for scenario in scenarios]
    runs = [_run(*pair, tuning) for pair in zip(scenarios, limits, strict=True)]
    lucky, likely, unlucky = runs
    in_time = deadline_s is None or likely.seconds + STARTUP_S.mid <= deadline_s
    if not likely.converges or not in_time:
        if tuning.post_copy:
            return _by_post_copy(views, replace(tuning, switch=Moment.AFTER_PASS_1))
        if policy.suspend and deadline_s is not None:
            return _by_suspend(views, deadline_s, likely)
        return _does_not(views, policy, tuning, deadline_s, likely)
    if lucky.seconds > likely.seconds:
        lucky = likely
    most_s = unlucky.seconds if unlucky.converges else 2.0 * likely.seconds
    if deadline_s is not None:
        most_s = min(most_s, max(deadline_s, likely.seconds))
    total_s = Band(
        STARTUP_S.low + lucky.seconds + FINISH_S.low,
        STARTUP_S.mid + likely.seconds + FINISH_S.mid,
        STARTUP_S.high + max(most_s, likely.seconds) + FINISH_S.high,
    )
    return Forecast(
        converges=True,
        total_s=_narrowed(total_s),
        pause_ms=predicted_pause(limits[1], outset.pauses_ms),
        passes=likely.passes,
        sent_bytes=round(likely.sent_bytes + likely.left_bytes),
        throttle_percent=likely.throttle_percent,
        basis=views.basis,
    )


def _narrowed(band: Band) -> Band:
    """All that is unlucky at once is rarer than the band is meant to be wrong (one in five)."""
    return Band(
        band.mid - LOW_PART * (band.mid - band.low),
        band.mid,
        band.mid + HIGH_PART * (band.high - band.mid),
    )


def best_limit_ms(scenario: Scenario, policy: Policy, tuning: Tuning) -> int:
    """The pause limit steering will end with: the lowest from which no higher one saves enough."""
    limits = candidates_ms(policy)
    runs = [_run(scenario, limit, tuning) for limit in limits]
    for limit, run in zip(limits, runs, strict=True):
        if run.converges and all(not _worth(run, other) for other in runs):
            return limit
    return most_pause_limit_ms(policy)


def can_be_held(views: Views | None) -> bool:
    """QEMU switches over as soon as nothing is left: only a VM that writes enough can be held."""
    return views is not None and views.lucky.writing.rate_bytes_s >= HELD_BYTES_S


def _worth(now: Copied, other: Copied) -> bool:
    saved = now.seconds - other.seconds
    return other.converges and saved > max(WORTH_S, WORTH_PART * now.seconds)


def _run(scenario: Scenario, limit_ms: int, tuning: Tuning) -> Copied:
    return simulate(scenario, limit_ms, tuning.throttle_start_percent, tuning.throttle_step_percent)


def _by_post_copy(views: Views, tuning: Tuning) -> Forecast:
    def fetch_s(scenario: Scenario) -> tuple[float, float]:
        first = scenario.first_pass_bytes
        again = 0.0
        if tuning.switch is Moment.AFTER_PASS_1:
            again = scenario.writing.dirtied(first / scenario.rate_bytes_s)
        sent = first + again * POST_COPY_COST
        return sent / scenario.rate_bytes_s, sent

    (low, _), (mid, sent), (high, _) = map(fetch_s, (views.lucky, views.likely, views.unlucky))
    return Forecast(
        converges=True,
        total_s=Band(
            STARTUP_S.low + low + FINISH_S.low,
            STARTUP_S.mid + mid + FINISH_S.mid,
            STARTUP_S.high + max(high, mid) * POST_COPY_COST + FINISH_S.high,
        ),
        pause_ms=POST_COPY_PAUSE_MS,
        passes=1 if tuning.switch is Moment.AT_ONCE else 2,
        sent_bytes=round(sent),
        post_copy=True,
        basis=views.basis,
    )


def _by_suspend(views: Views, deadline_s: float, run: Copied) -> Forecast:
    """Suspended so that the rest is sent by the deadline, but not before the first pass ended."""

    def pause_s(scenario: Scenario) -> tuple[float, float]:
        first_s = scenario.first_pass_bytes / scenario.rate_bytes_s
        left_s = scenario.writing.dirtied(first_s) / scenario.rate_bytes_s
        return left_s, first_s

    low, mid, high = map(pause_s, (views.lucky, views.likely, views.unlucky))
    total_s = max(deadline_s, STARTUP_S.mid + sum(mid) + FINISH_S.mid)
    return Forecast(
        converges=True,
        total_s=Band(
            min(0.8 * total_s, STARTUP_S.low + sum(low)),
            total_s,
            max(1.1 * total_s, STARTUP_S.high + sum(high) + FINISH_S.high),
        ),
        pause_ms=Band(300.0 * mid[0], 1000 * mid[0], max(1100 * high[0], 1000 * mid[0])),
        needs="",
        throttle_percent=run.throttle_percent,
        basis=f"{views.basis}; the VM is suspended to finish in time",
    )


def _does_not(
    views: Views, policy: Policy, tuning: Tuning, deadline_s: float | None, run: Copied
) -> Forecast:
    scenario = views.likely
    writes, sends = scenario.writing.rate_bytes_s, scenario.rate_bytes_s
    if run.converges and deadline_s is not None:
        why = f"needs {seconds(run.seconds)}, {seconds(deadline_s)} are allowed"
    else:
        why = f"writes {rate(writes)}, sends {rate(sends)}"
    return Forecast(
        converges=False,
        passes=None,
        needs=f"{why}; would help: {', '.join(_ways_out(scenario, policy, tuning, deadline_s))}",
        basis=views.basis,
    )


def _ways_out(
    scenario: Scenario, policy: Policy, tuning: Tuning, deadline_s: float | None
) -> list[str]:
    """What would make it converge, the gentlest first."""
    most_s = float("inf") if deadline_s is None else deadline_s
    limit = most_pause_limit_ms(policy)
    ways = []

    def enough(run: Copied) -> bool:
        return run.converges and run.seconds <= most_s

    for percent in range(50, 91, 5):
        if percent > (tuning.throttle_start_percent or 0) and enough(
            simulate(scenario, limit, percent, 1)
        ):
            ways.append(f"a throttle of {percent} %")
            break
    for times in (1.25, 1.5, 2.0, 3.0, 5.0, 10.0):
        faster = replace(scenario, rate_bytes_s=times * scenario.rate_bytes_s)
        if enough(_run(faster, limit, tuning)):
            ways.append(f"a link of {rate(faster.rate_bytes_s)}")
            break
    if not policy.post_copy:
        ways.append("post-copy (policy must-finish)")
    pause_ms = two_digits(1.1 * scenario.writing.cap_bytes / scenario.rate_bytes_s * 1000 + 1)
    ways.append(f"a pause of {pause_ms:,} ms")
    return ways
