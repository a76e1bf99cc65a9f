"""Survey and preflight against real hosts, as a plan gathers and judges them."""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from backend.fleet.config import HostSettings, load
from backend.fleet.host import HostWatch
from backend.hypervisor.connection import Connection
from backend.model import Finding, Host, HostState, Mode, MoveOptions, Reading, Severity, Vm
from backend.plan.disks import disk_cases
from backend.plan.facts import Survey
from backend.plan.preflight import fit_score, needs_unsafe, preflight
from backend.remote.shell import Shell
from backend.run.survey import ASKED_NOTHING, HostAccess, survey
from tests.lab.conftest import Lab, eventually

pytestmark = pytest.mark.lab

T = TypeVar("T")
LIVE = MoveOptions(mode=Mode.LIVE)
SOON_S = 15.0
ENOUGH_S = 6.0
"""A plan takes under a second on two idle cores; the tests' machine may be busy."""


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds, at most SOON_S."""
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110 - nothing tells of a change here
            await asyncio.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The lab's hosts as the engine watches them."""

    hosts: dict[str, HostWatch]

    def find(self, name: str) -> tuple[Vm, HostWatch]:
        """A VM and where it is, the running copy first."""
        places = [(vm, host) for host in self.hosts.values() for vm in host.vms if vm.name == name]
        return max(places, key=lambda place: place[0].state.active)

    def target_for(self, name: str) -> HostWatch:
        """A host that the VM is not on."""
        _, source = self.find(name)
        return next(host for host in self.hosts.values() if host is not source)

    async def survey(
        self, name: str, target: HostAccess | None = None, options: MoveOptions = ASKED_NOTHING
    ) -> Survey:
        vm, source = self.find(name)
        return await survey(vm, source, target or self.target_for(name), options=options)

    async def seen(self, name: str) -> None:
        """Wait until the inventory has it."""
        await until(lambda: any(vm.name == name for h in self.hosts.values() for vm in h.vms))


@dataclass(frozen=True, slots=True)
class Pointed:
    """A host with another migration URI, or another `tls`."""

    watch: HostWatch
    migrate_uri: str
    tls: bool = True

    @property
    def name(self) -> str:
        return self.watch.name

    @property
    def host(self) -> Host:
        return self.watch.host

    @property
    def source_uri(self) -> str:
        return self.watch.source_uri

    @property
    def shell(self) -> Shell | None:
        return self.watch.shell

    async def call(
        self, function: Callable[[Connection], T], timeout_s: float = 5.0, what: str = ""
    ) -> T:
        return await self.watch.call(function, timeout_s, what)

    async def measured(
        self, uuid: str, min_period_s: int, within_s: float, limit_s: float
    ) -> tuple[Reading, ...]:
        return await self.watch.measured(uuid, min_period_s, within_s, limit_s)


@asynccontextmanager
async def watched(lab: Lab, sockets: Path) -> AsyncIterator[Fleet]:
    os.chmod(sockets, 0o700)
    watches = [
        HostWatch(settings, sockets, lambda: None, dict, lambda _urgent: None, time.time)
        for settings in load(lab.fleet).hosts
    ]
    for watch in watches:
        watch.begin()
    try:
        await until(lambda: all(watch.host.memory_used_bytes for watch in watches))
        yield Fleet({watch.name: watch for watch in watches})
    finally:
        await asyncio.gather(*(watch.close() for watch in watches))


@contextmanager
def defined(lab: Lab, host: str, xml: str) -> Iterator[str]:
    """A VM that is defined there meanwhile; gives its UUID."""
    uuid = re.search(r"<uuid>(.*?)</uuid>", xml)
    assert uuid
    subprocess.run(
        ["virsh", "-q", "-c", lab.uri(host), "define", "/dev/stdin"],
        input=xml,
        text=True,
        check=True,
        capture_output=True,
    )
    try:
        yield uuid[1]
    finally:
        lab.virsh(host, "undefine", uuid[1])


def codes(survey: Survey, severity: Severity) -> list[str]:
    return [finding.code for finding in preflight(survey) if finding.severity is severity]


def finding(survey: Survey, code: str) -> Finding:
    found = [one for one in preflight(survey) if one.code == code]
    assert found, [one.code for one in preflight(survey)]
    return found[0]


def state_of_all(lab: Lab) -> list[str]:
    hosts = [host["name"] for host in lab.status()["hosts"]]
    return [lab.virsh(host, "list", "--all", "--uuid", "--name") for host in hosts]


async def test_a_guest_that_can_go_anywhere(lab: Lab, tmp_path: Path) -> None:
    before = state_of_all(lab)
    async with watched(lab, tmp_path) as fleet:
        vm, source = fleet.find("idle-1")
        targets = [host for host in fleet.hosts.values() if host is not source]
        began = time.monotonic()
        surveys = await asyncio.gather(*(survey(vm, source, target) for target in targets))
        took_s = time.monotonic() - began
        for one in surveys:
            findings = preflight(one)
            assert [f for f in findings if f.severity is not Severity.OK] == []
            assert "cpu-ok" in [f.code for f in findings]
            assert "the running CPU model exists there" in [f.sentence for f in findings]
            assert fit_score(one, findings) is not None
            assert not needs_unsafe(one)
    print(f"a plan of one VM to {len(targets)} targets: {took_s * 1000:.0f} ms")
    assert took_s < ENOUGH_S
    assert state_of_all(lab) == before


async def test_a_local_disk(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        found = await fleet.survey("files-1")
        assert codes(found, Severity.BLOCK) == []
        assert "files-1.qcow2" in finding(found, "storage-copy").sentence
        assert not needs_unsafe(found)
        (case,) = disk_cases(found)
        assert (case.move.virtual_bytes, case.move.pool) == (2**30, "default")
        assert 100_000_000 <= (case.move.allocated_bytes or 0) < 110_000_000


async def test_a_shared_disk_is_proven_and_nothing_stays_behind(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        found = await fleet.survey("shared-1")
        assert codes(found, Severity.BLOCK) == []
        assert "shared" in finding(found, "storage-shared").sentence
        assert needs_unsafe(found)
    assert list(lab.fleet.parent.rglob(".virt-ferry-probe-*")) == []


async def test_missing_cpu_features_are_named(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        found = await fleet.survey("cpu-1", options=LIVE)
        assert codes(found, Severity.BLOCK) == ["state-not-running", "cpu-missing-features"]
        assert "avx512" in finding(found, "cpu-missing-features").sentence
        # Shut off it can be moved; that it could not be started there is said all the same.
        found = await fleet.survey("cpu-1")
        assert codes(found, Severity.BLOCK) == []
        assert "cpu-missing-features" in codes(found, Severity.WARN)


async def test_a_missing_bridge_and_a_missing_image(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        _, source = fleet.find("batch-1")
        xml = lab.virsh(source.name, "dumpxml", "batch-1").replace("bridge='br0'", "bridge='dmz0'")
        xml = re.sub(r"<uuid>.*?</uuid>", "<uuid>6f1c7c0e-0000-4000-8000-0000000000d1</uuid>", xml)
        xml = re.sub(r"<mac address=.*?/>", "", xml.replace(">batch-1<", ">dmz-1<"))
        with defined(lab, source.name, xml):
            await fleet.seen("dmz-1")
            found = await fleet.survey("dmz-1", options=LIVE)
            blocks = codes(found, Severity.BLOCK)
            assert blocks == ["state-not-running", "network-bridge-missing"]
            assert "dmz0" in finding(found, "network-bridge-missing").sentence


async def test_names_taken_at_the_target(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        _, source = fleet.find("batch-1")
        target = fleet.target_for("batch-1")
        xml = lab.virsh(source.name, "dumpxml", "batch-1")
        with defined(lab, target.name, xml) as uuid:
            vm, _ = fleet.find("batch-1")
            found = await survey(vm, source, target)
            assert uuid in finding(found, "name-stale-definition").remedy
        other = re.sub(
            r"<uuid>.*?</uuid>", "<uuid>6f1c7c0e-0000-4000-8000-0000000000d2</uuid>", xml
        )
        with defined(lab, target.name, other) as uuid:
            found = await survey(vm, source, target)
            assert uuid in finding(found, "name-taken").sentence


async def test_the_way_from_the_source_to_the_target(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        target = fleet.target_for("idle-1")
        ways = {
            "qemu+tls://no-such-host/system": "reach-name",
            f"qemu+tls://{target.name}:1/system": "reach-port",
        }
        for uri, code in ways.items():
            found = await fleet.survey("idle-1", Pointed(target, uri))
            assert codes(found, Severity.BLOCK) == [code]
            assert finding(found, code).remedy


async def test_plaintext(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        target = fleet.target_for("idle-1")
        found = await fleet.survey("idle-1", Pointed(target, target.migrate_uri, tls=False))
        assert not found.encrypted
        assert codes(found, Severity.WARN) == ["tls-off"]


async def test_a_dead_target_is_told_at_once(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        nowhere = HostSettings(
            "kvm-x", "qemu+tls://kvm-x/system", uri="qemu+unix:///system?socket=/x"
        )
        dead = HostWatch(nowhere, tmp_path, lambda: None, dict, lambda _urgent: None, time.time)
        dead.begin()
        try:
            async with asyncio.timeout(SOON_S):
                await dead.answered.wait()
            assert dead.host.state is HostState.UNREACHABLE
            began = time.monotonic()
            found = await fleet.survey("idle-1", dead)
            assert time.monotonic() - began < ENOUGH_S
            assert codes(found, Severity.BLOCK) == ["host-daemon-stopped"]
            assert codes(found, Severity.WARN) == []
        finally:
            await dead.close()


async def test_a_job_that_somebody_else_started(lab: Lab, tmp_path: Path) -> None:
    async with watched(lab, tmp_path) as fleet:
        vm, source = fleet.find("idle-1")
        target = fleet.target_for("idle-1")
        words = ["migrate", "--live", "--p2p", "--tls", "--bandwidth", "1", vm.uuid]
        moving = await asyncio.create_subprocess_exec(
            "virsh",
            "-q",
            "-c",
            lab.uri(source.name),
            *words,
            target.migrate_uri,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(lambda: fleet.find("idle-1")[0].job is not None)
            found = await survey(vm, source, target)
            assert "job-active" in codes(found, Severity.BLOCK)
            assert finding(found, "job-active").sentence.endswith(": migration out")
        finally:
            lab.virsh(source.name, "domjobabort", vm.uuid, check=False)
            await moving.wait()
        eventually(
            lambda: vm.uuid not in lab.virsh(target.name, "list", "--all", "--uuid"),
            f"nothing of idle-1 left on {target.name}",
        )
