"""A target that lacks a pool and a network is made ready, and put back if the VM stays."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import Lab
from tests.lab.ferry import Event, Ferry
from tests.lab.places import HOSTS
from tests.lab.small_vm import NAME, NETWORK, POOL, SmallVm

pytestmark = [pytest.mark.lab, pytest.mark.long]

FAST, CRAWL = "1gbit", "40mbit"


@pytest.fixture
def small(lab: Lab, ferry: Ferry) -> Iterator[SmallVm]:
    lab.quiet()
    vm = SmallVm(lab, "kvm-a", "kvm-b")
    vm.gone()
    vm.make()
    vm.seen_by(ferry)
    yield vm
    vm.gone()
    for host in HOSTS:
        lab.set_link(host, FAST)


def plan(ferry: Ferry, *words: str) -> dict[str, Any]:
    (found,) = ferry.json("plan", NAME, "--to", "kvm-b", *words)
    assert isinstance(found, dict)
    return found


def codes(found: dict[str, Any], severity: str) -> list[str]:
    return [one["code"] for one in found["findings"] if one["severity"] == severity]


def kinds(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in found["preparations"]]


def decisions(events: list[Event]) -> list[str]:
    return [
        one["reason"] for one in events if one["event"] == "decision" and one["action"] == "prepare"
    ]


def pools(lab: Lab, host: str) -> dict[str, list[str]]:
    """State and autostart of each."""
    rows = (line.split() for line in lab.virsh(host, "pool-list", "--all").splitlines())
    return {row[0]: row[1:] for row in rows if row}


def networks(lab: Lab, host: str) -> dict[str, list[str]]:
    """State, autostart and persistence of each."""
    rows = (line.split() for line in lab.virsh(host, "net-list", "--all").splitlines())
    return {row[0]: row[1:] for row in rows if row}


def assert_runs_on(lab: Lab, host: str) -> None:
    for name in HOSTS:
        assert (NAME in lab.virsh(name, "list", "--name").split()) == (name == host), name


def test_an_inactive_pool_and_network_are_started(ferry: Ferry, lab: Lab, small: SmallVm) -> None:
    small.make_pool(small.target)
    small.make_network(small.target)
    before = plan(ferry)
    assert codes(before, "block") == ["network-network-inactive"]
    assert kinds(before) == [("start-pool", POOL), ("start-network", NETWORK)]
    remedy = next(one["remedy"] for one in before["findings"] if one["severity"] == "block")
    assert f"`--prepare` (x on the plan screen) would start the network {NETWORK}" in remedy
    refused = ferry.run("migrate", NAME, "--to", small.target)
    assert refused.returncode == 2
    assert pools(lab, small.target)[POOL][0] == "inactive"

    events, code = ferry.migrate(NAME, "--to", small.target, "--prepare")
    assert (code, events[-1]["outcome"], events[-1]["leftovers"]) == (0, "moved", [])
    assert decisions(events) == [
        f"start the pool {POOL} on kvm-b",
        f"start the network {NETWORK} on kvm-b",
    ]
    assert_runs_on(lab, small.target)
    assert pools(lab, small.target)[POOL][0] == "active"
    assert networks(lab, small.target)[NETWORK][0] == "active"
    assert small.image in lab.virsh(small.target, "domblklist", NAME)


@pytest.mark.long
def test_what_is_missing_is_made_as_the_source_has_it(
    ferry: Ferry, lab: Lab, small: SmallVm
) -> None:
    before = plan(ferry)
    assert codes(before, "block") == ["network-network-missing"]
    assert kinds(before) == [("create-pool", POOL), ("define-network", NETWORK)]
    ready = plan(ferry, "--prepare")
    assert not ready["blocked"]
    assert {"prepare-create-pool", "prepare-define-network"} <= set(codes(ready, "warn"))
    assert ready["disks"][0]["destination"] == small.image
    assert POOL not in pools(lab, small.target)

    events, code = ferry.migrate(NAME, "--to", small.target, "--prepare")
    assert (code, events[-1]["outcome"], events[-1]["leftovers"]) == (0, "moved", [])
    assert_runs_on(lab, small.target)
    assert pools(lab, small.target)[POOL] == ["active", "yes"]
    assert networks(lab, small.target)[NETWORK] == ["active", "no", "yes"]
    assert small.image in lab.virsh(small.target, "domblklist", NAME, "--inactive")
    told = {lab.virsh(host, "net-uuid", NETWORK).strip() for host in (small.source, small.target)}
    assert len(told) == 2, "the network has a UUID of its own there"


@pytest.mark.long
async def test_an_abort_undoes_all_of_it(ferry: Ferry, lab: Lab, small: SmallVm) -> None:
    was = pools(lab, small.target), networks(lab, small.target)
    for host in HOSTS:
        lab.set_link(host, CRAWL)
    async with ferry.migrating(NAME, "--to", small.target, "--prepare") as running:
        await running.until(event="disk", done_bytes=lambda done: done > 2_000_000)
        assert POOL in await asyncio.to_thread(pools, lab, small.target)
        done = await asyncio.to_thread(ferry.run, "abort", NAME)
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
    assert (verdict["outcome"], verdict["leftovers"]) == ("stayed", [])
    assert [reason.startswith("undone: ") for reason in decisions(running.events)] == [
        False,
        False,
        True,
        True,
    ]
    assert (pools(lab, small.target), networks(lab, small.target)) == was
    assert not small.outside(small.target).exists()
    assert_runs_on(lab, small.source)


@pytest.mark.long
def test_a_vm_that_is_shut_off_finds_its_pool_and_network_made(
    ferry: Ferry, lab: Lab, small: SmallVm
) -> None:
    lab.virsh(small.source, "destroy", NAME)
    events, code = ferry.migrate(NAME, "--to", small.target, "--mode", "cold", "--prepare")
    assert (code, events[-1]["outcome"], events[-1]["leftovers"]) == (0, "moved", [])
    assert pools(lab, small.target)[POOL] == ["active", "yes"]
    lab.virsh(small.target, "start", NAME)
    assert_runs_on(lab, small.target)


@pytest.mark.long
async def test_what_somebody_uses_meanwhile_is_left_and_named(
    ferry: Ferry, lab: Lab, small: SmallVm
) -> None:
    for host in HOSTS:
        lab.set_link(host, CRAWL)
    async with ferry.migrating(NAME, "--to", small.target, "--prepare") as running:
        await running.until(event="disk", done_bytes=lambda done: done > 2_000_000)
        stranger = small.outside(small.target) / "stranger.raw"
        stranger.write_bytes(b"somebody's")
        await asyncio.to_thread(ferry.run, "abort", NAME)
        verdict = await running.verdict()
    assert verdict["outcome"] == "stayed"
    (left,) = verdict["leftovers"]
    assert f"create the directory pool {POOL}" in left
    assert "virsh pool-undefine" in left
    assert stranger.read_bytes() == b"somebody's"
    assert NETWORK not in networks(lab, small.target)
