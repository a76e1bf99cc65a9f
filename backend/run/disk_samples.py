"""The samples of a move that copies disks alone: what its chart is drawn from."""

from dataclasses import dataclass, field

from backend.model import Sample
from backend.run.publish import Publisher
from backend.run.sampling import MOST_SAMPLES, DiskPace
from backend.run.told import Told


@dataclass(slots=True)
class DiskSamples:
    """Each is published as it is taken."""

    told: Told
    publisher: Publisher
    taken: list[Sample] = field(default_factory=list)
    _pace: DiskPace = field(default_factory=DiskPace)

    def take(self, t_s: float, done_bytes: int, total_bytes: int) -> None:
        """How much of all disks has been copied."""
        sample = Sample(
            t_s=round(t_s, 3),
            pass_number=0,
            remaining_bytes=0,
            total_bytes=0,
            sent_bytes=done_bytes,
            rate_bytes_s=self._pace.take(t_s, done_bytes) or 0.0,
            dirty_bytes_s=None,
            disk_total_bytes=total_bytes,
            disk_remaining_bytes=max(0, total_bytes - done_bytes),
            disk_sent_bytes=done_bytes,
        )
        self.taken.append(sample)
        if len(self.taken) > MOST_SAMPLES:
            half = MOST_SAMPLES // 2
            self.taken[:half] = self.taken[:half:2]
        self.publisher.sample(self.told.state.id, sample)
        self.told.update(sample=sample)
