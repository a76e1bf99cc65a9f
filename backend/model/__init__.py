"""The nouns every room shares, and nothing that acts.

All are frozen and slotted, compare by value (so a change is `old != new`), and travel as JSON
between the engine and its clients (`service.protocol`). Sizes are bytes, rates bytes/s; other
units are in the names. `None` means not known, never zero.
"""

from backend.model.disks import (
    CopyRoute,
    DiskAction,
    DiskChoice,
    DiskMove,
    DiskProgress,
    NetworkChoice,
    NewVolume,
    VolumeState,
)
from backend.model.doctor import Examination, FleetFinding, Grade
from backend.model.fleet import (
    Alarm,
    Disk,
    FleetSnapshot,
    Host,
    HostState,
    Job,
    Nic,
    Reading,
    Vm,
    VmState,
)
from backend.model.moving import (
    Control,
    Decision,
    Migration,
    Outcome,
    Outlook,
    Phase,
    PhaseState,
    Sample,
    Turn,
    Verdict,
    Word,
)
from backend.model.past import Past, PastFilter, past_of
from backend.model.planning import (
    Band,
    Finding,
    Forecast,
    Mode,
    Moment,
    MoveOptions,
    Plan,
    Policy,
    Severity,
    TrackRecord,
    Tuning,
)
from backend.model.preparing import Preparation, PreparationKind, Prepared, PreparedState
from backend.model.tags import Tags

__all__ = [
    "Alarm",
    "Band",
    "Control",
    "CopyRoute",
    "Decision",
    "Disk",
    "DiskAction",
    "DiskChoice",
    "DiskMove",
    "DiskProgress",
    "Examination",
    "Finding",
    "FleetFinding",
    "FleetSnapshot",
    "Forecast",
    "Grade",
    "Host",
    "HostState",
    "Job",
    "Migration",
    "Mode",
    "Moment",
    "MoveOptions",
    "NetworkChoice",
    "NewVolume",
    "Nic",
    "Outcome",
    "Outlook",
    "Past",
    "PastFilter",
    "Phase",
    "PhaseState",
    "Plan",
    "Policy",
    "Preparation",
    "PreparationKind",
    "Prepared",
    "PreparedState",
    "Reading",
    "Sample",
    "Severity",
    "Tags",
    "TrackRecord",
    "Tuning",
    "Turn",
    "Verdict",
    "Vm",
    "VmState",
    "VolumeState",
    "Word",
    "past_of",
]
