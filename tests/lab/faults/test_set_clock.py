"""The clock is set by an hour between an engine that was killed and the next one: the migration is
its own all the same, steered and judged as ever."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from tests.lab.conftest import Lab
from tests.lab.faults.faults import Fault
from tests.lab.faults.phases import HOLDS
from tests.lab.faults.play import look, play, scene_of
from tests.lab.faults.scene import Scene
from tests.lab.ferry import Ferry

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.faults, pytest.mark.timeout(400)]

PHASE = "memory"
HOUR_S = 3600


@pytest.fixture
def scene(lab: Lab, ferry: Ferry) -> Iterator[Scene]:
    lab.quiet()
    with scene_of(lab, ferry, HOLDS[PHASE].vm, HOLDS[PHASE].words) as made:
        yield made


async def next_engine(scene: Scene, _phase: str, set_s: int) -> None:
    scene.ferry.kill_engine()
    (scene.held / "clock").write_text(str(set_s))
    await asyncio.to_thread(scene.begin_engine)


@pytest.mark.parametrize("set_s", [HOUR_S, -HOUR_S])
async def test_our_own_migration_is_not_taken_for_anothers(scene: Scene, set_s: int) -> None:
    fault = Fault(partial(next_engine, set_s=set_s))
    played = await play(scene, fault, HOLDS[PHASE], PHASE)
    assert played.ended == "moved running", played.verdict
    assert not played.verdict["foreign"]
    assert "somebody else" not in played.verdict["reason"]
    assert 0 < played.verdict["total_s"] < HOUR_S / 2
    await look(scene, played)
