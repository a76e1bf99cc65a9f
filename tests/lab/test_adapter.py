"""The adapter rooms against real hosts: over SSH, through cuts, with real migrations."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from backend.errors import CallTimedOut, HostUnreachable, HypervisorError
from backend.hypervisor import cpu, domains, events, host, migrate, stats, tuning
from backend.hypervisor.connection import Connection, Lane
from backend.hypervisor.domain_xml import parse_domain
from backend.hypervisor.events import EventKind, VmEvent
from backend.hypervisor.migrate import MigrationOrder
from backend.model import VmState
from backend.remote import facts, probes
from backend.remote.ssh import SshHost
from tests.lab.conftest import Lab

pytestmark = pytest.mark.lab


@dataclass(frozen=True, slots=True)
class Reached:
    """A host as the engine reaches it."""

    ssh: SshHost
    lane: Lane


@asynccontextmanager
async def reached(lab: Lab, name: str, sockets: Path) -> AsyncIterator[Reached]:
    ssh = SshHost(name, str(lab.ssh_config))
    await ssh.connect()
    os.chmod(sockets, 0o700)
    await ssh.forward_libvirt(f"{sockets}/{name}")
    lane = Lane(name, "control", f"qemu+unix:///system?socket={sockets}/{name}")
    await lane.open()
    try:
        yield Reached(ssh, lane)
    finally:
        await lane.close()
        await ssh.close()


@asynccontextmanager
async def direct(lab: Lab, name: str, purpose: str) -> AsyncIterator[Lane]:
    lane = Lane(name, purpose, lab.uri(name))
    await lane.open()
    try:
        yield lane
    finally:
        await lane.close()


async def test_a_host_over_ssh(lab: Lab, tmp_path: Path) -> None:
    async with reached(lab, "kvm-a", tmp_path) as a:
        identity = await a.lane.call(host.read_identity)
        assert identity.hostname == "kvm-a"
        assert identity.libvirt_version >= 9_000_000
        assert identity.uuid
        for raw in await a.lane.call(domains.read_configs):
            config = parse_domain(raw.xml)
            assert (config.uuid, config.name) == (raw.uuid, raw.name)
            assert config.nics[0].source == "br0"
        for record in await a.lane.call(lambda conn: domains.read_statistics(conn, True)):
            seen = stats.vm_statistics(record.raw)
            assert seen.state is not VmState.UNKNOWN
            assert not seen.state.active or seen.memory_used_bytes
        loads = [load async for load in _first(facts.remote_facts(a.ssh), 2)]
        assert loads[1].cpu_percent is not None
        assert loads[1].link_out_bytes_s is not None
        assert loads[1].memory_bytes == identity.memory_bytes


async def _first(
    source: AsyncIterator[facts.HostFacts], count: int
) -> AsyncIterator[facts.HostFacts]:
    for _ in range(count):
        yield await anext(source)


async def test_a_cut_link_is_noticed_and_nothing_hangs(lab: Lab, tmp_path: Path) -> None:
    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.05)

    lost, closed = asyncio.Event(), asyncio.Event()
    async with reached(lab, "kvm-a", tmp_path) as a:
        a.ssh.on_lost = lambda _reason: lost.set()
        a.lane.on_closed = lambda _reason: closed.set()
        heart = asyncio.create_task(beat())
        await asyncio.to_thread(lab.set_link, "kvm-a", "down")
        try:
            async with asyncio.timeout(12):
                await lost.wait()
                await closed.wait()
            assert not a.ssh.alive
            with pytest.raises(HostUnreachable):
                await a.lane.call(domains.read_statistics)
            with pytest.raises(HostUnreachable, match="did not answer over SSH in time"):
                await SshHost("kvm-a", str(lab.ssh_config)).connect(1.5)
        finally:
            await asyncio.to_thread(lab.set_link, "kvm-a", "up")
            heart.cancel()
    assert max(later - earlier for earlier, later in pairwise(beats)) < 0.5


async def test_a_call_over_a_cut_link_ends_in_time(lab: Lab, tmp_path: Path) -> None:
    async with reached(lab, "kvm-a", tmp_path) as a:
        await asyncio.to_thread(lab.set_link, "kvm-a", "down")
        try:
            begun = time.monotonic()
            with pytest.raises(CallTimedOut):
                await a.lane.call(domains.read_statistics, 1.0, "give its statistics")
            assert time.monotonic() - begun < 2.0
            begun = time.monotonic()
            await a.lane.close()
            assert time.monotonic() - begun < 4.0
        finally:
            await asyncio.to_thread(lab.set_link, "kvm-a", "up")


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("UserKnownHostsFile", "/dev/null", "not known (ssh-ed25519 SHA256:"),
        ("UserKnownHostsFile", "none", "no host key could be trusted"),
        ("UserKnownHostsFile", "OTHER", "another host key than the known one"),
        ("IdentityFile", "OTHER_ID", "refused the login"),
    ],
)
async def test_whom_ssh_does_not_trust(
    lab: Lab, tmp_path: Path, setting: str, value: str, says: str
) -> None:
    known = lab.fleet.with_name("known_hosts").read_text().splitlines()
    keys = {line.split(None, 1)[0]: line.split(None, 1)[1] for line in known if line.strip()}
    swapped = list(zip(keys, [*list(keys.values())[1:], next(iter(keys.values()))], strict=True))
    (tmp_path / "known").write_text("".join(f"{names} {key}\n" for names, key in swapped))
    await _make_key(tmp_path / "id")
    value = {"OTHER": str(tmp_path / "known"), "OTHER_ID": str(tmp_path / "id")}.get(value, value)
    lines = [
        f"  {setting} {value}" if line.strip().startswith(setting) else line
        for line in lab.ssh_config.read_text().splitlines()
    ]
    (tmp_path / "config").write_text("\n".join(lines) + "\n")
    with pytest.raises(HostUnreachable) as error:
        await SshHost("kvm-a", str(tmp_path / "config")).connect()
    assert says in error.value.sentence


async def _make_key(path: Path) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    assert await (await asyncio.create_subprocess_exec(*words)).wait() == 0


async def test_reaching_one_host_from_another(lab: Lab, tmp_path: Path) -> None:
    async with reached(lab, "kvm-a", tmp_path) as a:
        good = await probes.probe_reach(a.ssh, "qemu+tls://kvm-b/system")
        assert (good.ok, good.hostname) == (True, "kvm-b")
        for uri, fault in (
            ("qemu+tls://nosuch/system", probes.ReachFault.NAME),
            ("qemu+tls://kvm-b:1/system", probes.ReachFault.PORT_CLOSED),
            ("qemu+tls://localhost/system", probes.ReachFault.NAME_MISMATCH),
        ):
            assert (await probes.probe_reach(a.ssh, uri)).fault is fault


async def test_shared_is_proven_and_nothing_is_left_behind(lab: Lab, tmp_path: Path) -> None:
    async with reached(lab, "kvm-a", tmp_path) as a, reached(lab, "kvm-b", tmp_path) as b:
        proof = await probes.probe_shared(a.ssh, b.ssh, "/srv/shared/x.qcow2")
        assert proof.shared is True
        proof = await probes.probe_shared(a.ssh, b.ssh, "/var/lib/libvirt/images/x.qcow2")
        assert proof.shared is False
        for one in (a, b):
            listed = await one.ssh.run("ls -a /srv/shared /var/lib/libvirt/images")
            assert "virt-ferry-probe" not in listed.stdout
        assert await probes.probe_bridge(b.ssh, "br0")
        assert not await probes.probe_bridge(b.ssh, "br-dmz")
        assert (await probes.probe_file(b.ssh, "/srv/boot/vmlinuz")).size_bytes


async def test_the_cpu_a_host_lacks_is_named(lab: Lab) -> None:
    def everything(conn: Connection) -> list[domains.RawDomain]:
        return domains.read_configs(conn)

    found: dict[str, domains.RawDomain] = {}
    for one in lab.status()["hosts"]:
        async with direct(lab, one["name"], "control") as lane:
            found |= {raw.name: raw for raw in await lane.call(everything)}
    async with direct(lab, "kvm-b", "control") as lane:
        for name, fits in (("cpu-1", False), ("idle-1", True)):
            vm = parse_domain(found[name].xml)
            fit = await lane.call(
                lambda conn, vm=vm: cpu.compare_cpu(  # type: ignore[misc]
                    conn, vm.emulator, vm.arch, vm.machine, vm.virt_type, vm.cpu_xml or ""
                )
            )
            assert fit.fits is fits
            assert bool(fit.missing) is not fits
        machines = await lane.call(lambda conn: cpu.supported_machines(conn, "x86_64", "qemu"))
        assert vm.machine in machines


async def test_a_migration_aborted_then_done(lab: Lab) -> None:
    lab.quiet()
    source = lab.vm("idle-1")["host"]
    target = "kvm-b" if source == "kvm-a" else "kvm-a"
    async with (
        direct(lab, source, "control") as control,
        direct(lab, source, "migration") as moving,
        direct(lab, target, "control") as at_target,
    ):
        uuid = await control.call(lambda conn: domains.find_named(conn, "idle-1"))
        assert uuid is not None
        seen: list[VmEvent] = []
        await events.subscribe(control, seen.append)
        slow = MigrationOrder(
            uuid, "idle-1", f"qemu+tls://{target}/system", bandwidth_bytes_s=5_000_000
        )
        call = asyncio.create_task(moving.call(lambda conn: migrate.run(conn, slow), None, "move"))
        reading = await _reading(control, uuid)
        assert reading.operation == "migration out"
        assert reading.memory_total_bytes > 500_000_000
        assert reading.dirty_bytes_s is None
        there = await at_target.call(lambda conn: domains.presence(conn, uuid))
        assert (there.active, there.persistent, there.job_kind) == (True, False, "migration in")
        assert await control.call(lambda conn: migrate.abort(conn, uuid)) is True
        with pytest.raises(HypervisorError):
            await call
        here = await control.call(lambda conn: domains.presence(conn, uuid))
        assert (here.state, here.job_kind) == (VmState.RUNNING, None)
        assert await control.call(lambda conn: migrate.abort(conn, uuid)) is False
        assert await control.call(lambda conn: tuning.read_bandwidth(conn, uuid)) is None

        order = MigrationOrder(uuid, "idle-1", f"qemu+tls://{target}/system")
        await moving.call(lambda conn: migrate.run(conn, order), 120, "move")
        gone = await control.call(lambda conn: domains.presence(conn, uuid))
        there = await at_target.call(lambda conn: domains.presence(conn, uuid))
        assert gone is domains.ABSENT
        assert (there.state, there.state_reason, there.persistent) == (
            VmState.RUNNING,
            "migrated",
            True,
        )
        raw = await at_target.call(lambda conn: domains.read_completed(conn, uuid))
        assert raw is not None
        job = stats.completed(raw)
        assert job.pause_ms is not None
        assert job.sent_bytes > 10_000_000
        assert job.passes is not None
        await asyncio.sleep(0.2)
        kinds = {event.kind for event in seen if event.uuid == uuid}
        assert kinds >= {EventKind.LIFECYCLE, EventKind.ITERATION, EventKind.JOB_COMPLETED}


async def _reading(lane: Lane, uuid: str) -> stats.JobReading:
    """The first one of the first pass."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        raw = await lane.call(lambda conn: domains.read_job(conn, uuid))
        if raw and raw.get("memory_iteration"):
            return stats.job_sample(raw, 0.0)
        await asyncio.sleep(0.1)
    pytest.fail("no pass began within 20 s")


async def test_the_limits_are_set_read_and_lifted(lab: Lab) -> None:
    async with direct(lab, lab.vm("web-1")["host"], "control") as lane:
        uuid = await lane.call(lambda conn: domains.find_named(conn, "web-1"))
        assert uuid is not None
        before = await lane.call(lambda conn: tuning.read_pause_limit(conn, uuid))
        assert before is not None
        try:
            await lane.call(lambda conn: tuning.set_pause_limit(conn, uuid, 70))
            assert await lane.call(lambda conn: tuning.read_pause_limit(conn, uuid)) == 70
            await lane.call(lambda conn: tuning.set_bandwidth(conn, uuid, 10_000_000))
            assert await lane.call(lambda conn: tuning.read_bandwidth(conn, uuid)) == 10 * 2**20
        finally:
            await lane.call(lambda conn: tuning.set_pause_limit(conn, uuid, before))
            await lane.call(lambda conn: tuning.set_bandwidth(conn, uuid, None))
        assert await lane.call(lambda conn: tuning.read_bandwidth(conn, uuid)) is None
