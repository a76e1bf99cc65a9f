"""The results of all cells: each is told when it is through, and all are printed at the end."""

from collections.abc import Generator

import pytest

from tests.lab.faults.results import Results

ALL = Results()


@pytest.fixture
def results() -> Results:
    """Of this run."""
    return ALL


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whatever became of a cell stands in the table, also where it never came to a verdict."""
    report = yield
    parameters = getattr(item, "callspec", None)
    if parameters is not None and "fault" in parameters.params:
        ALL.report(parameters.params["fault"], parameters.params["phase"], report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After everything else."""
    if ALL.rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(ALL.markdown())
