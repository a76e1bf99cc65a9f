"""A VM that is shut down, moved and started meets a fault at the steps that only such a move has
(the others are those of a cold one): it runs again where it was, or it is said how to start it.

Struck out: `start` x abort (too late then, and refused).
"""

import json
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Event, Ferry
from tests.lab.places import (
    assert_defined_only_on,
    host_of,
    images_of,
    only_at_home,
    other,
)
from tests.lab.test_cold_faults import as_command, meet

pytestmark = [pytest.mark.lab, pytest.mark.long]

VM = "files-1"
TABLE = [
    ("abort", "shut-down"),
    ("abort", "copy"),
    ("daemon", "shut-down"),
    ("daemon", "copy"),
    ("link", "copy"),
    ("kill", "shut-down"),
    ("kill", "copy"),
    ("kill", "start"),
]


@pytest.fixture(autouse=True)
def mended(lab: Lab) -> Iterator[None]:
    only_at_home(lab, VM)
    yield
    lab.up()
    if lab.virsh(host_of(lab, VM), "domstate", VM).split() == ["shut", "off"]:
        lab.virsh(host_of(lab, VM), "start", VM)
    eventually(lambda: lab.vm(VM)["memory_ok"] is True, "it runs", 40)
    only_at_home(lab, VM)


@pytest.mark.parametrize(("fault", "step"), TABLE)
def test_a_fault_at_a_step(lab: Lab, own_ferry: Ferry, fault: str, step: str) -> None:
    source, target = host_of(lab, VM), other(lab, VM)
    verdict = meet(lab, own_ferry, step, as_command(lab, fault, target), vm=VM, mode="restart")
    if fault == "link":
        lab.run("link", target, "up")
    if fault != "kill":
        lab.up()  # it would start what is shut off
    own_ferry.run("hosts")  # begins an engine, which takes up what is open
    if verdict is None:
        verdict = taken_up(own_ferry)
    owner = target if step == "start" else source
    assert verdict["owner"] == owner, verdict
    assert verdict["outcome"] == ("moved" if owner == target else "stayed"), verdict
    assert_defined_only_on(lab, VM, owner)
    if owner == source:
        eventually(lambda: images_of(lab, target, VM) == [], "no image is left there", 60)
    if fault == "kill" and step != "shut-down":
        (left,) = verdict["leftovers"]
        assert "virsh start" in left
        assert owner in left
        lab.virsh(owner, "start", VM)
    assert lab.virsh(owner, "domstate", VM).strip() == "running"
    eventually(lambda: lab.vm(VM)["memory_ok"] is True, f"it runs on {owner}", 40)
    assert host_of(lab, VM) == owner


def taken_up(own_ferry: Ferry) -> Event:
    """What the next engine says of it."""
    job = own_ferry.json("jobs")[-1]
    done = own_ferry.run("watch", job["id"], "--json")
    found: Event = json.loads(done.stdout.splitlines()[-1])
    return found
