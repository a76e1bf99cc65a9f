"""What crosses the lab's switch while a VM moves live with its disk."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.capture import PATTERN, capture
from tests.lab.conftest import Lab
from tests.lab.ferry import Ferry
from tests.lab.places import set_links
from tests.lab.small_vm import DISK_BYTES, NAME, SmallVm

pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture
def small(lab: Lab) -> Iterator[SmallVm]:
    """The pattern is all that is on its disk."""
    lab.quiet()
    set_links(lab, "1gbit")
    vm = SmallVm(lab, "kvm-a", "kvm-b")
    vm.gone()
    vm.make(content=PATTERN)
    yield vm
    vm.gone()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_the_mirror_of_a_disk_shows_nothing_of_it(
    lab: Lab, tmp_path: Path, small: SmallVm, encrypted: bool
) -> None:
    fleet = lab.fleet.with_name("plain.toml")
    text = lab.fleet.read_text()
    fleet.write_text(text if encrypted else with_plaintext(text))
    ferry = Ferry(fleet, tmp_path)
    try:
        await asyncio.to_thread(small.seen_by, ferry)
        async with capture(lab) as found:
            words = (NAME, "--to", small.target, "--prepare")
            events, code = await asyncio.to_thread(ferry.migrate, *words)
    finally:
        ferry.stop()
        fleet.unlink()
    assert (code, events[-1]["outcome"]) == (0, "moved"), events[-1]
    assert events[-1]["encrypted"] is encrypted
    assert found.seen_bytes > DISK_BYTES
    assert (found.hits == 0) is encrypted


def with_plaintext(fleet: str) -> str:
    """What an operator writes who wants it so, for every host."""
    lines = []
    for line in fleet.splitlines():
        lines += [line, 'tls = "off"'] if line.startswith("[hosts.") else [line]
    return "\n".join(lines)
