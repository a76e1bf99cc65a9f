"""The results of all cells, printed when all are through."""

import pytest

from tests.lab.faults.results import Results

ALL = Results()


@pytest.fixture
def results() -> Results:
    """Of this run."""
    return ALL


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After everything else."""
    if ALL.rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(ALL.markdown())
