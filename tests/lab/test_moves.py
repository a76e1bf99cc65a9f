"""Live migrations of real guests between real hosts, judged from both ends and from the guest."""

import asyncio
import json
import os
import signal

import pytest

from tests.lab.conftest import Lab
from tests.lab.ferry import Ferry
from tests.lab.places import host_of, other, set_links

pytestmark = pytest.mark.lab

SLOW = "200mbit"
FAST = "1gbit"
DEFAULT_PAUSE_MS = 300


@pytest.fixture(autouse=True)
def calm(lab: Lab) -> None:
    """Every test begins with fast links and writers that are silent."""
    lab.run("quiet")
    set_links(lab, FAST)


def slow_links(lab: Lab) -> None:
    set_links(lab, SLOW)


def assert_only_on(lab: Lab, vm: str, host: str) -> None:
    """virsh on every host agrees, and the guest is whole."""
    for name in ("kvm-a", "kvm-b", "kvm-c"):
        running = lab.virsh(name, "list", "--name").split()
        known = lab.virsh(name, "list", "--all", "--name").split()
        assert (vm in running) == (name == host), f"{vm} on {name}"
        assert (vm in known) == (name == host), f"{vm} on {name}"
    guest = next(one for one in lab.status()["vms"] if one["name"] == vm)
    assert guest["memory_ok"] is True


def test_an_idle_vm_moves_and_says_so_in_json(lab: Lab, ferry: Ferry) -> None:
    source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    lab.virsh(source, "autostart", "idle-1")
    events, code = ferry.migrate("idle-1", "--to", target)
    verdict = events[-1]
    assert code == 0
    assert (verdict["event"], verdict["outcome"], verdict["owner"]) == ("verdict", "moved", target)
    assert (verdict["encrypted"], verdict["authenticated"]) == (True, True)
    assert verdict["leftovers"] == []
    assert verdict["pause_ms"] > 0
    assert verdict["sent_bytes"] > 10_000_000
    assert verdict["wall_s"] >= verdict["total_s"] > 0
    phases = [event["phase"] for event in events if event.get("state") == "active"]
    assert phases[0] == "prepare"
    assert phases[-1] == "verify"
    assert "memory" in phases
    assert_only_on(lab, "idle-1", target)
    assert "enable" in lab.virsh(target, "dominfo", "idle-1").split("Autostart:")[1].split("\n")[0]


async def test_a_writing_vm_moves_encrypted_keeping_its_rate(lab: Lab, ferry: Ferry) -> None:
    slow_links(lab)
    lab.run("vm", "web-1", "--write", "5MB/s", "--over", "100M")
    source, target = host_of(lab, "web-1"), other(lab, "web-1")
    async with ferry.migrating("web-1", "--to", target) as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        question = '{"execute":"query-migrate-parameters"}'
        answer = await asyncio.to_thread(
            lab.virsh, source, "qemu-monitor-command", "web-1", question
        )
        verdict = await running.verdict()
    parameters = json.loads(answer)["return"]
    assert parameters["tls-creds"]
    assert verdict["outcome"] == "moved"
    samples = [event for event in running.events if event["event"] == "sample"]
    sent = [sample["sent_bytes"] for sample in samples]
    assert sent == sorted(sent)
    passes = [sample["pass_number"] for sample in samples]
    assert passes == sorted(passes)
    assert passes[0] == 1
    assert_only_on(lab, "web-1", target)
    guest = next(one for one in lab.status()["vms"] if one["name"] == "web-1")
    assert guest["write_rate"] == 5_000_000


@pytest.mark.long
async def test_a_vm_above_the_link_is_named_within_three_passes_and_stays(
    lab: Lab, ferry: Ferry
) -> None:
    slow_links(lab)
    lab.run("vm", "cache-1", "--write", "60MB/s", "--over", "200M")
    source, target = host_of(lab, "cache-1"), other(lab, "cache-1")
    words = ("cache-1", "--to", target, "--policy", "gentle", "--pause-ms", "120")
    async with ferry.migrating(*words) as running:
        told = await running.until(
            event="decision", reason=lambda text: "will not converge" in text
        )
        passes = [one["pass_number"] for one in running.events if one["event"] == "sample"]
        assert max(passes) <= 3
        assert told["reason"].count("MB/s") >= 2
        low = int(lab.virsh(source, "migrate-getmaxdowntime", "cache-1").split()[0])
        assert 0 < low <= 60, "a longer one would not help"
        done = await asyncio.to_thread(ferry.run, "abort", "cache-1")
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
        assert await running.process.wait() == 1
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert "as asked" in verdict["reason"]
    assert_only_on(lab, "cache-1", source)
    limit = lab.virsh(source, "migrate-getmaxdowntime", "cache-1").split()[0]
    assert limit == str(DEFAULT_PAUSE_MS)


@pytest.mark.long
async def test_two_at_once_and_the_controls_of_one(lab: Lab, ferry: Ferry) -> None:
    slow_links(lab)
    targets = {vm: other(lab, vm) for vm in ("idle-1", "shared-1")}
    async with (
        ferry.migrating("idle-1", "--to", targets["idle-1"]) as one,
        ferry.migrating("shared-1", "--to", targets["shared-1"]) as two,
    ):
        await asyncio.gather(
            *(run.until(event="phase", phase="memory", state="active") for run in (one, two))
        )
        jobs = await asyncio.to_thread(ferry.json, "jobs", "--running")
        assert {job["vm"] for job in jobs} == {"idle-1", "shared-1"}
        verdicts = await asyncio.gather(one.verdict(), two.verdict())
    assert [verdict["outcome"] for verdict in verdicts] == ["moved", "moved"]
    for vm, target in targets.items():
        assert_only_on(lab, vm, target)


@pytest.mark.long
def test_back_and_forth_ten_times(lab: Lab, ferry: Ferry) -> None:
    lab.run("vm", "web-1", "--write", "5MB/s", "--over", "100M")
    for _ in range(10):
        target = other(lab, "web-1")
        events, code = ferry.migrate("web-1", "--to", target)
        assert code == 0, events[-1]
        assert events[-1]["outcome"] == "moved"
        assert_only_on(lab, "web-1", target)


async def test_a_killed_client_changes_nothing(lab: Lab, ferry: Ferry) -> None:
    slow_links(lab)
    target = other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        started = await running.until(event="phase", phase="memory", state="active")
        os.kill(running.process.pid, signal.SIGKILL)
        await running.process.wait()
    done = await asyncio.to_thread(ferry.run, "watch", str(started["id"]), "--json")
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert (verdict["event"], verdict["outcome"]) == ("verdict", "moved")
    assert_only_on(lab, "idle-1", target)


async def test_ctrl_c_asks_for_an_abort(lab: Lab, ferry: Ferry) -> None:
    slow_links(lab)
    source, target = host_of(lab, "idle-1"), other(lab, "idle-1")
    async with ferry.migrating("idle-1", "--to", target) as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        running.process.send_signal(signal.SIGINT)
        verdict = await running.verdict()
        assert await running.process.wait() == 1
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert_only_on(lab, "idle-1", source)


def test_a_blocked_vm_is_refused_and_nothing_is_touched(lab: Lab, ferry: Ferry) -> None:
    before = lab.virsh(host_of(lab, "cpu-1"), "dumpxml", "cpu-1")
    done = ferry.run("migrate", "cpu-1", "--to", other(lab, "cpu-1"), "--mode", "live")
    assert done.returncode == 2
    assert "Nothing was touched" in done.stderr
    assert lab.virsh(host_of(lab, "cpu-1"), "dumpxml", "cpu-1") == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("migrate", "nobody", "--to", "kvm-b"), "There is no VM 'nobody'"),
        (("migrate", "idle-1", "--to", "mars"), "There is no host 'mars'"),
        (("migrate", "idle-1"), "--to"),
        (("migrate", "idle-1", "--to", "kvm-b", "--bandwidth", "fast"), "--bandwidth"),
        (("migrate", "idle-1", "--to", "kvm-b", "--bandwidth", "-5"), "--bandwidth"),
        (("migrate", "idle-1", "--to", "kvm-b", "--pause-ms", "0"), "pause limit"),
        (("migrate", "idle-1", "--to", "kvm-b", "--policy", "yolo"), "policy"),
        (("migrate", "[red]x[/]\x1b[2J", "--to", "kvm-b"), "There is no VM"),
        (("watch", "nothing"), "There is no migration"),
        (("abort", "nothing"), "There is no migration"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_2(
    ferry: Ferry, words: tuple[str, ...], says: str
) -> None:
    done = ferry.run(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


def test_moving_to_the_same_host_is_refused(lab: Lab, ferry: Ferry) -> None:
    done = ferry.run("migrate", "idle-1", "--to", host_of(lab, "idle-1"))
    assert done.returncode == 2
    assert "Nothing was touched" in done.stderr


async def test_a_host_that_is_cut_off_is_told_while_the_others_go_on(
    lab: Lab, ferry: Ferry
) -> None:
    await asyncio.to_thread(ferry.run, "hosts")
    lab.run("link", "kvm-c", "down")
    try:
        async with asyncio.timeout(10):
            while True:
                hosts = await asyncio.to_thread(ferry.json, "hosts")
                states = {host["name"]: host["state"] for host in hosts}
                if states["kvm-c"] == "unreachable":
                    break
        assert states["kvm-a"] == states["kvm-b"] == "up"
        cut = next(host for host in hosts if host["name"] == "kvm-c")
        assert cut["reason"]
        done = await asyncio.to_thread(ferry.run, "migrate", "idle-1", "--to", "kvm-c")
        assert done.returncode == 2
    finally:
        lab.run("link", "kvm-c", "up")
    async with asyncio.timeout(40):
        while True:
            hosts = await asyncio.to_thread(ferry.json, "hosts")
            if all(host["state"] == "up" for host in hosts):
                break
