"""The outlook on every recorded real migration."""

import pytest

from backend.model import Outcome, Outlook, Phase, Sample, Word
from backend.plan.forecast import outlook, progress_fraction
from backend.service.protocol import MigrationChanged, SampleArrived
from tests.console.recorded import load, names

RECORDINGS = names()
ALONE = ("web", "db")
"""Those where one VM moved, and nothing else was on the link."""


def migrations(name: str) -> dict[str, tuple[list[Sample], bool]]:
    """Samples of each recorded migration, and whether it ended as moved."""
    samples: dict[str, list[Sample]] = {}
    moved: dict[str, bool] = {}
    for entry in load(name):
        change = entry.change
        if isinstance(change, SampleArrived):
            samples.setdefault(change.id, []).append(change.sample)
        elif isinstance(change, MigrationChanged) and change.migration.verdict:
            outcome = change.migration.verdict.outcome
            moved[change.migration.id] = outcome is Outcome.MOVED
    return {key: (found, moved.get(key, False)) for key, found in samples.items()}


@pytest.mark.parametrize("name", RECORDINGS)
def test_progress_and_figures(name: str) -> None:
    for samples, _ in migrations(name).values():
        limit_ms = samples[-1].pause_limit_ms or 300
        done = 0.0
        for count in range(1, len(samples) + 1):
            was, done = done, progress_fraction(samples[:count], limit_ms)
            assert was <= done <= 1
        for view in views(samples):
            assert view.left_s is None or 0 <= view.left_s.low <= view.left_s.high


@pytest.mark.parametrize("name", RECORDINGS)
def test_words(name: str) -> None:
    """Alone on the link, who moved was never given up, and cache-1 was in its third pass."""
    for samples, moved in migrations(name).values():
        seen = views(samples)
        if moved and name in ALONE:
            assert {view.word for view in seen} == {Word.CONVERGING}
        if name == "cache-abort":
            hopeless = [view.word is Word.WILL_NOT_CONVERGE for view in seen]
            assert hopeless == [sample.pass_number >= 3 for sample in samples]


def views(samples: list[Sample]) -> list[Outlook]:
    """The outlook at every sample."""
    limit_ms = samples[-1].pause_limit_ms or 300
    return [
        outlook(samples[:count], limit_ms, Phase.MEMORY) for count in range(1, len(samples) + 1)
    ]
