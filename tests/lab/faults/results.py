"""What each cell came to: a line of a Markdown table as soon as it is through, and all at the end.

`VIRT_FERRY_FAULTS_FILE` names a file to which the lines are added: a round that is played in parts,
or broken off, keeps what it has.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.faults.play import Played

FILE_VARIABLE = "VIRT_FERRY_FAULTS_FILE"
HEAD = "| fault | phase | s | result | ended | verdict |\n|---|---|---|---|---|---|"


@dataclass(slots=True)
class Row:
    """One cell; `seconds` from its set-up until all is mended again."""

    fault: str
    phase: str
    seconds: float = 0.0
    result: str = "holds"
    ended: str = "–"
    said: str = "–"

    def markdown(self) -> str:
        """A line of the table."""
        cells = (self.fault, self.phase, f"{self.seconds:.0f}", self.result, self.ended, self.said)
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "/") for cell in cells) + " |"


@dataclass(slots=True)
class Results:
    """In the order of playing."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    def add(self, fault: str, phase: str, played: Played) -> None:
        """A cell that has its verdict."""
        row = self._row(fault, phase)
        row.ended, row.said = played.ended, str(played.verdict["reason"])

    def report(self, fault: str, phase: str, report: pytest.TestReport) -> None:
        """How its set-up, its play or its mending went; with the last it is through."""
        row = self._row(fault, phase)
        row.seconds += report.duration
        if hasattr(report, "wasxfail"):
            row.result = "does not hold yet"
        elif report.failed:
            row.result = f"FAILED in {report.when}: {_cause(report)}"
        if report.when == "teardown":
            self._keep(row)

    def markdown(self) -> str:
        """The table."""
        return "\n".join([HEAD, *self._lines(), self._sum()])

    def _row(self, fault: str, phase: str) -> Row:
        return self.rows.setdefault((fault, phase), Row(fault, phase))

    def _lines(self) -> Iterator[str]:
        return (row.markdown() for row in self.rows.values())

    def _sum(self) -> str:
        held = sum(row.result == "holds" for row in self.rows.values())
        minutes = sum(row.seconds for row in self.rows.values()) / 60
        return f"\n{held} of {len(self.rows)} cells hold; {minutes:.1f} min"

    def _keep(self, row: Row) -> None:
        path = os.environ.get(FILE_VARIABLE)
        if path:
            with Path(path).open("a") as file:
                file.write(row.markdown() + "\n")


def _cause(report: pytest.TestReport) -> str:
    """The line that tells it, of the failure's own."""
    told = getattr(report.longrepr, "reprcrash", None)
    return str(told.message).splitlines()[0] if told is not None else report.longreprtext[-200:]
