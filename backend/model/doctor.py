"""What an examination of the fleet found: each finding with its hosts, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How bad a finding of an examination is."""

    OK = "ok"
    REMARK = "remark"
    """Worth knowing; nothing has to be done."""
    MEND = "mend"
    """Something is wrong, or would make a move fail: the remedy mends it."""
    ALARM = "alarm"
    """A VM runs on several hosts, or on none that is known: an operator has to decide."""

    @property
    def rank(self) -> int:
        """0 is well; the higher, the worse."""
        return tuple(Grade).index(self)


@dataclass(frozen=True, slots=True)
class FleetFinding:
    """One result of an examination."""

    code: str
    """Stable, for scripts: `vm-runs-twice`."""
    check: str
    """The kind of check it belongs to: hosts, vms, jobs, limits, volumes, certificates, ..."""
    grade: Grade
    hosts: tuple[str, ...]
    """Those it is about; empty where it is about all."""
    sentence: str
    remedy: str = ""
    """What to do, with the command to run where there is one."""
    vm: str = ""
    """The VM it is about; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Examination:
    """All findings about a fleet, check by check, the worst of each first."""

    findings: tuple[FleetFinding, ...]
    at: float
    """Epoch seconds of its end."""
    took_s: float

    @property
    def worst(self) -> Grade:
        """Of all findings."""
        return max((one.grade for one in self.findings), key=lambda g: g.rank, default=Grade.OK)
