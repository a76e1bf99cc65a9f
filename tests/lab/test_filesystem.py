"""A file system that a guest made and writes to all the time, after its disk has moved with it."""

from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Ferry
from tests.lab.fs_vm import IMAGE, NAME, FsVm
from tests.lab.places import HOSTS, assert_defined_only_on, made_alone

pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture
def vm(lab: Lab) -> Iterator[FsVm]:
    with made_alone(lab, FsVm(lab, HOSTS[0])) as made:
        yield made


def test_it_is_whole_after_a_live_move_a_shutdown_and_a_new_start(
    lab: Lab, ferry: Ferry, vm: FsVm
) -> None:
    source, target = HOSTS[:2]
    eventually(lambda: vm.wrote(source) > 3, "the guest made its file system", 60)
    eventually(lambda: NAME in [one["name"] for one in ferry.json("vms")], "the engine sees it")
    events, code = ferry.migrate(NAME, "--to", target)
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["mode"]) == (0, "moved", "live"), verdict
    assert (verdict["kept"], verdict["leftovers"]) == ([f"kept: {IMAGE} on {source}"], [])
    assert_defined_only_on(lab, NAME, target)
    at_source = vm.wrote(source)
    vm.writes_on(target)
    assert vm.wrote(target) > at_source
    vm.shut_down(target)
    written = vm.wrote(target)
    assert "off" in vm.said(target), "it did not get to the end of its shutdown"
    count = vm.read(target)
    assert count > written
    lab.virsh(target, "start", NAME)
    found = f"found: {count} good, 0 wrong"
    eventually(lambda: found in vm.said(target), "the guest reads it again", 60)
    vm.writes_on(target)
