"""A whole pre-copy, pass by pass, with QEMU's throttling: what `forecast` asks of each scenario.

The recurrence is that of `precopy`. Auto-converge as in QEMU 7.2: at the end of a pass, at most
once a second, QEMU compares what was dirtied since the last look with half of what was sent;
the second time it is more, the throttle starts (or rises by a step). A throttle of X % leaves
the vCPUs 1 - X of their time, of which waking up and dirty tracking take some (measured at 90 %: a
VM that used all of its CPU wrote 3.7-5.4 instead of 60 MB/s, one that used three quarters 4.8-6
instead of 45, at 87 % one that used a third 4.4-6 instead of 20): one that uses the part u of its
time writes w * min(1, USABLE * (1 - X) / u).
"""

from dataclasses import dataclass

from backend.model import Band
from backend.plan.passes import KEPT_PART
from backend.plan.precopy import MAX_PASSES, Writing

STARTUP_S = Band(0.6, 1.0, 1.6)
"""From the call to the first byte: connecting, checking, starting QEMU at the target."""
FINISH_S = Band(0.8, 1.4, 2.0)
"""From the VM's stop to the call's return."""
THROTTLE_MOST = 99
USABLE = 0.75
"""Of the time that a throttle leaves."""
_CHECK_EVERY_S = 1.0
_HIGH_PART = 0.5


@dataclass(frozen=True, slots=True)
class Scenario:
    """One possible world."""

    first_pass_bytes: float
    rate_bytes_s: float
    """Of the link, above 0."""
    writing: Writing
    cpu_part: float
    """Of its vCPUs' time that the VM uses, 0-1."""


@dataclass(frozen=True, slots=True)
class Copied:
    """How a pre-copy went in one scenario."""

    converges: bool
    seconds: float
    """From the first byte to the VM's stop."""
    sent_bytes: float
    passes: int
    left_bytes: float
    """Sent while it pauses; without convergence, left at the start of each pass."""
    throttle_percent: int | None


@dataclass(slots=True)
class _Throttle:
    """QEMU's counting of passes that dirty too much."""

    start: int | None
    step: int
    percent: int = 0
    high: int = 0
    dirtied: float = 0.0
    sent: float = 0.0
    seconds: float = 0.0

    def pass_ended(self, dirtied: float, sent: float, seconds: float) -> None:
        self.dirtied += dirtied
        self.sent += sent
        self.seconds += seconds
        if self.start is None or self.seconds <= _CHECK_EVERY_S:
            return
        if self.dirtied > _HIGH_PART * self.sent:
            self.high += 1
        if self.high >= 2:
            self.high = 0
            raised = self.percent + self.step if self.percent else self.start
            self.percent = min(THROTTLE_MOST, raised)
        self.dirtied = self.sent = self.seconds = 0.0


def throttled(writing: Writing, cpu_part: float, percent: int) -> Writing:
    """The writing of a VM whose vCPUs have only 100 - `percent` % of their time."""
    if percent <= 0:
        return writing
    part = min(1.0, USABLE * (1 - percent / 100) / max(cpu_part, 0.01))
    return Writing(writing.rate_bytes_s * part, writing.base_bytes, writing.cap_bytes)


def simulate(
    scenario: Scenario,
    pause_limit_ms: float,
    throttle_start: int | None = None,
    throttle_step: int = 10,
    most_s: float = float("inf"),
) -> Copied:
    """Follow the recurrence until what is left fits the pause; give up after `most_s`."""
    rate = scenario.rate_bytes_s
    share = rate * pause_limit_ms / 1000
    kept = KEPT_PART * share
    throttle = _Throttle(throttle_start, throttle_step)
    left, seconds, sent = scenario.first_pass_bytes, 0.0, 0.0
    for passes in range(1, MAX_PASSES + 1):
        pass_s = max(0.0, left - share) / rate
        seconds += pass_s
        sent += pass_s * rate
        writing = throttled(scenario.writing, scenario.cpu_part, throttle.percent)
        dirtied = writing.dirtied(pass_s)
        left = dirtied + (kept if pass_s > 0 else min(left, share))
        if dirtied + kept <= share or left <= share:
            return Copied(True, seconds, sent, passes, left, throttle.percent or None)
        throttle.pass_ended(dirtied, pass_s * rate, pass_s)
        if seconds > most_s:
            break
    return Copied(False, seconds, sent, passes, left, throttle.percent or None)
