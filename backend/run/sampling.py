"""Turning job statistics into numbered samples with a monotonic account of the work done."""

from dataclasses import dataclass, field

from backend.hypervisor.stats import CompletedJob, JobReading, Raw, job_sample
from backend.model import Sample

DIRTY_KNOWN_AFTER_S = 1.5
MOST_SAMPLES = 10_000
"""Over half an hour at five a second; beyond it the older half is thinned."""


@dataclass(slots=True)
class Account:
    """The samples of one migration; takes raw statistics, keeps what must never run backwards."""

    samples: list[Sample] = field(default_factory=list)
    _first_pass: int | None = None
    _sent_bytes: int = 0
    _pass: int = 1
    _second_pass_s: float | None = None

    def take(self, raw: Raw, t_s: float, pause_limit_ms: int | None) -> Sample | None:
        """Number one reading; None while the job has nothing to say.

        Passes count from 1, from the first one seen: QEMU's counter may include earlier,
        cancelled attempts (seen in vdsm). libvirt's `processed` may fall back when a disk mirror
        ends; what was sent stays sent.
        """
        reading = job_sample(raw, t_s, self._first_pass)
        if reading.total_bytes == 0:
            return None
        if self._first_pass is None and reading.raw_pass is not None:
            self._first_pass = reading.raw_pass
            reading = job_sample(raw, t_s, self._first_pass)
        self._pass = max(self._pass, reading.pass_number)
        self._sent_bytes = max(self._sent_bytes, reading.sent_bytes)
        sample = Sample(
            t_s=round(t_s, 3),
            pass_number=self._pass,
            remaining_bytes=reading.remaining_bytes,
            total_bytes=reading.total_bytes,
            sent_bytes=self._sent_bytes,
            rate_bytes_s=reading.rate_bytes_s,
            dirty_bytes_s=self._dirty(reading, t_s),
            pause_limit_ms=pause_limit_ms,
            expected_pause_ms=reading.expected_pause_ms,
            throttle_percent=reading.throttle_percent,
            disk_total_bytes=reading.disk_total_bytes,
            disk_remaining_bytes=reading.disk_remaining_bytes,
            pages_dup=reading.pages_dup,
            post_copy_requests=reading.postcopy_requests,
        )
        self.samples.append(sample)
        if len(self.samples) > MOST_SAMPLES:
            half = MOST_SAMPLES // 2
            self.samples[:half] = self.samples[:half:2]
        return sample

    def passes(self, completed: CompletedJob | None) -> int:
        """How many there were, the ones between two samples included."""
        seen = self._pass if self.samples else 0
        if completed is None or completed.passes is None:
            return seen
        return max(seen, completed.passes - (self._first_pass or 1) + 1)

    def _dirty(self, reading: JobReading, t_s: float) -> float | None:
        """None until QEMU has worked it out: for a moment the second pass still says 0."""
        if self._pass == 1:
            return None
        if self._second_pass_s is None:
            self._second_pass_s = t_s
        early = t_s - self._second_pass_s < DIRTY_KNOWN_AFTER_S
        return reading.dirty_bytes_s or (None if early else reading.dirty_bytes_s)
