"""What each cell came to, told at the end of the run as a Markdown table."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Results:
    """In the order of playing."""

    rows: list[str] = field(default_factory=list)

    def add(self, fault: str, phase: str, seconds: float, ended: str, reason: str) -> None:
        """A cell that has its verdict."""
        self.rows.append(f"| {fault} | {phase} | {seconds:.0f} | {ended} | {reason} |")

    def markdown(self) -> str:
        """The table."""
        return "\n".join(
            ("| fault | phase | s | ended | verdict |", "|---|---|---|---|---|", *self.rows)
        )
