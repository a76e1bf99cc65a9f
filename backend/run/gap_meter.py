"""The longest silence between two answers, and what was lost. Pure: fed with what a probe saw.

The silence between two answers is the time between them minus one interval: the figure of a VM
that answers everything at once is 0. It is measured by the clock of the host that probes; where
that clock was set meanwhile, the probes' numbers and our own clock tell.
"""

JUMP_S = 1.0
"""A clock that differs by more from what numbers and arrival say was set; less goes unnoticed."""
_BREAK_S = 0.2
"""A run of answers ends with a silence longer than this (or five intervals)."""

_MAX_MISSING = 1_000_000
"""Hours of silence; a host that makes numbers up costs no more memory than that."""


class GapMeter:
    """One probe's answers. Numbers are modulo 65536, times in seconds.

    `arrived_s` is our own monotonic clock when a line arrived; lines of one probe are fed in the
    order in which they were printed.
    """

    def __init__(self, interval_ms: int) -> None:
        self.interval_s = interval_ms / 1000
        self.first_answer_s: float | None = None
        """By our clock, when the first answer arrived."""
        self.last_line_s: float | None = None
        """By our clock, when the last line arrived."""
        self.answered_after_s: float | None = None
        """From `mark_end` to the first answer after it."""
        self._highest: int | None = None
        self._missing: set[int] = set()
        self._window_from: int | None = None
        self._longest_s = 0.0
        self._last: tuple[float, float, int] | None = None
        """The last answer: its time, its arrival, and the highest number sent by then."""
        self._offset_s: float | None = None
        """Our clock minus the host's, at the fastest line."""
        self._run_from_s = self._run_to_s = 0.0
        """The current run of answers, by our clock."""
        self._end_s: float | None = None

    def feed(self, at_s: float, number: int, answered: bool, arrived_s: float) -> None:
        """One line: an answer, or that there was none yet when the next probe was sent."""
        self.last_line_s = arrived_s
        full = self._unwrap(number)
        new = self._send(full)
        span_s = self._span(at_s, arrived_s)
        self._keep_time(at_s, arrived_s)
        if span_s is not None:
            self._longest_s = max(self._longest_s, span_s - self.interval_s)
        if not answered or not (new or full in self._missing):
            return  # nothing yet, or a duplicate
        self._missing.discard(full)
        self._answer(at_s, arrived_s, span_s)

    def open_window(self) -> None:
        """From now on it counts; a silence that goes on now counts whole."""
        self._longest_s = 0.0
        self._window_from = (self._highest or 0) + 1

    def mark_end(self, now_s: float) -> None:
        """The migration ended now, by our clock."""
        self._end_s = now_s

    @property
    def longest_gap_ms(self) -> int:
        """The longest silence in the window, one that still lasts included."""
        return round(self._longest_s * 1000)

    @property
    def sent(self) -> int:
        """Probes in the window."""
        return max(0, (self._highest or 0) - (self._window_from or 1) + 1)

    @property
    def lost(self) -> int:
        """Those of them that were not answered (so far)."""
        return sum(number >= (self._window_from or 1) for number in self._missing)

    @property
    def steady_s(self) -> float:
        """For how long it has been answering, since the end, without a break."""
        if self._end_s is None or self.answered_after_s is None:
            return 0.0
        return max(0.0, self._run_to_s - max(self._run_from_s, self._end_s))

    def _unwrap(self, number: int) -> int:
        if self._highest is None:
            return number
        ahead = (number - self._highest) % 65536
        return self._highest + (ahead if ahead < 32768 else ahead - 65536)

    def _send(self, full: int) -> bool:
        """Note that it, and all before it, were sent; True if that was not known."""
        if self._highest is None:
            self._highest = full
            self._missing.add(full)
            return True
        if full <= self._highest:
            return False
        if len(self._missing) < _MAX_MISSING:
            self._missing.update(range(self._highest + 1, full + 1))
        self._highest = full
        return True

    def _span(self, at_s: float, arrived_s: float) -> float | None:
        """Time since the last answer; None before the first."""
        if self._last is None:
            return None
        was_at_s, was_arrived_s, was_number = self._last
        by_clock_s, by_arrival_s = at_s - was_at_s, arrived_s - was_arrived_s
        by_number_s = max(0, (self._highest or 0) - was_number) * self.interval_s
        if by_clock_s < 0 or by_clock_s < by_number_s - JUMP_S:
            self._offset_s = None
            return by_number_s
        if by_clock_s > max(by_number_s, by_arrival_s) + JUMP_S:
            self._offset_s = None
            return max(by_number_s, by_arrival_s)
        return by_clock_s

    def _keep_time(self, at_s: float, arrived_s: float) -> None:
        ours_s = arrived_s - at_s
        self._offset_s = ours_s if self._offset_s is None else min(self._offset_s, ours_s)

    def _answer(self, at_s: float, arrived_s: float, span_s: float | None) -> None:
        assert self._offset_s is not None
        assert self._highest is not None
        local_s = at_s + self._offset_s
        if self.first_answer_s is None:
            self.first_answer_s = arrived_s
        if span_s is None or span_s > max(_BREAK_S, 5 * self.interval_s):
            self._run_from_s = local_s
        self._run_to_s = local_s
        if self._end_s is not None and self.answered_after_s is None and local_s >= self._end_s:
            self.answered_after_s = local_s - self._end_s
        self._last = (at_s, arrived_s, self._highest)
