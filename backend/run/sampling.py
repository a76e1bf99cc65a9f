"""Turning job statistics into numbered samples with a monotonic account of the work done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp

from backend.hypervisor.stats import CompletedJob, JobReading, Raw, job_sample
from backend.model import Sample

DIRTY_KNOWN_AFTER_S = 1.5
MOST_SAMPLES = 10_000
"""Over half an hour at five a second; beyond it the older half is thinned."""
PACE_S = 1.5
"""Time constant of a mirror's rate."""


@dataclass(slots=True)
class DiskPace:
    """How fast a copy goes, smoothed."""

    _seen: tuple[float, int] | None = None
    _rate_bytes_s: float | None = None

    def take(self, t_s: float, done_bytes: int) -> float | None:
        """One more figure; the rate, None until there are two."""
        was, self._seen = self._seen, (t_s, done_bytes)
        if was is None or t_s <= was[0]:
            return self._rate_bytes_s
        span_s = t_s - was[0]
        now = max(0.0, (done_bytes - was[1]) / span_s)
        before = now if self._rate_bytes_s is None else self._rate_bytes_s
        self._rate_bytes_s = before + (1 - exp(-span_s / PACE_S)) * (now - before)
        return self._rate_bytes_s


@dataclass(slots=True)
class Account:
    """The samples of one migration; takes raw statistics, keeps what must never run backwards."""

    samples: list[Sample] = field(default_factory=list)
    _first_pass: int | None = None
    _memory_sent_bytes: int = 0
    _disk_sent_bytes: int = 0
    _pass: int = 0
    _disk_pace: DiskPace = field(default_factory=DiskPace)
    _second_pass_s: float | None = None

    def take(self, raw: Raw, t_s: float, pause_limit_ms: int | None) -> Sample | None:
        """Number one reading; None while the job has nothing to say.

        Passes count from 1, from the first one seen: QEMU's counter may include earlier,
        cancelled attempts (seen in vdsm). While only disks are copied there is no pass yet.
        libvirt's `processed` may fall back when a disk mirror ends; what was sent stays sent.
        """
        reading = job_sample(raw, t_s, self._first_pass)
        if reading.total_bytes == 0:
            return None
        if self._first_pass is None and reading.raw_pass is not None:
            self._first_pass = reading.raw_pass
            reading = job_sample(raw, t_s, self._first_pass)
        if reading.memory_total_bytes or self._pass:
            self._pass = max(self._pass, reading.pass_number)
        self._memory_sent_bytes = max(self._memory_sent_bytes, reading.memory_sent_bytes)
        self._disk_sent_bytes = max(self._disk_sent_bytes, reading.disk_sent_bytes)
        sample = Sample(
            t_s=round(t_s, 3),
            pass_number=self._pass,
            remaining_bytes=reading.memory_remaining_bytes,
            total_bytes=reading.memory_total_bytes,
            sent_bytes=self._memory_sent_bytes + self._disk_sent_bytes,
            rate_bytes_s=self._rate(reading, t_s),
            dirty_bytes_s=self._dirty(reading, t_s),
            pause_limit_ms=pause_limit_ms,
            expected_pause_ms=reading.expected_pause_ms,
            throttle_percent=reading.throttle_percent,
            disk_total_bytes=reading.disk_total_bytes,
            disk_remaining_bytes=reading.disk_remaining_bytes,
            disk_sent_bytes=self._disk_sent_bytes,
            pages_dup=reading.pages_dup,
            post_copy_requests=reading.postcopy_requests,
        )
        self.samples.append(sample)
        if len(self.samples) > MOST_SAMPLES:
            half = MOST_SAMPLES // 2
            self.samples[:half] = self.samples[:half:2]
        return sample

    def resume(self, samples: Sequence[Sample]) -> None:
        """Go on with what an engine before this one has seen of the same job."""
        if not samples:
            return
        self.samples = list(samples)
        last = samples[-1]
        self._first_pass = 1 if last.pass_number else None
        self._pass = last.pass_number
        self._memory_sent_bytes = last.memory_sent_bytes
        self._disk_sent_bytes = last.disk_sent_bytes
        self._second_pass_s = next((one.t_s for one in samples if one.pass_number > 1), None)

    def passes(self, completed: CompletedJob | None) -> int:
        """How many there were, the ones between two samples included."""
        seen = self._pass if self.samples else 0
        if completed is None or completed.passes is None:
            return seen
        return max(seen, completed.passes - (self._first_pass or 1) + 1)

    def _rate(self, reading: JobReading, t_s: float) -> float:
        """Of the memory; of the disks while only they are copied (libvirt tells no rate then)."""
        if self._pass:
            return reading.rate_bytes_s
        return self._disk_pace.take(t_s, self._disk_sent_bytes) or reading.disk_rate_bytes_s

    def _dirty(self, reading: JobReading, t_s: float) -> float | None:
        """None until QEMU has worked it out: for a moment the second pass still says 0."""
        if self._pass <= 1:
            return None
        if self._second_pass_s is None:
            self._second_pass_s = t_s
        early = t_s - self._second_pass_s < DIRTY_KNOWN_AFTER_S
        return reading.dirty_bytes_s or (None if early else reading.dirty_bytes_s)
