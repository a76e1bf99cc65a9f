"""Hosts are maintained one after the other, with real daemons: each empty while its hook runs, and
everything at home again before the next one begins."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import Event, Ferry
from tests.lab.places import assert_defined_only_on, host_of, in_host, outside, set_links

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(600)]

FIRST, SECOND, THIRD = "kvm-a", "kvm-b", "kvm-c"
HOMES = {
    "idle-1": FIRST,
    "web-1": FIRST,
    "db-1": FIRST,
    "cache-1": SECOND,
    "files-1": SECOND,
    "batch-1": SECOND,
    "shared-1": THIRD,
    "cpu-1": THIRD,
}
RUNNING = [vm for vm in HOMES if vm not in ("batch-1", "cpu-1")]
FOLDER = "/var/lib/libvirt"
LISTED, MENDED, BEGUN, GO = (f"{FOLDER}/{name}" for name in ("listed", "mended", "begun", "go-on"))
STAYS = ("--leave", "cpu-1")
KEY = ("--uri", "urn:virt-ferry:1", "--key", "ferry", "--config")
BOOT_ID = "/proc/sys/kernel/random/boot_id"
PID_FILE = "/run/libvirt/libvirtd.pid"
RESTART = (
    f"virsh -q list --name >{LISTED} && kill $(cat {PID_FILE})"
    f" && while [ -e {PID_FILE} ]; do sleep 0.1; done"
    f" && /usr/sbin/libvirtd --daemon --listen --pid-file {PID_FILE} && echo restarted"
)


@pytest.fixture(autouse=True)
def at_home(lab: Lab, ferry: Ferry) -> Iterator[None]:
    """Silent writers, quick links, every VM where it was first, no trace of a hook."""
    lab.run("quiet")
    set_links(lab, "1gbit")
    yield
    for host in HOMES.values():
        outside(lab, host, GO).touch()
    if any(roll["state"] not in ("ended", "planned") for roll in ferry.json("rolls")):
        ferry.run("rolls", "abort")
    for host in (FIRST, SECOND, THIRD):
        ferry.run("evacuations", "abort", host)
        ferry.run("return", host, "--remove-source")
        ferry.run("maintenance", host, "off")
        for path in (LISTED, MENDED, BEGUN, GO):
            outside(lab, host, path).unlink(missing_ok=True)


def assert_all_home(lab: Lab) -> None:
    for vm, home in HOMES.items():
        assert_defined_only_on(lab, vm, home)
    for vm in RUNNING:
        eventually(lambda vm=vm: lab.vm(vm)["memory_ok"] is True, f"{vm} is whole", 40)  # type: ignore[misc]


def marked(ferry: Ferry) -> list[str]:
    return [host["name"] for host in ferry.json("hosts") if host["maintenance_since"]]


def libvirtd_of(lab: Lab, host: str) -> str:
    return (lab.fleet.parent / "hosts" / host / "run" / "libvirtd.pid").read_text().strip()


def rolls_in(events: list[Event]) -> list[Event]:
    return [event for event in events if event["event"] == "roll"]


async def test_hosts_are_worked_on_one_after_the_other(lab: Lab, ferry: Ferry) -> None:
    plan = ferry.run("roll", FIRST, SECOND, "--hook", RESTART, "--plan")
    assert plan.returncode == 0, plan.stderr
    assert f"{SECOND}: planned when its turn comes" in plan.stdout
    assert_all_home(lab)
    daemons = {host: libvirtd_of(lab, host) for host in (FIRST, SECOND)}
    words = ("--hook", RESTART, "--back-within", "60s", "--remove-source")
    async with ferry.following("roll", FIRST, SECOND, *words) as run:
        code = await run.ended()
    last = rolls_in(run.events)[-1]
    assert (code, last["state"], last["trouble"]) == (0, "ended", ""), last
    assert [host["step"] for host in last["hosts"]] == ["done", "done"]
    assert [host["hook"]["lines"] for host in last["hosts"]] == [["restarted"], ["restarted"]]
    for host in (FIRST, SECOND):
        assert outside(lab, host, LISTED).read_text().strip() == "", "the hook met a VM"
        assert libvirtd_of(lab, host) != daemons[host]
    verdicts = [event for event in run.events if event["event"] == "verdict"]
    assert {one["outcome"] for one in verdicts} == {"moved"}
    began = [host["began"] for host in last["hosts"]]
    of_first = [one for one in verdicts if one["vm"] in ("idle-1", "web-1", "db-1")]
    assert len(of_first) == 6
    assert began[0] < began[1]
    assert marked(ferry) == []
    assert_all_home(lab)


async def test_a_failing_hook_stops_it_until_it_is_mended(lab: Lab, ferry: Ferry) -> None:
    hook = f"test -e {MENDED} || {{ echo 'the firmware is too old' >&2; exit 4; }}"
    words = ("roll", THIRD, FIRST, "--hook", hook, *STAYS)
    stopped = await asyncio.to_thread(ferry.run, *words)
    assert stopped.returncode == 1, stopped.stderr
    for said in (
        f"The hook on {THIRD} ended with exit code 4",
        "the firmware is too old",
        f"{THIRD} is in maintenance, and empty; 1 VM of it is on other hosts.",
        f"Not begun: {FIRST}.",
        "`virt-ferry rolls resume` runs the hook again",
    ):
        assert said in stopped.stdout, stopped.stdout
    assert marked(ferry) == [THIRD]
    assert host_of(lab, "idle-1") == FIRST
    refused = ferry.run("roll", SECOND, "--hook", "true")
    assert refused.returncode == 2
    assert "is stopped" in refused.stderr
    for host in (FIRST, THIRD):
        outside(lab, host, MENDED).touch()
    async with ferry.following("rolls", "resume") as run:
        code = await run.ended()
    last = rolls_in(run.events)[-1]
    assert (code, last["state"], last["trouble"]) == (0, "ended", ""), last
    assert marked(ferry) == []
    assert_all_home(lab)


async def test_a_roll_whose_engine_died_goes_on_only_when_told(lab: Lab, ferry: Ferry) -> None:
    set_links(lab, "200mbit")
    hook = f"touch {BEGUN}; while ! [ -e {GO} ]; do sleep 0.1; done"
    async with ferry.following("roll", THIRD, "--hook", hook, *STAYS) as run:
        await run.until(event="sample", sent_bytes=lambda sent: sent > 10_000_000)
        ferry.kill_engine()
        assert await run.ended() == 3
    found = ferry.json("rolls")[-1]
    assert found["state"] == "interrupted"
    assert "The engine ended while the roll went on" in found["trouble"]
    set_links(lab, "1gbit")
    async with ferry.following("rolls", "resume") as run:
        await run.until(event="roll", hosts=lambda hosts: hosts[0]["hook_began"] is not None)
        eventually(outside(lab, THIRD, BEGUN).exists, "the hook runs")
        ferry.kill_engine()
        assert await run.ended() == 3
    found = ferry.json("rolls")[-1]
    assert found["state"] == "interrupted"
    assert f"while the hook ran on {THIRD}: its end is not known" in found["trouble"]
    assert marked(ferry) == [THIRD]
    outside(lab, THIRD, GO).touch()
    skipped = await asyncio.to_thread(ferry.run, "rolls", "skip")
    assert skipped.returncode == 0, skipped.stdout + skipped.stderr
    assert marked(ferry) == []
    assert_all_home(lab)
    runs = [one for one in ferry.json("evacuations") if one["host"] == THIRD]
    moved = [move["vm"] for run in runs[-2:] for move in run["moves"] if move["state"] == "moved"]
    assert moved == ["shared-1", "shared-1"], "nothing moved twice"


async def test_a_host_whose_hook_cut_the_link_is_back_only_after_a_boot(
    lab: Lab, ferry: Ferry
) -> None:
    """The lab's hosts share a kernel: another boot is another id in the host's own /proc."""
    cut = "kill -9 $(awk '{print $4}' /proc/$PPID/stat); sleep 60"
    words = ("roll", THIRD, "--hook", cut, "--back-within", "8s", *STAYS)
    stopped = await asyncio.to_thread(ferry.run, *words)
    assert stopped.returncode == 1, stopped.stderr
    assert f"the connection to {THIRD} was lost while the hook ran" in stopped.stdout
    said = f"{THIRD} is not back within 8 s: it answers, but it has not booted anew"
    assert said in stopped.stdout, stopped.stdout
    assert marked(ferry) == [THIRD]
    outside(lab, THIRD, MENDED).write_text("00000000-0000-4000-8000-000000000001\n")
    in_host(lab, THIRD, "mount", "--bind", MENDED, BOOT_ID)
    try:
        resumed = await asyncio.to_thread(ferry.run, "rolls", "resume")
    finally:
        in_host(lab, THIRD, "umount", BOOT_ID)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert marked(ferry) == []
    assert_all_home(lab)


@pytest.fixture
def unmovable(lab: Lab, ferry: Ferry) -> Iterator[None]:
    """A VM that is never to leave the third host."""
    ferry.stop()  # the next engine reads it anew
    lab.virsh(THIRD, "metadata", STAYS[1], *KEY, "--set", '<vm never="yes"/>')
    yield
    lab.virsh(THIRD, "metadata", STAYS[1], *KEY, "--remove")
    ferry.stop()


@pytest.mark.usefixtures("unmovable")
def test_bad_input_is_refused_before_anything_is_touched(lab: Lab, ferry: Ferry) -> None:
    ferry.run("maintenance", SECOND, "on")
    for words, says in (
        ((FIRST, "kvm-z"), "no host 'kvm-z'"),
        ((FIRST, FIRST), "named twice"),
        ((FIRST, "--to", FIRST), "is to be emptied"),
        ((SECOND,), "in maintenance already"),
        ((THIRD,), "kvm-c cannot be emptied: cpu-1"),
        ((FIRST, "--hook", " "), "no command in it"),
        ((FIRST, "--back-within", "soon"), "--back-within"),
        ((FIRST, "--leave", "nobody"), "no VM 'nobody'"),
    ):
        refused = ferry.run("roll", *words)
        assert refused.returncode == 2, (words, refused.stdout, refused.stderr)
        assert says in refused.stderr, refused.stderr
    assert ferry.json("rolls") in ([], [one for one in ferry.json("rolls") if one["ended"]])
    assert marked(ferry) == [SECOND]
    ferry.run("maintenance", SECOND, "off")
    assert_all_home(lab)
