"""The disk of a running VM moves between pools and meets a fault at each step: its guest writes on
without an error, on its old image with nothing left of the new, or on the new one for good.

Struck out: `switch` and `judge` x abort (too late then, and refused), x link (there is none), and
the full pool at another step than while it is written to (`test_storage_move`).
"""

from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.places import in_host, outside
from tests.lab.test_cold_faults import meet
from tests.lab.test_idle_storage import daemon_back_again
from tests.lab.test_storage_move import (
    HOME,
    RING_BYTES,
    SECOND,
    VM,
    assert_nothing_lost,
    assert_on,
    go_home,
    shut_down,
)

pytestmark = [pytest.mark.lab, pytest.mark.long]

STEPS = ("create", "mirror", "switch", "judge")
TABLE = [
    *(("abort", step) for step in STEPS[:2]),
    *((fault, step) for step in STEPS for fault in ("kill", "daemon")),
]
AWAY = f"{SECOND}/{VM}.qcow2"


@pytest.fixture
def host(lab: Lab) -> Iterator[str]:
    """The VM's host, with a second pool; its guest writes to its disk."""
    lab.run("quiet")
    name = str(lab.vm(VM)["host"])
    lab.virsh(name, "pool-define-as", "second", "dir", "--target", SECOND)
    for word in ("pool-build", "pool-start", "pool-autostart"):
        lab.virsh(name, word, "second")
    lab.run("vm", VM, "--disk-write", "10MB/s", "--disk-over", str(RING_BYTES))
    yield name
    lab.up()
    go_home(lab, name)
    lab.virsh(name, "pool-destroy", "second", check=False)
    lab.virsh(name, "pool-undefine", "second", check=False)
    in_host(lab, name, "rm", "-rf", SECOND)


@pytest.mark.parametrize(("fault", "step"), TABLE)
def test_a_fault_at_a_step(lab: Lab, own_ferry: Ferry, host: str, fault: str, step: str) -> None:
    with daemon_back_again(lab, host) as again:
        command = again if fault == "daemon" else fault
        verdict = meet(lab, own_ferry, step, command, "second", target="-", vm=VM)
    own_ferry.run("hosts")  # begins an engine, which takes up what is open
    moved = step == "judge"  # it is on its new image: there is only forward
    if fault == "daemon" and verdict is not None:
        moved = verdict["outcome"] == "moved"  # one that is back in time is asked again
    assert verdict is None or verdict["outcome"] == ("moved" if moved else "stayed"), verdict
    assert verdict is None or verdict["leftovers"] == []
    if not moved:
        gone = outside(lab, host, AWAY)
        eventually(lambda: not gone.exists(), "nothing is left there", 60)
    eventually(lambda: lab.virsh(host, "blockjob", VM, "vda") == "", "nothing copies it", 60)
    path = AWAY if moved else HOME
    assert_on(lab, host, path)
    written = shut_down(lab, host)
    assert_nothing_lost(outside(lab, host, path), written)
