"""When a rule's window is open, and what may still be started in it. Pure; local times."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.plan.rules import Rule


@dataclass(frozen=True, slots=True)
class Window:
    """One occurrence, without time zone: as the clock on the wall shows it."""

    begins: datetime
    ends: datetime

    @property
    def span_s(self) -> tuple[float, float]:
        """Begin and end in epoch seconds, by the machine's time zone: a clock that is put forward
        in between takes an hour away."""
        return self.begins.timestamp(), self.ends.timestamp()

    def left_s(self, now: datetime) -> float:
        """To its hard end."""
        return max(0.0, self.span_s[1] - now.timestamp())


def window_now(rule: Rule, now: datetime) -> Window | None:
    """The one that is open; one that began yesterday may be."""
    for back in (0, 1):
        window = _on(rule, now - timedelta(days=back))
        if window is not None and window.begins <= now < window.ends:
            return window
    return None


def next_window(rule: Rule, now: datetime) -> Window | None:
    """The first that begins after `now`; None: it has no days."""
    for ahead in range(8):
        window = _on(rule, now + timedelta(days=ahead))
        if window is not None and window.begins > now:
            return window
    return None


def _on(rule: Rule, day: datetime) -> Window | None:
    if day.weekday() not in rule.days:
        return None
    midnight = day.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = midnight + timedelta(minutes=rule.at_min)
    ends = midnight + timedelta(minutes=rule.until_min)
    return Window(begins, ends if ends > begins else ends + timedelta(days=1))
