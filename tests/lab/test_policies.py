"""Policies, holds and set times on the lab: what each promises, shown on running guests."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lab
from tests.lab.ferry import Event, Ferry
from tests.lab.places import host_of, other
from tests.lab.test_moves import assert_only_on, slow_links

pytestmark = pytest.mark.lab

BUDGET_MS = 300
ACCIDENT = 1.5


@pytest.fixture
def ferry(lab: Lab, tmp_path: Path) -> Any:
    running = Ferry(lab.fleet, tmp_path)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def alone(lab: Lab) -> None:
    lab.quiet()
    slow_links(lab)


def busy(lab: Lab, rate: str = "60MB/s", over: str = "100M") -> tuple[str, str]:
    lab.run("vm", "cache-1", "--write", rate, "--over", over)
    return host_of(lab, "cache-1"), other(lab, "cache-1")


def decisions(events: list[Event], action: str) -> list[str]:
    return [e["reason"] for e in events if e["event"] == "decision" and e["action"] == action]


def memory_good(lab: Lab, name: str) -> bool:
    return bool(next(vm["memory_ok"] for vm in lab.status()["vms"] if vm["name"] == name))


@pytest.mark.long
def test_balanced_finishes_a_vm_above_the_link_within_its_pause(lab: Lab, ferry: Ferry) -> None:
    _, target = busy(lab)
    ferry.run("vms")
    plan = ferry.json("plan", "cache-1", "--to", target)[0]
    assert plan["forecast"]["converges"]
    assert plan["tuning"]["throttle_start_percent"] >= 80
    assert plan["forecast"]["total_s"]["low"] < plan["forecast"]["total_s"]["high"]
    events, code = ferry.migrate("cache-1", "--to", target)
    verdict = events[-1]
    assert (code, verdict["outcome"]) == (0, "moved")
    assert decisions(events, "throttle")
    assert verdict["throttle_percent"] >= 80
    assert verdict["pause_ms"] <= ACCIDENT * BUDGET_MS
    assert verdict["forecast"]["total_s"] is not None
    assert_only_on(lab, "cache-1", target)
    assert memory_good(lab, "cache-1")


@pytest.mark.long
def test_gentle_gives_up_in_time_and_puts_everything_back(lab: Lab, ferry: Ferry) -> None:
    source, target = busy(lab)
    before = lab.virsh(source, "migrate-getmaxdowntime", "cache-1").split()[0]
    words = ("cache-1", "--to", target, "--policy", "gentle", "--deadline", "6s")
    events, code = ferry.migrate(*words)
    verdict = events[-1]
    assert (code, verdict["outcome"], verdict["owner"]) == (1, "stayed", source)
    assert "given up" in verdict["reason"]
    assert 6 <= verdict["total_s"] < 20
    assert not decisions(events, "throttle")
    assert_only_on(lab, "cache-1", source)
    assert lab.virsh(source, "migrate-getmaxdowntime", "cache-1").split()[0] == before


@pytest.mark.long
def test_freeze_suspends_the_vm_once_to_finish_and_counts_the_whole_pause(
    lab: Lab, ferry: Ferry
) -> None:
    _, target = busy(lab)
    words = ("cache-1", "--to", target, "--policy", "freeze", "--deadline", "14s")
    events, code = ferry.migrate(*words)
    verdict = events[-1]
    assert (code, verdict["outcome"]) == (0, "moved")
    assert len(decisions(events, "suspend")) == 1
    assert verdict["pause_ms"] > 1000
    assert abs(verdict["pause_ms"] - verdict["outage_ms"]) < 0.3 * verdict["pause_ms"]
    assert "running" in lab.virsh(target, "domstate", "cache-1")
    assert memory_good(lab, "cache-1")


@pytest.mark.long
async def test_a_hold_waits_until_it_is_told(lab: Lab, ferry: Ferry) -> None:
    _, target = busy(lab, "15MB/s", "40M")
    ferry.run("vms")
    async with ferry.migrating("cache-1", "--to", target, "--hold") as running:
        first = await running.until(event="sample", pass_number=lambda number: number >= 2)
        held = await running.until(event="sample", t_s=lambda t: t > first["t_s"] + 6)
        assert held["remaining_bytes"] > 0
        done = await asyncio.to_thread(ferry.run, "steer", "cache-1", "switch")
        assert done.returncode == 0, done.stderr
        verdict = await running.verdict()
    assert verdict["outcome"] == "moved"
    assert verdict["total_s"] < held["t_s"] + 12
    assert verdict["pause_ms"] <= ACCIDENT * BUDGET_MS


def test_a_quiet_vm_cannot_be_held_and_says_how_long_it_takes(lab: Lab, ferry: Ferry) -> None:
    done = ferry.run("migrate", "idle-1", "--to", other(lab, "idle-1"), "--hold")
    assert done.returncode == 2
    assert "writes too little to be held" in done.stderr
    assert "--at" in done.stderr


@pytest.mark.long
def test_a_set_time_is_when_the_pause_falls(lab: Lab, ferry: Ferry) -> None:
    target = other(lab, "idle-1")
    ferry.run("plan", "idle-1", "--to", target)
    at = time.time() + 16
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    events, code = ferry.migrate("idle-1", "--to", target, "--at", clock)
    assert code == 0
    called = time.time() - events[-1]["total_s"]
    assert at - 15 < called < at
    assert abs(time.time() - at) < 8


@pytest.mark.long
async def test_a_suspended_vm_that_stays_after_all_goes_on(lab: Lab, ferry: Ferry) -> None:
    source, target = busy(lab)
    async with ferry.migrating("cache-1", "--to", target, "--policy", "gentle") as running:
        await running.until(event="sample", sent_bytes=lambda sent: sent > 1_000_000)
        assert (await asyncio.to_thread(ferry.run, "steer", "cache-1", "suspend")).returncode == 0
        assert "paused" in lab.virsh(source, "domstate", "cache-1")
        assert (await asyncio.to_thread(ferry.run, "abort", "cache-1")).returncode == 0
        verdict = await running.verdict()
    assert (verdict["outcome"], verdict["owner"]) == ("stayed", source)
    assert verdict["leftovers"] == []
    assert "running" in lab.virsh(source, "domstate", "cache-1")
