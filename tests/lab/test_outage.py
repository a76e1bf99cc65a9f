"""The outage probe beside real migrations by virsh, against a ping of the operator's own."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from backend.fleet import config
from backend.fleet.host import HostWatch
from backend.fleet.inventory import Inventory
from backend.hypervisor.metadata import NAMESPACE
from backend.model import Vm
from backend.run.addresses import find_address
from backend.run.network_check import check_network
from backend.run.outage import Outage, OutageProbe
from tests.lab.conftest import Lab

pytestmark = pytest.mark.lab

AGREE_MS = 60
"""Two probes, 20 and 10 ms apart, of a VM on a machine with two cores."""


@pytest.fixture
async def fleet(lab: Lab) -> AsyncIterator[Inventory]:
    lab.run("quiet")
    settings = config.load(Path(lab.fleet))
    made = Inventory(settings, lambda: None, dict, lambda _: None, lambda vm: vm, time.time)
    made.begin()
    await made.settled(15)
    try:
        yield made
    finally:
        await made.close()


def ends(fleet: Inventory, name: str) -> tuple[Vm, HostWatch, HostWatch]:
    """The VM, its host, and the first other one."""
    vm = fleet.snapshot.vms_named(name)[0]
    others = [host for host in fleet.hosts.values() if host.name != vm.host]
    return vm, fleet.host(vm.host), others[0]


async def by_virsh(lab: Lab, vm: Vm, target: HostWatch) -> None:
    await asyncio.to_thread(
        lab.virsh,
        vm.host,
        *("migrate", "--live", "--p2p", "--tls", "--persistent", "--undefinesource"),
        *(vm.name, f"qemu+tls://{target.name}/system"),
        timeout_s=120,
    )


class OperatorsPing:
    """Every 10 ms from the operator's network, until the block is left."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._words = ("ip", "netns", "exec", lab.operator_netns, "ping", "-D", "-n", "-i", "0.01")
        self._address = address
        self.gap_ms = 0.0

    async def __aenter__(self) -> "OperatorsPing":
        self._process = await asyncio.create_subprocess_exec(
            *self._words, self._address, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        for _ in range(3):
            await self._process.stdout.readline()
        self._rest = asyncio.create_task(self._process.stdout.read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        printed = (await self._rest).decode()
        await self._process.wait()
        times = [float(at) for at in re.findall(r"^\[([0-9.]+)\] \d+ bytes", printed, re.M)]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        self.gap_ms = max(gaps) * 1000 - 10


async def measured(lab: Lab, fleet: Inventory, name: str) -> tuple[Outage, str, float]:
    """Outage and network sentence of one move, and what the operator's own ping saw."""
    vm, source, target = ends(fleet, name)
    assert vm.address is not None
    async with OperatorsPing(lab, vm.address) as own:
        probe = OutageProbe(fleet.hosts, source, target, vm)
        await asyncio.wait_for(probe.begin(), 1.5)
        assert probe.answered_before, probe.sentence
        assert probe.longest_gap_ms is not None
        await by_virsh(lab, vm, target)
        outage, network = await asyncio.gather(probe.finish(), check_network(target, vm, probe))
    return outage, network, own.gap_ms


async def test_the_probe_sees_what_a_client_sees(lab: Lab, fleet: Inventory) -> None:
    vm, _, target = ends(fleet, "idle-1")
    outage, network, own_ms = await measured(lab, fleet, "idle-1")
    assert outage.outage_ms is not None, outage.sentence
    assert abs(outage.outage_ms - own_ms) <= AGREE_MS
    assert 0 < outage.lost < outage.sent
    assert f"{vm.address} answered 0." in network
    assert f"its MAC is on br0 of {target.name}" in network


async def test_no_probe_is_left_behind(lab: Lab, fleet: Inventory) -> None:
    vm, source, target = ends(fleet, "idle-1")
    unique = "10.77.0.253"  # all labs of this machine share its process table
    probe = OutageProbe(fleet.hosts, source, target, vm, unique)
    await probe.begin()
    await probe.close()
    for host in fleet.hosts.values():
        assert host.shell is not None
        gone = 'for n in 1 2 3 4 5 6 7 8 9 10; do pgrep -f "^ping -D -n -O -i [0-9.]+ -w [0-9]+ $0"'
        seen = await host.shell.run(
            f"sh -c '{gone} || exit 0; sleep 0.2; done; exit 1' {unique}", 5.0
        )
        assert seen.exit_status == 0, f"{host.name}: {seen.stdout}"


async def test_an_address_nobody_has_gives_no_figure(lab: Lab, fleet: Inventory) -> None:
    vm, source, target = ends(fleet, "idle-1")
    probe = OutageProbe(fleet.hosts, source, target, vm, "10.77.0.240")
    await asyncio.wait_for(probe.begin(), 1.5)
    assert not probe.answered_before
    outage = await asyncio.wait_for(probe.finish(), 2.0)
    assert outage.outage_ms is None
    assert "not measured" in outage.sentence


async def test_without_metadata_a_neighbour_table_knows_the_address(
    lab: Lab, fleet: Inventory
) -> None:
    vm, source, _ = ends(fleet, "idle-1")
    assert vm.address is not None
    shell = source.shell
    assert shell is not None
    await shell.run(f"ping -c 1 -W 2 {vm.address}", 5.0)
    found = await find_address(replace(vm, address=None), source, fleet.hosts)
    assert found.value == vm.address
    assert "table of" in found.origin
    assert (await find_address(vm, source, fleet.hosts)).origin == "its metadata"


async def test_metadata_is_seen_and_moves_with_the_vm_ours_and_others(
    lab: Lab, fleet: Inventory
) -> None:
    vm, source, target = ends(fleet, "web-1")
    everywhere = ("--live", "--config")
    ours = f"<vm policy='gentle' address='{vm.address}'/>"
    theirs = "<app owner='somebody'><note>kept</note></app>"
    told = asyncio.Event()
    source.listeners.add(lambda event: told.set() if event.detail == NAMESPACE else None)
    for uri, key, xml in ((NAMESPACE, "ferry", ours), ("urn:other", "o", theirs)):
        words = ("--uri", uri, "--key", key, "--set", xml)
        await asyncio.to_thread(lab.virsh, source.name, "metadata", vm.name, *words, *everywhere)
    try:
        await asyncio.wait_for(told.wait(), 5)
        await source.refresh(vm.uuid)
        assert next(one for one in source.vms if one.uuid == vm.uuid).policy == "gentle"
        await by_virsh(lab, vm, target)
        for where in ((), ("--inactive",)):
            xml = lab.virsh(target.name, "dumpxml", vm.name, *where)
            assert "policy='gentle'" in xml.replace('"', "'")
            assert "note>kept</" in xml
    finally:
        for host in (source, target):
            if vm.name in lab.virsh(host.name, "list", "--name").split():
                where_ours = ("--uri", NAMESPACE, "--key", "ferry")
                plain = ("--set", f"<vm address='{vm.address}'/>")
                lab.virsh(host.name, "metadata", vm.name, *where_ours, *plain, *everywhere)
