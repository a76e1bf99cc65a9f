"""Every fault in every phase of a migration (see `table`): it ends as the table has it, the verdict
is what all hosts say, the guest is whole, nothing is left, and the VM moves again.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.lab.conftest import Lab
from tests.lab.faults import checks
from tests.lab.faults.faults import FAULTS
from tests.lab.faults.phases import HOLDS, let_go
from tests.lab.faults.results import Results
from tests.lab.faults.scene import Scene
from tests.lab.faults.table import cells, expected
from tests.lab.ferry import Ferry
from tests.lab.places import host_of, other, set_links

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.faults, pytest.mark.timeout(400)]


@pytest.fixture
def scene(lab: Lab, ferry: Ferry, phase: str) -> Iterator[Scene]:
    """Quick links, and a VM that writes; whatever a cell leaves is mended."""
    set_links(lab, "1gbit")
    vm = HOLDS[phase].vm
    played = Scene(lab, ferry, vm, host_of(lab, vm), other(lab, vm), HOLDS[phase].words)
    checks.set_up_guest(played)
    played.begin_engine()
    try:
        yield played
    finally:
        let_go(played)
        played.close()
        lab.up()
        lab.quiet()


@pytest.mark.parametrize(("fault", "phase"), cells())
async def test_a_fault_in_a_phase(scene: Scene, fault: str, phase: str, results: Results) -> None:
    began_s = time.monotonic()
    what, hold = FAULTS[fault], HOLDS[phase]
    if what.set_up is not None:
        await asyncio.to_thread(what.set_up, scene)
    await asyncio.to_thread(hold.set_up, scene)
    async with scene.ferry.migrating(scene.vm, "--to", scene.target, *hold.words) as running:
        scene.running = running
        await hold.meet(scene)
        await what.happen(scene, phase)
        await asyncio.to_thread(let_go, scene)
        if what.mend is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(running.ended(), what.lasts_s)
            await what.mend(scene)
        verdict = await scene.verdict()
    ended = await asyncio.to_thread(checks.ended_as, scene, verdict)
    results.add(fault, phase, time.monotonic() - began_s, ended, verdict["reason"])
    assert ended in expected(fault, phase), verdict
    if not ended.startswith("lost"):
        await asyncio.to_thread(checks.assert_nothing_left, scene, verdict, ended)
    await asyncio.to_thread(checks.set_right, scene, verdict, ended)
    await asyncio.to_thread(checks.assert_whole, scene)
    await checks.assert_moves_again(scene)
