"""The outlook on every recorded real migration."""

from pathlib import Path

import msgspec
import pytest

from backend.model import Outcome, Outlook, Phase, Sample, Word
from backend.plan.forecast import outlook, progress_fraction
from backend.service.protocol import Change, MigrationChanged, SampleArrived

RECORDINGS = sorted(Path(__file__).parents[1].joinpath("recordings").glob("*.jsonl"))


class Line(msgspec.Struct, frozen=True):
    """What matters here of a recorded line."""

    change: Change | None = None


def migrations(path: Path) -> dict[str, tuple[list[Sample], bool]]:
    """Samples of each recorded migration, and whether it ended as moved."""
    samples: dict[str, list[Sample]] = {}
    moved: dict[str, bool] = {}
    decode = msgspec.json.Decoder(Line).decode
    for line in path.read_bytes().splitlines():
        change = decode(line).change
        if isinstance(change, SampleArrived):
            samples.setdefault(change.id, []).append(change.sample)
        elif isinstance(change, MigrationChanged) and change.migration.verdict:
            outcome = change.migration.verdict.outcome
            moved[change.migration.id] = outcome is Outcome.MOVED
    return {key: (found, moved.get(key, False)) for key, found in samples.items()}


@pytest.mark.parametrize("path", RECORDINGS, ids=[path.stem for path in RECORDINGS])
def test_progress_and_figures(path: Path) -> None:
    for samples, _ in migrations(path).values():
        limit_ms = samples[-1].pause_limit_ms or 300
        done = 0.0
        for count in range(1, len(samples) + 1):
            was, done = done, progress_fraction(samples[:count], limit_ms)
            assert was <= done <= 1
        for view in views(samples):
            assert view.left_s is None or 0 <= view.left_s.low <= view.left_s.high


@pytest.mark.parametrize("path", RECORDINGS, ids=[path.stem for path in RECORDINGS])
def test_words(path: Path) -> None:
    """Alone on the link, who moved was never given up, and cache-1 was in its third pass.

    Two at once share a link: either may be given up until the other is through.
    """
    for samples, moved in migrations(path).values():
        seen = views(samples)
        if moved:
            assert seen[-1].word is Word.CONVERGING
        if moved and path.stem != "two-at-once":
            assert {view.word for view in seen} == {Word.CONVERGING}
        if path.stem == "cache-abort":
            hopeless = [view.word is Word.WILL_NOT_CONVERGE for view in seen]
            assert hopeless == [sample.pass_number >= 3 for sample in samples]


def views(samples: list[Sample]) -> list[Outlook]:
    """The outlook at every sample."""
    limit_ms = samples[-1].pause_limit_ms or 300
    return [
        outlook(samples[:count], limit_ms, Phase.MEMORY) for count in range(1, len(samples) + 1)
    ]
