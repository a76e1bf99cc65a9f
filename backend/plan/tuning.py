"""What is set before the start: throttle, post-copy and its moment, the first pause limit. Pure.

Chosen for the worst case in the band, because changing it later means abort and restart.
"""

from backend.model import Moment, Policy, Tuning
from backend.plan.outset import Outset, Views
from backend.plan.simulate import USABLE, Copied, Scenario, simulate

FIRST_PAUSE_LIMIT_MS = 50
"""Below this a pause gets no shorter (about 80 ms on the lab), and passes only get more."""
OVERHEAD_MS = 120
"""What a pause takes above its limit at worst, but for accidents: measured 20 to 170 ms."""
WRITE_TARGET = 0.25
"""A VM that writes this part of the link's rate leaves a quarter of it with each pass."""
PRECAUTION_PERCENT = 85
"""For a VM that needs no throttle now, should it become busy on the way."""
LEAST_PERCENT = 50
POST_COPY_GAIN = 1.5
POST_COPY_GAIN_S = 1.0
"""Post-copy is begun when copying ahead takes so much longer (both must hold together)."""
SMALL_SET = 0.25
"""Of the memory in use: if that is all a pass leaves, post-copy waits for the end of the first."""


def first_pause_limit_ms(policy: Policy) -> int:
    """Low, whatever the budget is: steering raises it when that pays."""
    return max(1, min(FIRST_PAUSE_LIMIT_MS, policy.pause_ms // 2))


def most_pause_limit_ms(policy: Policy) -> int:
    """QEMU's limit that keeps the pause itself within the budget."""
    return max(first_pause_limit_ms(policy), policy.pause_ms - OVERHEAD_MS)


def candidates_ms(policy: Policy) -> tuple[int, ...]:
    """The limits worth considering, the lowest first."""
    low, most = first_pause_limit_ms(policy), most_pause_limit_ms(policy)
    limits, limit = [], float(low)
    while limit < most:
        limits.append(round(limit))
        limit *= 1.4
    return (*limits, most)


def choose(outset: Outset, policy: Policy, views: Views | None, hold: bool = False) -> Tuning:
    """The settings for the start. `views` None: the link is not known, so the safe ones.

    A hold slows the sending below what the VM writes, which would drive a throttle up to its end:
    a VM that is to be held has none.
    """
    throttle = None
    if policy.throttle_percent > 0 and not outset.paused and not hold:
        throttle = _throttle(policy, views)
    post_copy = policy.post_copy and not outset.paused and policy.streams == 1
    return Tuning(
        pause_limit_ms=first_pause_limit_ms(policy),
        throttle_start_percent=throttle,
        throttle_step_percent=_step(throttle, policy),
        post_copy=post_copy,
        switch=_moment(policy, views) if post_copy and views is not None else None,
        compression=policy.compression and policy.streams == 1,
        streams=policy.streams,
    )


def _throttle(policy: Policy, views: Views | None) -> int:
    """The start that lets the unlucky scenario converge: later steps cost two passes each."""
    most = policy.throttle_percent
    if views is None:
        return min(most, PRECAUTION_PERCENT)
    writes, sends = views.unlucky.writing.rate_bytes_s, views.unlucky.rate_bytes_s
    if writes <= WRITE_TARGET * sends:
        return min(most, PRECAUTION_PERCENT)
    needed = needed_throttle(writes, sends, views.likely.cpu_part)
    return max(min(LEAST_PERCENT, most), min(most, needed))


def needed_throttle(writes_bytes_s: float, sends_bytes_s: float, cpu_part: float) -> int:
    """The throttle that brings a VM's writing down to `WRITE_TARGET` of the link, 0 to 100 %."""
    if writes_bytes_s <= 0:
        return 0
    target = WRITE_TARGET * sends_bytes_s
    return round(max(0.0, 100 * (1 - cpu_part * target / (USABLE * writes_bytes_s))))


def _step(start: int | None, policy: Policy) -> int:
    """Three steps reach the most that is allowed; QEMU knows no end but 99 %."""
    return 10 if start is None else max(1, (policy.throttle_percent - start) // 3)


def _moment(policy: Policy, views: Views) -> Moment | None:
    """At once, unless copying ahead is about as fast, or one pass leaves little to fetch."""
    ahead = simulate(views.likely, first_pause_limit_ms(policy))
    worst = simulate(views.unlucky, first_pause_limit_ms(policy))
    if not _pays(ahead, views.likely) and worst.converges:
        return None
    first_s = views.unlucky.first_pass_bytes / views.unlucky.rate_bytes_s
    left = views.unlucky.writing.dirtied(first_s)
    small = left <= SMALL_SET * views.unlucky.first_pass_bytes
    return Moment.AFTER_PASS_1 if small else Moment.AT_ONCE


def _pays(ahead: Copied, scenario: Scenario) -> bool:
    at_once_s = scenario.first_pass_bytes / scenario.rate_bytes_s
    return not ahead.converges or ahead.seconds > POST_COPY_GAIN * at_once_s + POST_COPY_GAIN_S
