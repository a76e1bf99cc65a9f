"""Every fault in every phase of a migration (see `table`): it ends as the table has it, the verdict
is what all hosts say, the guest is whole, nothing is left, and the VM moves again.
"""

import os
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab
from tests.lab.faults.faults import FAULTS
from tests.lab.faults.phases import HOLDS
from tests.lab.faults.play import look, play, scene_of
from tests.lab.faults.results import Results
from tests.lab.faults.scene import Scene
from tests.lab.faults.table import KNOWN, SAID, UNTOLD, cells, expected, part
from tests.lab.ferry import Ferry

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.faults, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", autouse=True)
def calm(lab: Lab) -> None:
    """Emulated guests that write take what the two cores have."""
    lab.quiet()


@pytest.fixture
def scene(lab: Lab, ferry: Ferry, phase: str) -> Iterator[Scene]:
    """The VM that the phase is met with."""
    with scene_of(lab, ferry, HOLDS[phase].vm, HOLDS[phase].words) as made:
        yield made


CELLS = [
    pytest.param(
        *cell, marks=[pytest.mark.xfail(reason=KNOWN[cell], strict=True)] if cell in KNOWN else []
    )
    for cell in part(cells(), os.environ.get("VIRT_FERRY_FAULTS_PART", "1/1"))
]


@pytest.mark.parametrize(("fault", "phase"), CELLS)
async def test_a_fault_in_a_phase(scene: Scene, fault: str, phase: str, results: Results) -> None:
    played = await play(scene, FAULTS[fault], HOLDS[phase], phase)
    results.add(fault, phase, played)
    assert played.ended in expected(fault, phase), played.verdict
    if (fault, played.ended) not in UNTOLD:
        reason = played.verdict["reason"]
        assert any(part in reason for part in SAID.get(fault, ("",))), reason
    await look(scene, played)
