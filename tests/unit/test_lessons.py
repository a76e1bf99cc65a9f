"""What an ended migration teaches, and what it does not."""

from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from backend.model import Decision, Migration, Outcome, Sample, Verdict
from backend.plan.policy import BALANCED
from backend.run.history import PastMove
from backend.run.lessons import lesson
from backend.run.migration import MigrationRun
from backend.run.roster import Roster
from backend.run.runs import Run

MB = 1_000_000
VERDICT = Verdict("a1", "db-1", "kvm-a", "kvm-b", Outcome.MOVED, "kvm-b", "moved", 12.0, 14.0, 90)
STATE = Migration(
    "a1", "db-1", "u-1", "kvm-a", "kvm-b", 1000.0, BALANCED, pause_limit_ms=50, verdict=VERDICT
)


def samples(throttle: int | None = None) -> tuple[Sample, ...]:
    """Two passes of 4 s at 25 MB/s, then a third."""
    return tuple(
        Sample(
            t_s=0.2 * n,
            pass_number=1 + n // 20,
            remaining_bytes=max(0, 100 - 5 * (n % 20)) * MB,
            total_bytes=500 * MB,
            sent_bytes=5 * MB * n,
            rate_bytes_s=25.0 * MB,
            dirty_bytes_s=None if n < 20 else 20.0 * MB,
            pause_limit_ms=50,
            throttle_percent=throttle,
            pages_dup=(300 * MB) // 4096,
        )
        for n in range(50)
    )


@dataclass
class Ran:
    state: Migration = STATE
    samples: tuple[Sample, ...] = field(default_factory=samples)
    by_hand: bool = False


def taught(ran: Ran, in_use_bytes: int | None = 220 * MB) -> PastMove:
    found = lesson(cast("MigrationRun", ran), in_use_bytes, 2000.0)
    assert found is not None
    return found


def decided(action: str, by: str = "engine") -> Migration:
    return replace(STATE, decisions=(Decision(1.0, 1001.0, action, "because", by),))


def test_its_passes_its_link_and_its_empty_pages() -> None:
    found = taught(Ran())
    assert found.link_bytes_s == 25 * MB
    assert [round(seconds) for seconds, _ in found.passes] == [4, 4]
    assert found.empty_bytes == pytest.approx(20 * MB, abs=4096)
    assert taught(Ran(), None).empty_bytes is None


def test_a_throttled_pass_says_nothing_of_the_vm() -> None:
    assert taught(Ran(samples=samples(80))).passes == ()


@pytest.mark.parametrize("changes", [{"post_copy": True}, {"suspended": True}])
def test_nor_does_one_in_post_copy_or_suspended(changes: dict[str, bool]) -> None:
    found = taught(Ran(state=replace(STATE, **changes)))  # type: ignore[arg-type]
    assert found.passes == ()
    assert found.pause_limit_ms is None


@pytest.mark.parametrize("state", [decided("switch"), replace(STATE, hold=True)])
def test_a_hold_is_no_test_of_the_forecast_nor_of_the_link(state: Migration) -> None:
    found = taught(Ran(state=state))
    assert found.changed_by_hand
    assert found.link_bytes_s is None


def test_a_bandwidth_that_was_set_on_the_way_is_not_the_links() -> None:
    assert taught(Ran(state=decided("bandwidth", "operator"), by_hand=True)).link_bytes_s is None


@pytest.mark.parametrize(
    ("gap", "passes"), [((4.5, 6.0), 1), ((2.0, 6.0), 0), ((8.2, 9.0), 2), ((3.9, 4.05), 0)]
)
def test_a_pass_that_nobody_watched_to_its_end_says_nothing(
    gap: tuple[float, float], passes: int
) -> None:
    found = taught(Ran(state=replace(STATE, gaps=(gap,))), None)
    assert len(found.passes) == passes
    assert found.total_s == 12.0, "the rest is as good as ever"
    assert found.link_bytes_s == pytest.approx(25 * MB)


@pytest.mark.parametrize(
    "ran",
    [
        Ran(state=replace(STATE, verdict=None)),
        Ran(samples=()),
        Ran(state=replace(STATE, verdict=replace(VERDICT, outcome=Outcome.UNKNOWN))),
        Ran(state=replace(STATE, verdict=replace(VERDICT, outcome=Outcome.LOST))),
    ],
)
def test_nothing_to_learn(ran: Ran) -> None:
    assert lesson(cast("MigrationRun", ran), None, 2000.0) is None


@pytest.mark.parametrize(
    ("other", "alone"),
    [
        ({}, False),
        ({"target": "kvm-c"}, False),
        ({"source": "kvm-c"}, False),
        ({"source": "kvm-c", "target": "kvm-d"}, True),
        ({"called_at": None}, True),
        ({"verdict": replace(VERDICT, wall_s=30.0)}, False),
        ({"verdict": replace(VERDICT, wall_s=14.0)}, True),
    ],
)
def test_what_a_link_carries_is_not_learned_of_a_part_of_it(
    other: dict[str, object], alone: bool
) -> None:
    """Another one used it while this one, called 15 s after that one's start, moved."""
    mine = replace(STATE, started=1010.0, called_at=1015.0)
    beside = replace(STATE, id="b2", called_at=1001.0, verdict=None)
    roster = Roster()
    for state in (replace(beside, **other), mine):  # type: ignore[arg-type]
        roster.add(cast("Run", Ran(state)))
    assert roster.had_its_link_alone(mine) is alone
