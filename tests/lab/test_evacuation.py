"""A host is emptied and its VMs come back, with real daemons: every VM judged by both hosts."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.console.pty_meter import Meter
from tests.lab.conftest import Lab, eventually
from tests.lab.ferry import COMMAND, Event, Ferry
from tests.lab.places import (
    HOSTS,
    assert_defined_only_on,
    host_of,
    images_of,
    other,
    set_links,
)

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(900)]

HOST = "kvm-b"
LIVE, LOCAL, OFF, AUTO, TAGGED, SAVED = (
    "cache-1",
    "files-1",
    "batch-1",
    "idle-1",
    "db-1",
    "shared-1",
)
ALL = (LIVE, LOCAL, OFF, AUTO, TAGGED, SAVED)
GO = (LIVE, LOCAL, OFF, AUTO)
STARTS = (AUTO, OFF)
"""They start with their host."""
KEY = ("--uri", "urn:virt-ferry:1", "--key", "ferry", "--live", "--config")


@pytest.fixture(autouse=True)
def mixed(lab: Lab, ferry: Ferry) -> Iterator[None]:
    """Six VMs on one host: two that go live, one with a local disk, one shut off, one that must not
    go, and one that only could by a restart."""
    lab.run("quiet")
    set_links(lab, "1gbit")
    own_names(lab, ferry)
    for vm in ALL:
        if host_of(lab, vm) != HOST:
            events, code = ferry.migrate(vm, "--to", HOST, "--remove-source")
            assert code == 0, events
    lab.virsh(HOST, "metadata", TAGGED, *KEY, "--set", '<vm never="yes"/>')
    lab.virsh(HOST, "snapshot-create-as", SAVED, "kept")
    for vm in ALL:
        lab.virsh(HOST, "autostart", vm, *(() if vm in STARTS else ("--disable",)))
    yield
    ferry.run("evacuations", "abort", HOST)
    ferry.run("maintenance", HOST, "off")
    lab.virsh(HOST, "metadata", TAGGED, *KEY, "--remove", check=False)
    lab.virsh(HOST, "snapshot-delete", SAVED, "kept", check=False)
    set_links(lab, "1gbit")
    own_names(lab, ferry)


def image_of(lab: Lab, vm: str) -> str:
    """The name of the image that its disk is."""
    table = lab.virsh(host_of(lab, vm), "domblklist", vm).split()
    return table[table.index("vda") + 1].rpartition("/")[2]


def own_names(lab: Lab, ferry: Ferry) -> None:
    """Each VM's image is called as it is, and there is no other of it."""
    for vm in (LOCAL, OFF):
        only_its_image(lab, vm)
        if image_of(lab, vm) != f"{vm}.qcow2":
            named = ("--disk", f"vda=default:{vm}.qcow2", "--remove-source")
            events, code = ferry.migrate(vm, "--to", other(lab, vm), *named)
            assert code == 0, events


def only_its_image(lab: Lab, vm: str) -> None:
    """Remove what earlier moves have kept."""
    home, used = host_of(lab, vm), image_of(lab, vm)
    for host in HOSTS:
        lab.virsh(host, "pool-refresh", "default")
        for name in images_of(lab, host, vm):
            if (host, name) != (home, used):
                lab.virsh(host, "vol-delete", "--pool", "default", name)


async def run_of(ferry: Ferry, *words: str) -> tuple[list[Event], int]:
    """`evacuate` or `return` to its end: its lines and exit code."""
    async with ferry.following(*words) as run:
        code = await run.ended()
    return run.events, code


def by_vm(event: Event) -> dict[str, Event]:
    return {move["vm"]: move for move in event["moves"]}


def not_in(moves: dict[str, Event], state: str) -> dict[str, str]:
    """Those that are to go and stand otherwise, each with its reason."""
    wrong = {vm: moves[vm] for vm in GO if moves[vm]["state"] != state}
    return {vm: f"{one['state']}: {one['reason']}" for vm, one in wrong.items()}


async def test_a_host_is_emptied_and_everything_comes_back(lab: Lab, ferry: Ferry) -> None:
    plan = ferry.run("evacuate", HOST, "--plan", "--json")
    assert plan.returncode == 1, plan.stderr
    reviewed = by_vm(json.loads(plan.stdout))
    assert {vm: move["way"] for vm, move in reviewed.items()} == {
        LIVE: "live",
        AUTO: "live",
        LOCAL: "live with disks",
        OFF: "cold",
        TAGGED: "cannot",
        SAVED: "restart",
    }
    assert "snapshot" in reviewed[SAVED]["reason"]
    assert "never" in reviewed[TAGGED]["reason"]
    assert {host_of(lab, vm) for vm in ALL} == {HOST}, "a plan moves nothing"

    events, code = await run_of(ferry, "evacuate", HOST)
    last = events[-1]
    assert (code, last["event"], last["state"]) == (1, "evacuation", "ended"), last
    ended = by_vm(last)
    assert {vm: move["state"] for vm, move in ended.items()} == {
        **dict.fromkeys(GO, "moved"),
        TAGGED: "cannot",
        SAVED: "left out",
    }
    verdicts = {one["vm"]: one for one in events if one["event"] == "verdict"}
    for vm in GO:
        assert verdicts[vm]["outcome"] == "moved", verdicts[vm]
        assert verdicts[vm]["owner"] == ended[vm]["target"] != HOST
        assert_defined_only_on(lab, vm, ended[vm]["target"])
    for vm in (TAGGED, SAVED):
        assert_defined_only_on(lab, vm, HOST)
    assert all(autostart(lab, vm, ended[vm]["target"]) is (vm in STARTS) for vm in GO), (
        "kept on the way"
    )

    host = next(one for one in ferry.json("hosts") if one["name"] == HOST)
    assert host["maintenance_since"] is not None
    refused = ferry.run("migrate", LIVE, "--to", HOST)
    assert refused.returncode == 2
    assert "maintenance" in refused.stderr

    assert images_of(lab, HOST, LOCAL) == [f"{LOCAL}.qcow2"], "kept unless it was asked otherwise"
    back, code = await run_of(ferry, "return", HOST)
    assert (code, back[-1]["state"]) == (0, "ended"), back[-1]
    assert image_of(lab, LOCAL) == f"{LOCAL}.1.qcow2", "nothing is written over"
    assert sorted(by_vm(back[-1])) == sorted(GO)
    home = {one["vm"]: one for one in back if one["event"] == "verdict"}
    assert {vm: (one["outcome"], one["owner"]) for vm, one in home.items()} == dict.fromkeys(
        GO, ("moved", HOST)
    )
    assert_all_at_home(lab)
    for vm in (LIVE, LOCAL, AUTO, TAGGED, SAVED):
        eventually(lambda vm=vm: lab.vm(vm)["memory_ok"] is True, f"{vm} is whole", 40)  # type: ignore[misc]
    host = next(one for one in ferry.json("hosts") if one["name"] == HOST)
    assert host["maintenance_since"] is None
    assert json.loads(ferry.run("return", HOST, "--plan", "--json").stdout)["moves"] == []


async def test_a_run_whose_engine_died_goes_on_when_told_and_moves_nothing_twice(
    lab: Lab, ferry: Ferry
) -> None:
    set_links(lab, "60mbit")
    async with ferry.following("evacuate", HOST, "--remove-source") as run:
        planned = by_vm(await run.until(event="plan"))
        assert not_in(planned, "waiting") == {}
        await run.until(event="verdict", outcome="moved")
        await run.until(event="sample")
        ferry.kill_engine()
        assert await run.ended() == 3
    set_links(lab, "1gbit")
    (left,) = [one for one in ferry.json("evacuations") if one["state"] != "ended"]
    assert left["state"] == "interrupted"

    def nothing_moves() -> bool:
        run = ferry.json("evacuations")[-1]
        return all(move["state"] != "moving" for move in run["moves"])

    resumed = await asyncio.to_thread(ferry.run, "evacuations", "resume", HOST, "--json")
    assert resumed.returncode == 1, resumed.stderr
    eventually(nothing_moves, "what moved has its verdict", 60)
    ended = by_vm(ferry.json("evacuations")[-1])
    assert not_in(ended, "moved") == {}
    for vm in GO:
        assert_defined_only_on(lab, vm, ended[vm]["target"])
        assert len(ended[vm]["ids"]) <= 2
    for vm in (TAGGED, SAVED):
        assert_defined_only_on(lab, vm, HOST)
    back, code = await run_of(ferry, "return", HOST)
    assert code == 0, back[-1]
    assert_all_at_home(lab)


async def test_a_console_killed_in_the_middle_ends_nothing(lab: Lab, ferry: Ferry) -> None:
    set_links(lab, "60mbit")

    def moving() -> bool:
        open_runs = [one for one in ferry.json("evacuations") if one["state"] == "running"]
        return any(move["state"] == "moving" for one in open_runs for move in one["moves"])

    with Meter(COMMAND, env=dict(ferry.environment)) as console:
        console.read_until(b"MIGRATIONS", 60)
        console.read_until(OFF.encode(), 60)
        console.press(b"\tje")
        console.read_until(b"EVACUATE " + HOST.encode(), 60)
        console.read_until(b"VMs to move", 90)
        console.press(b"\r")
        console.read_until(b"in maintenance from then on", 60)
        console.press(b"y")
        await asyncio.to_thread(eventually, moving, "the first VM moves", 60)
        console.kill()
    async with ferry.following("evacuations", "watch", HOST) as run:
        first = await run.until(event="evacuation")
        assert first["state"] == "running"
        assert any(move["state"] == "waiting" for move in first["moves"]), "in the middle of it"
        set_links(lab, "1gbit")
        assert await run.ended() == 1
    ended = by_vm(run.events[-1])
    assert not_in(ended, "moved") == {}
    for vm in GO:
        assert_defined_only_on(lab, vm, ended[vm]["target"])
        assert len(ended[vm]["ids"]) == 1, "nothing was begun twice"
    _, code = await run_of(ferry, "return", HOST)
    assert code == 0
    assert_all_at_home(lab)


async def test_a_paused_run_starts_nothing_and_one_that_is_ended_leaves_the_rest(
    lab: Lab, ferry: Ferry
) -> None:
    set_links(lab, "60mbit")
    async with ferry.following("evacuate", HOST, "--remove-source") as run:
        await run.until(event="sample")
        assert ferry.run("evacuations", "pause", HOST).returncode == 0
        paused = await run.until(event="evacuation", state="paused")
        waiting = [one["vm"] for one in paused["moves"] if one["state"] == "waiting"]
        assert waiting
        assert ferry.run("evacuations", "abort", HOST).returncode == 1
        last = await run.until(event="evacuation", state="ended")
        assert await run.ended() == 1
    states = {one["vm"]: one["state"] for one in last["moves"]}
    assert {states[vm] for vm in waiting} == {"left out"}
    for vm in ALL:
        (host,) = [name for name in HOSTS if vm in lab.virsh(name, "list", "--all", "--name")]
        assert (host == HOST) == (states[vm] != "moved"), vm
    set_links(lab, "1gbit")
    await run_of(ferry, "return", HOST)
    assert {host_of(lab, vm) for vm in ALL} == {HOST}


def autostart(lab: Lab, vm: str, host: str) -> bool:
    return "enable" in lab.virsh(host, "dominfo", vm).split("Autostart:")[1].split("\n")[0]


def assert_all_at_home(lab: Lab) -> None:
    """By virsh on every host: where each is defined, whether it runs, and starts with its host."""
    for vm in ALL:
        assert_defined_only_on(lab, vm, HOST)
        state = lab.virsh(HOST, "domstate", vm).strip()
        assert state == ("shut off" if vm == OFF else "running"), vm
        assert autostart(lab, vm, HOST) is (vm in STARTS), vm
