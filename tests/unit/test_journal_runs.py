"""Runs, VMs away from home and maintenance outlive the engine."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.model import (
    Evacuation,
    EvacuationState,
    EvacuationWish,
    HookEnd,
    Mode,
    Roll,
    RollHost,
    RollState,
    RollStep,
    RollWish,
)
from backend.run.journal import Journal
from backend.run.journal_runs import Away, RunRows

RUN = Evacuation("r1", EvacuationWish("kvm-a"), EvacuationState.RUNNING, started=100.0)


def away(home: str, since: float, uuid: str = "u1") -> Away:
    return Away(uuid, "web-1", home, since, "kvm-b", Mode.LIVE, "r1")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path / "journal.db", time.time, "lab")
    yield made
    await made.close()


async def test_a_run_is_kept_as_it_was_last(journal: Journal) -> None:
    rows = RunRows(journal)
    assert await rows.keep(RUN)
    assert await rows.runs() == (RUN,)
    ended = replace(RUN, state=EvacuationState.ENDED, ended=200.0)
    assert await rows.keep(ended)
    assert await rows.runs() == (ended,)


async def test_a_roll_is_kept_as_it_was_last(journal: Journal) -> None:
    rows = RunRows(journal)
    host = RollHost("kvm-a", RollStep.HOOK, 2.0, ("e1",), "e1", ("u1",), "b", 3.0)
    roll = Roll("o1", RollWish(("kvm-a",), "true"), RollState.RUNNING, (host,), started=1.0)
    assert await rows.keep_roll(roll)
    hooked = replace(host, hook=HookEnd(None, 1.5, ("last",)))
    ended = replace(roll, state=RollState.ENDED, hosts=(hooked,))
    assert await rows.keep_roll(ended)
    assert await rows.rolls() == (ended,)


async def test_the_way_home_is_known_until_it_was_gone(journal: Journal) -> None:
    rows = RunRows(journal)
    first, other = away("kvm-a", 1.0), away("kvm-a", 2.0, "u2")
    for one in (other, first):
        assert await rows.went(one)
    assert await rows.away_from("kvm-a") == (first, other)
    assert await rows.away_from("kvm-b") == ()
    assert await rows.came_home(first)
    assert await rows.away_from("kvm-a") == (other,)


async def test_who_is_home_again_has_left_nowhere_since(journal: Journal) -> None:
    rows = RunRows(journal)
    first, later = away("kvm-a", 1.0), away("kvm-b", 2.0)
    await rows.went(first)
    await rows.went(later)
    await rows.came_home(later)
    assert await rows.away_from("kvm-a") == (first,)
    await rows.went(later)
    await rows.came_home(first)
    assert await rows.away_from("kvm-a") == ()
    assert await rows.away_from("kvm-b") == ()


async def test_maintenance_begins_once_and_ends(journal: Journal) -> None:
    rows = RunRows(journal)
    await rows.set_maintenance("kvm-a", 10.0)
    await rows.set_maintenance("kvm-a", 20.0)
    assert await rows.maintenance() == {"kvm-a": 10.0}
    await rows.set_maintenance("kvm-a", None)
    assert await rows.maintenance() == {}


async def test_other_fleets_have_their_own(tmp_path: Path, journal: Journal) -> None:
    rows = RunRows(journal)
    await rows.keep(RUN)
    await rows.went(away("kvm-a", 1.0))
    await rows.set_maintenance("kvm-a", 10.0)
    elsewhere = Journal(tmp_path / "journal.db", time.time, "other")
    theirs = RunRows(elsewhere)
    assert await theirs.runs() == ()
    assert await theirs.away_from("kvm-a") == ()
    assert await theirs.maintenance() == {}
    await elsewhere.close()


async def test_a_file_that_cannot_be_had_is_said_not_raised(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "no-directory").write_text("")
    journal = Journal(tmp_path / "no-directory" / "journal.db", time.time, "lab", told.append)
    rows = RunRows(journal)
    assert not await rows.keep(RUN)
    assert "cannot be written" in told[0]
    assert await rows.runs() == ()
    await journal.close()
