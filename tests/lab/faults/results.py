"""What each cell came to, told at the end of the run as a Markdown table."""

from dataclasses import dataclass, field

from tests.lab.faults.play import Played


@dataclass(slots=True)
class Results:
    """In the order of playing."""

    rows: list[str] = field(default_factory=list)

    def add(self, fault: str, phase: str, played: Played) -> None:
        """A cell that has its verdict."""
        reason = played.verdict["reason"]
        cells = (fault, phase, f"{played.seconds:.0f}", played.ended, reason)
        self.rows.append(f"| {' | '.join(cells)} |")

    def markdown(self) -> str:
        """The table."""
        return "\n".join(
            ("| fault | phase | s | ended | verdict |", "|---|---|---|---|---|", *self.rows)
        )
