"""What may go wrong in which phase, and how it has to end.

`python -m tests.lab.faults.table` prints it as Markdown.
"""

from dataclasses import dataclass

PHASES = ("prepare", "disk", "memory", "switchover", "post-copy", "verify")


@dataclass(frozen=True, slots=True)
class Struck:
    """A cell that cannot exist."""

    reason: str


MOVED = frozenset({"moved running"})
STAYED = frozenset({"stayed running"})
EITHER = MOVED | STAYED
"""Which of them is a race that the hosts decide; the verdict has to say the one that is so."""
STAYED_OFF = frozenset({"stayed shut off"})
MOVED_OFF = frozenset({"moved shut off"})
MOVED_PAUSED = frozenset({"moved paused"})
CRASHED = STAYED_OFF | MOVED
"""libvirt does what a crash asks for only once no migration has the VM: by then it may have moved,
and nothing is done."""
LOST = frozenset({"lost paused"})
"""Half of its memory went with a QEMU: what is left of it cannot run, and the verdict says so."""
LOST_HALF = LOST | {"lost running"}
"""libvirt calls a half running as long as its QEMU waits for the other one."""

Cell = frozenset[str] | Struck
Row = tuple[Cell, Cell, Cell, Cell, Cell, Cell]

_STOPPED = Struck("the guest stands still then: nothing can happen in it")
_NO_STREAM = Struck("nothing is sent then")
_NO_COPY = Struck("the target has no QEMU of it yet")
_NO_WRITES = Struck("no disk is written there then")

TABLE: dict[str, Row] = {
    "console killed": (MOVED, MOVED, MOVED, MOVED, MOVED, MOVED),
    "engine killed": (STAYED, MOVED, MOVED, MOVED, MOVED, MOVED),
    "source's libvirtd killed": (EITHER, STAYED, STAYED, EITHER, MOVED, MOVED),
    "target's libvirtd killed": (EITHER, STAYED, STAYED, EITHER, MOVED, MOVED),
    "source's QEMU killed": (
        STAYED_OFF,
        STAYED_OFF,
        STAYED_OFF,
        STAYED_OFF,
        LOST_HALF,
        Struck("the source's QEMU has ended"),
    ),
    "target's QEMU killed": (_NO_COPY, STAYED, STAYED, STAYED, LOST, MOVED_OFF),
    "link cut for 5 s": (MOVED, MOVED, MOVED, MOVED, MOVED, MOVED),
    # A second attempt follows only where the verdict did not have to be `unknown` meanwhile.
    "link cut for 60 s": (EITHER, STAYED, EITHER, EITHER, MOVED, MOVED),
    "stream broken": (_NO_STREAM, STAYED, STAYED, STAYED, MOVED, _NO_STREAM),
    "sshd killed": (EITHER, MOVED, MOVED, MOVED, MOVED, MOVED),
    "host unreachable to the engine": (EITHER, MOVED, MOVED, MOVED, MOVED, MOVED),
    "guest shuts down": (STAYED_OFF, STAYED_OFF, STAYED_OFF, _STOPPED, MOVED_OFF, MOVED_OFF),
    "guest crashes": (STAYED_OFF, CRASHED, CRASHED, _STOPPED, MOVED_OFF, MOVED_OFF),
    "guest is suspended": (
        MOVED_PAUSED,
        MOVED,  # libvirt lets a VM that is suspended meanwhile go on at the target
        MOVED,
        _STOPPED,
        MOVED_PAUSED,
        MOVED_PAUSED,
    ),
    "second migration": (MOVED, MOVED, MOVED, MOVED, MOVED, MOVED),
    "abort": (STAYED, STAYED, STAYED, EITHER, MOVED, MOVED),
    "target disk full": (
        Struck("nothing is written yet; what does not fit is refused by the plan"),
        STAYED,
        _NO_WRITES,
        _NO_WRITES,
        _NO_WRITES,
        _NO_WRITES,
    ),
    "clock jump": (MOVED, MOVED, MOVED, MOVED, MOVED, MOVED),
}
"""Fault -> for each phase how it may end: the outcome, and what becomes of the VM."""


KNOWN: dict[tuple[str, str], str] = {}
"""Cells that do not hold yet, each with why."""

SAID = {
    "source's QEMU killed": ("QEMU ended by itself", "QEMU has ended"),
    "guest shuts down": ("Its guest shut down",),
    "guest crashes": ("Its guest crashed",),
    "guest is suspended": ("suspended meanwhile by somebody else",),
}
"""What the verdict's reason says of a fault that is not the migration's own: one of these."""

UNTOLD = {("guest crashes", "moved running"), ("guest is suspended", "moved running")}
"""libvirt tells of a crash only once it has done what that asks for: here it never does. Of a
VM that is suspended during the copy it (9.0) tells as of the stop at the switchover."""


def cells() -> list[tuple[str, str]]:
    """(fault, phase) of each cell that can exist, phase by phase."""
    return [
        (fault, phase)
        for number, phase in enumerate(PHASES)
        for fault, row in TABLE.items()
        if not isinstance(row[number], Struck)
    ]


def part(cells: list[tuple[str, str]], wanted: str) -> list[tuple[str, str]]:
    """`1/2`: every second one, from the first: half of a round, for one of two labs at a time."""
    number, _, of = wanted.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise ValueError(f"VIRT_FERRY_FAULTS_PART is {wanted!r}, not like 1/2")
    return cells[int(number) - 1 :: int(of)]


def expected(fault: str, phase: str) -> frozenset[str]:
    """How a cell may end."""
    cell = TABLE[fault][PHASES.index(phase)]
    assert not isinstance(cell, Struck)
    return cell


def markdown() -> str:
    """The table, with the reasons for what is struck out below it."""
    reasons: list[str] = []
    lines = [f"| fault | {' | '.join(PHASES)} |", "|---" * (len(PHASES) + 1) + "|"]
    for fault, row in TABLE.items():
        lines.append(f"| {fault} | {' | '.join(_cell(cell, reasons) for cell in row)} |")
    struck = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    known = [f"- {fault}, {phase}: {why}" for (fault, phase), why in KNOWN.items()]
    struck = ["", "Struck out (they cannot exist):", "", *struck]
    known = ["", "Do not hold yet:", "", *known] if known else []
    return "\n".join([*lines, *struck, *known])


def _cell(cell: Cell, reasons: list[str]) -> str:
    if isinstance(cell, Struck):
        if cell.reason not in reasons:
            reasons.append(cell.reason)
        return f"– ({reasons.index(cell.reason) + 1})"
    return " or ".join(sorted(cell))


if __name__ == "__main__":
    print(markdown())
